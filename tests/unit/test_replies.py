"""What the store's errors mean: what is mended, what is told, and what is never shown."""

from __future__ import annotations

import socket
import ssl

import pytest
from hiredis import ProtocolError
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_exceptions

from django_elasticache_sessions import scripts
from django_elasticache_sessions.drivers.replies import (
    Again,
    ErrorReply,
    classify,
    deserves_second_attempt,
    settle,
)
from django_elasticache_sessions.exceptions import (
    ForeignType,
    SessionStoreError,
    SessionStoreUnavailable,
)
from django_elasticache_sessions.operations import Dispensable

KEY, VALUE = "session:{7}:AAAAAAAAAAAAAAAAAAAAAA", "canary-in-a-value"
SAVE = (b"EVALSHA", scripts.SAVE.sha, 2, KEY, "session:{7}:live", "sid", VALUE)
ZREM = ("ZREM", "session:user:tag", "sid")
NOSCRIPT = ErrorReply("NOSCRIPT No matching script. Please use EVAL.")
READONLY = ErrorReply("READONLY You can't write against a read only replica.")

# As servers word them, and a word or two of what the administrator has to be told.
SENTENCES = {
    "LOADING": ("LOADING Redis is loading the dataset in memory", "loading"),
    "READONLY": ("READONLY You can't write against a read only replica.", "read-only replica"),
    "OOM": ("OOM command not allowed when used memory > 'maxmemory'.", "raise maxmemory"),
    "NOPERM": ("NOPERM No permissions to access a key", "ACL must allow"),
    "NOAUTH": ("NOAUTH Authentication required.", "wants a password"),
    "WRONGPASS": (
        "WRONGPASS invalid username-password pair or user is disabled.",
        "refused the user name or password",
    ),
    "CLUSTERDOWN": ("CLUSTERDOWN Hash slot not served", "cluster is down"),
    "TRYAGAIN": ("TRYAGAIN Multiple keys request during rehashing of slot", "slots"),
    "MISCONF": (
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist "
        "on disk. Commands that may modify the data set are disabled.",
        "cannot save to disk",
    ),
    "BUSY": (
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "long script",
    ),
    "MASTERDOWN": (
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "primary is down",
    ),
    "NOREPLICAS": ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
}
REDIS_PY = {
    "LOADING": redis_exceptions.BusyLoadingError,
    "READONLY": redis_exceptions.ReadOnlyError,
    "OOM": redis_exceptions.OutOfMemoryError,
    "NOPERM": redis_exceptions.NoPermissionError,
    "NOAUTH": redis_exceptions.AuthenticationError,
    "WRONGPASS": redis_exceptions.AuthenticationError,
    "CLUSTERDOWN": redis_exceptions.ClusterDownError,
    "TRYAGAIN": redis_exceptions.TryAgainError,
    "MASTERDOWN": redis_exceptions.MasterDownError,
}
FORMS = {
    "a reply": "{}",
    "a script's error on Redis 6.2": (
        "ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791): "
        "@user_script:18: @user_script: 18: -{}"
    ),
    "a script's error on Redis 7": (
        "{} script: 6b1bf486c81ceb7edf3c093f4c48582e38c0e791, on @user_script:18."
    ),
    "a script's error on Valkey 9": "{} script: on @user_script:18.",
}


def as_redis_py_raises(sentence: str) -> redis_exceptions.RedisError:
    """Make of a server's sentence what redis-py makes of it: a class, and no code in the text."""
    code, text = sentence.split(" ", 1)
    if code not in REDIS_PY:
        return redis_exceptions.ResponseError(sentence)
    error = REDIS_PY[code](text)
    error.status_code = code
    return error


def settled(commands, replies, *answers):
    """Settle replies; return what was sent once more, and the replies in the end."""
    sent: list[Again] = []
    mending = settle(commands, replies)
    try:
        sent.append(next(mending))
        for answer in answers:
            sent.append(mending.send(answer))  # noqa: PERF401 - StopIteration ends the loop
    except StopIteration as stop:
        return sent, stop.value
    raise AssertionError(f"it sent more: {sent[-1]}")


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("code", SENTENCES)
def test_an_error_of_the_server_is_an_unavailable_store_with_a_reason(code, form):
    sentence, reason = SENTENCES[code]
    problem = classify(ErrorReply(form.format(sentence)))
    assert isinstance(problem, SessionStoreUnavailable)
    assert str(problem).startswith("The session store did not serve: ")
    assert reason in str(problem)


@pytest.mark.parametrize("code", SENTENCES)
def test_an_error_of_redis_py_has_the_same_reason(code):
    sentence, reason = SENTENCES[code]
    assert reason in str(classify(as_redis_py_raises(sentence)))


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param(
            "ERR ACL failure in script: User app has no permissions to run the 'hget' command "
            "script: on @user_script:1.",
            id="Valkey, a command",
        ),
        pytest.param(
            "ERR ACL failure in script: No permissions to access a key script: on @user_script:1.",
            id="Valkey, a key",
        ),
        pytest.param(
            "ERR The user executing the script can't run this command or subcommand script: "
            "6b1bf486c81ceb7edf3c093f4c48582e38c0e791, on @user_script:1.",
            id="Redis 7, a command",
        ),
        pytest.param(
            "ERR Error running script (call to f_6b1bf486c81ceb7edf3c093f4c48582e38c0e791): "
            "@user_script:1: @user_script: 1: The user executing the script can't access at least "
            "one of the keys mentioned in the command arguments",
            id="Redis 6.2, a key",
        ),
    ],
)
def test_a_permission_missing_inside_a_script_is_told_as_such(sentence):
    assert "ACL must allow" in str(classify(ErrorReply(sentence)))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "did not answer in time"),
        (socket.timeout(), "did not answer in time"),  # noqa: UP041
        (redis_exceptions.TimeoutError("Timeout reading"), "did not answer in time"),
        (redis_exceptions.MaxConnectionsError("Too many"), "raise max_connections"),
        (redis_exceptions.ConnectionError("Error 111"), "no connection"),
        (ConnectionRefusedError(111, "refused"), "no connection to it (ConnectionRefusedError)"),
        (ConnectionResetError(), "no connection to it (ConnectionResetError)"),
        (BrokenPipeError(), "no connection to it (BrokenPipeError)"),
        (OSError(24, "Too many open files"), "no connection to it (OSError)"),
        (ssl.SSLError("bad certificate"), "no connection to it (SSLError)"),
        (socket.gaierror("no such name"), "no connection to it (gaierror)"),
        (ProtocolError("what is this"), "answered with an error (ProtocolError)"),
        (redis_exceptions.ResponseError("ERR what"), "answered with an error (ResponseError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_the_wire_is_an_unavailable_store_with_a_reason(error, reason):
    problem = classify(error)
    assert isinstance(problem, SessionStoreUnavailable)
    assert reason in str(problem)


def test_an_unavailable_store_is_no_missing_session():
    assert isinstance(classify(OSError()), SessionStoreError)
    assert not isinstance(classify(OSError()), (KeyError, ForeignType))


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("code", [*SENTENCES, "ERR", "MOVED 1234"])
def test_no_reason_repeats_what_the_server_said(code, form):
    said = f"{code} about {KEY} and {VALUE}"
    for error in (ErrorReply(form.format(said)), as_redis_py_raises(said), OSError(5, said)):
        problem = classify(error)
        assert KEY not in repr(problem)
        assert VALUE not in repr(problem)
        assert problem.__cause__ is None
        assert problem.__context__ is None


@given(st.text(max_size=60))
def test_any_text_of_the_server_is_an_unavailable_store(text):
    assert isinstance(classify(ErrorReply(text)), SessionStoreUnavailable)


@pytest.mark.parametrize(
    ("error", "deserves"),
    [
        (ConnectionResetError(), True),
        (BrokenPipeError(), True),
        (redis_exceptions.ConnectionError("closed"), True),
        (TimeoutError(), False),
        (redis_exceptions.TimeoutError(), False),
        (redis_exceptions.AuthenticationError(), False),
        (redis_exceptions.BusyLoadingError(), False),
        (redis_exceptions.MaxConnectionsError(), False),
        (redis_exceptions.ResponseError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_a_connection_found_dead_deserves_a_second_attempt(error, deserves):
    assert deserves_second_attempt(error) is deserves


@given(st.lists(st.one_of(st.integers(), st.binary(), st.lists(st.binary())), max_size=4))
def test_replies_without_an_error_are_left_as_they_are(replies):
    assert settled((SAVE,) * len(replies), list(replies)) == ([], replies)


def test_a_script_the_server_does_not_know_is_sent_with_its_source():
    sent, replies = settled((SAVE,), [NOSCRIPT], [5])
    assert sent == [Again(((b"EVAL", scripts.SAVE.source, *SAVE[2:]),), fresh=False)]
    assert replies == [5]


@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any))
def test_only_the_scripts_that_were_unknown_are_sent_again(unknown):
    replies = [NOSCRIPT if each else place for place, each in enumerate(unknown)]
    answers = [100 + place for place, each in enumerate(unknown) if each]
    [again], result = settled([SAVE] * len(unknown), replies, answers)
    assert len(again.commands) == sum(unknown)
    assert result == [100 + place if each else place for place, each in enumerate(unknown)]


def test_a_command_that_succeeded_beside_an_unknown_script_is_not_repeated():
    [again], replies = settled((ZREM, SAVE), [1, NOSCRIPT], [5])
    assert [command[0] for command in again.commands] == [b"EVAL"]
    assert replies == [1, 5]


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_everything_is_sent_once_more_over_a_fresh_connection_to_a_demoted_primary(form):
    refused = ErrorReply(form.format(SENTENCES["READONLY"][0]))
    sent, replies = settled((SAVE, ZREM), [refused, READONLY], [5, 1])
    assert sent == [Again((SAVE, ZREM), fresh=True)]
    assert replies == [5, 1]


def test_a_demoted_primary_that_does_not_know_a_script_is_left_all_the_same():
    sent, replies = settled((SAVE, ZREM), [NOSCRIPT, 1], [READONLY], [5, 1])
    assert [again.fresh for again in sent] == [False, True]
    assert sent[1].commands == (SAVE, ZREM)
    assert replies == [5, 1]


def test_a_primary_that_stays_read_only_is_not_asked_a_third_time():
    mending = settle((SAVE,), [READONLY])
    assert next(mending).fresh
    with pytest.raises(SessionStoreUnavailable, match="read-only replica"):
        mending.send([READONLY])


def test_the_new_primary_is_sent_the_source_of_a_script_it_does_not_know():
    sent, replies = settled((SAVE, ZREM), [READONLY, READONLY], [NOSCRIPT, 1], [5])
    assert [again.fresh for again in sent] == [True, False]
    assert [command[0] for command in sent[1].commands] == [b"EVAL"]
    assert replies == [5, 1]


def test_a_server_that_does_not_even_know_a_script_it_was_just_sent_is_not_asked_again():
    mending = settle((SAVE,), [NOSCRIPT])
    next(mending)
    with pytest.raises(SessionStoreUnavailable):
        mending.send([NOSCRIPT])


@pytest.mark.parametrize("code", [code for code in SENTENCES if code != "READONLY"])
def test_no_other_error_is_worth_sending_anything_again(code):
    mending = settle((SAVE,), [ErrorReply(SENTENCES[code][0])])
    with pytest.raises(SessionStoreUnavailable):
        next(mending)


def test_the_first_error_that_is_left_is_the_one_told():
    replies = [1, ErrorReply(SENTENCES["OOM"][0]), ErrorReply(SENTENCES["BUSY"][0])]
    with pytest.raises(SessionStoreUnavailable, match="maxmemory"):
        next(settle((ZREM, SAVE, SAVE), replies))


@pytest.mark.parametrize("code", [code for code in SENTENCES if code != "READONLY"])
def test_a_refused_command_that_can_be_dispensed_with_keeps_nothing_back(code):
    replies = [ErrorReply(SENTENCES[code][0]), 1]
    assert settled((Dispensable(SAVE), ZREM), replies) == ([], [None, 1])


def test_its_script_is_sent_where_the_server_does_not_know_it():
    commands = (Dispensable(SAVE), ZREM)
    sent, replies = settled(commands, [NOSCRIPT, 1], [ErrorReply(SENTENCES["OOM"][0])])
    assert [len(again.commands) for again in sent] == [1]
    assert replies == [None, 1]


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_a_foreign_type_at_a_key_is_a_reply_like_others(form):
    sentence = "WRONGTYPE Operation against a key holding the wrong kind of value"
    sent, [foreign, other] = settled((SAVE, ZREM), [ErrorReply(form.format(sentence)), 1])
    assert sent == []
    assert isinstance(foreign, ForeignType)
    assert other == 1
