"""The operations without a server: what they ask, and what they make of the replies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from django_elasticache_sessions import operations, scripts
from django_elasticache_sessions.exceptions import (
    ForeignType,
    InvalidValue,
    ReplyTooLarge,
    SessionStoreUnavailable,
)
from django_elasticache_sessions.fields import MAX_FIELDS, stored_name
from django_elasticache_sessions.keys import Naming
from django_elasticache_sessions.operations import (
    NewSession,
    Outpaced,
    Rotated,
    Save,
    StoredSession,
)

NAMING = Naming("session", 16, (b"n" * 32, b"o" * 32))
NAME, OLDER = NAMING.session_everywhere("session-key" * 4)
KEY, NEW_KEY = "k" * 30, "n" * 30
METADATA = b"1700000000000000 1700000000 1701209600 3  " + KEY.encode() + b" 99"
STAMP = 106_250_000_000_000
EVENTS, PENDING = NAMING.events(NAME.bucket), NAMING.pending_set(NAME.bucket)
STORED = StoredSession(
    NAME, 1_700_000_000_000_000, 1_700_000_000, 1_701_209_600, 3, "", KEY, {}, 99
)


def drive(operation, *replies):
    """Run an operation on scripted replies; return its requests and its result."""
    requests = []
    try:
        requests.append(next(operation))
        for reply in replies:
            requests.append(operation.send(reply))  # noqa: PERF401 - StopIteration ends the loop
    except StopIteration as stop:
        return requests, stop.value
    raise AssertionError(f"it asked for more: {requests[-1]}")


def words_of_fields(count: int) -> list[bytes]:
    return [word for n in range(count) for word in (b"%d" % n, b"x")]


def load(*replies):
    return drive(operations.load(NAME, lambda: (OLDER,)), *replies)


def test_a_hit_is_one_round_trip():
    requests, stored = load([[b"~", METADATA, b"a", b"x", b"~~b", b"y"], 100])
    assert requests == [(("HGETALL", NAME.hash_key), ("TTL", NAME.hash_key))]
    assert stored == STORED._replace(fields={"a": b"x", "~b": b"y"})


def test_a_miss_asks_for_the_older_names_together():
    requests, stored = load([[], -2], [[b"~", METADATA], 100])
    assert len(requests) == 2
    assert stored.name == OLDER


def test_a_miss_everywhere_is_nothing():
    assert load([[], -2], [[], -2])[1] is None


def test_a_session_that_expires_between_the_two_commands_is_missing():
    assert load([[b"~", METADATA, b"a", b"x"], -2])[1] is None


@pytest.mark.parametrize(
    ("fields", "ttl", "reason"),
    [
        (ForeignType(), -1, "not a hash"),
        ([b"~", METADATA], -1, "no expiry"),
        ([b"a", b"x"], 100, "metadata"),
        ([b"~", b"1 2 3"], 100, "metadata"),
        ([b"~", METADATA + b"more"], 100, "metadata"),
        ([b"~", METADATA, b"~!a", b"soon"], 100, "metadata"),
        ([b"~", METADATA, b"\xff\xfe", b"x"], 100, "text"),
        ([b"~", METADATA] + [b"a", b"x"] * 70_000, 100, "fields"),
        ([b"~", METADATA, *words_of_fields(MAX_FIELDS + 1)], 100, "fields"),
    ],
)
def test_what_cannot_be_a_session_is_refused_with_a_reason(fields, ttl, reason):
    with pytest.raises(InvalidValue, match=reason):
        load([fields, ttl])


def test_every_key_of_a_script_lies_in_one_slot():
    new = NewSession(100, 5, "tag", KEY, {"a": b"x"}, STAMP)
    save = Save(100, {"a": b"x"}, ("b",), False, None, "", STAMP)
    for operation in (
        operations.create(NAMING, NAME, new),
        operations.save(NAMING, STORED, save),
        operations.save(NAMING, STORED, save._replace(rotated=Rotated(NEW_KEY, 5))),
        operations.delete(NAMING, STORED),
    ):
        for script in next(operation):
            keys = script[3 : 3 + script[2]] if script[0] == b"EVALSHA" else ()
            assert len({key_slot(key.encode()) for key in keys}) <= 1


def test_a_user_is_entered_before_the_session_in_the_same_round_trip():
    requests, created = drive(
        operations.create(NAMING, NAME, NewSession(100, 5, "tag", KEY, {}, STAMP)), [1, 1]
    )
    assert created
    assert len(requests) == 1
    assert requests[0][0][3] == "session:user:tag"


def test_a_foreign_value_is_no_session_to_save_to():
    save = Save(100, {}, (), False, None, "", STAMP)
    assert drive(operations.save(NAMING, STORED, save), [ForeignType()])[1] == operations.MISSING


def test_users_are_forgotten_in_a_second_round_trip_when_many_sessions_end():
    requests, ended = drive(operations.end_all(NAMING, (NAME, OLDER)), [b"tag", None], [1])
    assert requests[1] == (("ZREM", "session:user:tag", NAME.sid),)
    assert ended == operations.Ended([NAME])


def test_pruning_goes_on_while_a_bucket_is_full_of_dead():
    requests, pruned = drive(operations.prune(Naming("session", 2, (b"n" * 32,))), [1000], [7], [0])
    assert len(requests) == 3
    assert pruned == 1007


TTL = 100
SIGNED_IN = STORED._replace(user_tag="tag")


def new_session(**options: object) -> NewSession:
    return NewSession(
        **{
            "ttl": TTL,
            "created": 5,
            "user_tag": "",
            "key": KEY,
            "fields": {"a": b"x"},
            "stamp": STAMP,
            **options,
        }
    )


def change(**options: object) -> Save:
    nothing = {
        "ttl": TTL,
        "changed": {},
        "removed": (),
        "replace": False,
        "user_tag": None,
        "indexed_user_tag": "",
        "stamp": STAMP,
    }
    return Save(**{**nothing, **options})


def rotation(old: StoredSession = STORED, **options: object):
    return operations.save(NAMING, old, change(rotated=Rotated(NEW_KEY, 9), **options))


def deletion(user_tag: str = ""):
    return operations.delete(NAMING, STORED._replace(user_tag=user_tag))


def script_of(command) -> scripts.Script:
    assert command[0] == b"EVALSHA"
    return scripts.BY_SHA[command[1]]


def keys_of(command) -> tuple[str, ...]:
    return command[3 : 3 + command[2]]


def words_of(command) -> tuple[object, ...]:
    return command[3 + command[2] :]


def summary(commands) -> list[tuple[object, ...]]:
    """Name each command's script, or the command itself, and the keys it gets."""
    return [
        (script_of(command).name, *keys_of(command))
        if command[0] == b"EVALSHA"
        else (command[0], command[1])
        for command in commands
    ]


@pytest.mark.parametrize(
    ("operation", "replies"),
    [
        pytest.param(lambda: operations.load(NAME, tuple), [[], -2], id="a load that misses"),
        pytest.param(lambda: operations.create(NAMING, NAME, new_session()), [1], id="create"),
        pytest.param(
            lambda: operations.create(NAMING, NAME, new_session(user_tag="tag")),
            [1, 1],
            id="create for a user",
        ),
        pytest.param(lambda: operations.save(NAMING, STORED, change()), [4], id="touch"),
        pytest.param(
            lambda: operations.save(NAMING, STORED, change(changed={"a": b"x"}, removed=("b",))),
            [4],
            id="save",
        ),
        pytest.param(
            lambda: operations.save(NAMING, STORED, change(user_tag="new", indexed_user_tag="new")),
            [1, 4],
            id="a save that signs in",
        ),
        pytest.param(rotation, [1], id="rotation"),
        pytest.param(
            lambda: rotation(STORED, user_tag="new", indexed_user_tag="new"),
            [1, 4],
            id="login",
        ),
        pytest.param(deletion, [b""], id="delete"),
        pytest.param(
            lambda: operations.end_all(NAMING, (NAME, OLDER)), [b"", b""], id="end by staff"
        ),
    ],
)
def test_it_takes_one_round_trip(operation, replies):
    requests, _ = drive(operation(), replies)
    assert len(requests) == 1
    assert len(requests[0]) == len(replies)


def test_a_hit_does_not_ask_for_older_names():
    def older_names():
        raise AssertionError("they were asked for")

    _, stored = drive(operations.load(NAME, older_names), [[b"~", METADATA], TTL])
    assert stored.name == NAME


def test_of_several_older_names_the_newest_with_a_session_is_taken():
    names = Naming("session", 16, (b"1" * 32, b"2" * 32, b"3" * 32)).session_everywhere("key")
    replies = [[], -2, [b"~", METADATA], TTL, [b"~", METADATA], TTL]
    requests, stored = drive(operations.load(NAME, lambda: names), [[], -2], replies)
    assert summary(requests[1]) == [
        (command, name.hash_key) for name in names for command in ("HGETALL", "TTL")
    ]
    assert stored.name == names[1]


def test_a_foreign_value_under_an_older_name_is_refused():
    with pytest.raises(InvalidValue, match="not a hash"):
        load([[], -2], [ForeignType(), 5])


def test_a_session_in_its_last_half_second_is_read():
    _, stored = load([[b"~", METADATA], 0])
    assert stored is not None


def test_a_session_without_fields_of_its_own_is_read():
    _, stored = load([[b"~", METADATA], TTL])
    assert stored.fields == {}


def test_metadata_are_read_into_numbers_and_the_users_tag():
    metadata = f"1700000000000000 1700000001 1701209600 12 some_tag-1 {KEY} 7".encode()
    _, stored = load([[b"~", metadata], TTL])
    assert stored == StoredSession(
        NAME, 1_700_000_000_000_000, 1_700_000_001, 1_701_209_600, 12, "some_tag-1", KEY, {}, 7
    )


def test_of_a_hash_that_has_a_row_it_is_read_what_the_row_lacks():
    metadata = METADATA + b" @0123abcd.7 4"
    pending = [b"~!a", b"98", b"~!~~b", b"97", b"~!~k", b"99", b"~!~e", b"99"]
    _, stored = load([[b"~", metadata, b"a", b"x", *pending], TTL])
    assert (stored.origin, stored.behind, stored.clock) == (b"0123abcd.7", 4, 99)
    assert stored.fields == {"a": b"x"}
    assert stored.pending == {"a": 98, "~~b": 97, "~k": 99, "~e": 99}


def test_a_session_whose_fields_are_named_like_metadata_is_read():
    fields = {"x p": b"x p", "~": b"x p", "~l": b"1", "~!a": b"2", "~k": b"3"}
    raw = [word for name, value in fields.items() for word in (stored_name(name), value)]
    _, stored = load([[b"~", METADATA, *raw], TTL])
    assert stored.fields == fields
    assert stored.pending == {}


@pytest.mark.parametrize(
    "fields",
    [[b"~", b"x p"], [b"~", b"x p", b"~k", KEY.encode()], [b"~l", b"token"]],
    ids=["a tombstone", "a tombstone of one key", "a lease"],
)
def test_what_stands_for_no_session_is_a_miss(fields):
    assert load([fields, TTL], [[], -2])[1] is None


@pytest.mark.parametrize("name", ["", "~", "~~", "~a", "é", "\ud800", "a b", "a\0b"])
def test_a_field_of_any_name_is_read_back(name):
    _, stored = load([[b"~", METADATA, stored_name(name), b"x", b"other", b"y"], TTL])
    assert stored.fields == {name: b"x", "other": b"y"}


@pytest.mark.parametrize(
    "more", [b" 1", b" ", b" one two  three", b" @0123abcd.7 4 99 later", b" @x 4", b" \xff\n"]
)
def test_words_of_a_later_release_after_the_metadata_are_ignored(more):
    _, stored = load([[b"~", METADATA + more, b"a", b"x"], TTL])
    assert stored.fields == {"a": b"x"}
    assert (stored.version, stored.key) == (3, KEY)


def test_metadata_of_a_later_release_are_ignored():
    _, stored = load([[b"~", METADATA, b"~later", b"1", b"a", b"x"], TTL])
    assert stored.fields == {"a": b"x"}


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"1 2 3", id="cut off"),
        pytest.param(b"1 2 3 4", id="no user"),
        pytest.param(b"1 2 3 4 tag", id="no key"),
        pytest.param(b"1 2 3 4  " + b"k" * 29, id="a key cut off"),
        pytest.param(b"1 2 3 4  " + b"k" * 31, id="a longer key"),
        pytest.param(b"1 2 3 x  " + b"k" * 30, id="no number"),
        pytest.param(b"1 2 3 4 \xff " + b"k" * 30, id="not ASCII"),
        pytest.param(b"1 2 3 4.5  " + b"k" * 30, id="a fraction"),
        pytest.param(b"1\n2 3 4  " + b"k" * 30, id="another blank"),
        pytest.param(b"1 2 3 -4  " + b"k" * 30, id="a negative version"),
        pytest.param(b"+1 2 3 4  " + b"k" * 30, id="a sign"),
        pytest.param(b"1_0 2 3 4  " + b"k" * 30, id="an underscore"),
        pytest.param(b"1 2 3 4 a/b " + b"k" * 30, id="a user that is no tag"),
        pytest.param(b"9" * 5000 + b" 2 3 4  " + b"k" * 30, id="a number of thousands of digits"),
    ],
)
def test_damaged_metadata_are_refused(metadata):
    with pytest.raises(InvalidValue, match="metadata"):
        load([[b"~", metadata], TTL])


def test_a_session_with_as_many_fields_as_may_be_saved_is_read():
    _, stored = load([[b"~", METADATA, *words_of_fields(MAX_FIELDS)], TTL])
    assert len(stored.fields) == MAX_FIELDS


def test_a_session_with_as_many_fields_that_all_wait_for_the_database_is_read():
    fields = words_of_fields(MAX_FIELDS)
    pending = [word for name in fields[::2] for word in (b"~!" + name, b"5")]
    _, stored = load([[b"~", METADATA, *fields, *pending, b"~!~e", b"5"], TTL])
    assert len(stored.fields) == MAX_FIELDS
    assert len(stored.pending) == MAX_FIELDS + 1


def test_a_reply_that_is_too_large_is_a_session_that_is_refused():
    operation = operations.load(NAME, tuple)
    next(operation)
    with pytest.raises(InvalidValue, match="larger than any session"):
        operation.throw(ReplyTooLarge())


def test_an_unavailable_store_is_not_a_miss():
    operation = operations.load(NAME, tuple)
    next(operation)
    with pytest.raises(SessionStoreUnavailable):
        operation.throw(SessionStoreUnavailable("down"))


def test_a_session_with_another_key_is_a_miss():
    asked = []

    def is_mine(stored: StoredSession) -> bool:
        asked.append(stored.key)
        return False

    operation = operations.load(NAME, lambda: (OLDER,), is_mine)
    requests, stored = drive(operation, [[b"~", METADATA], TTL])
    assert (len(requests), stored, asked) == (1, None, [KEY])


@pytest.mark.parametrize(("reply", "created"), [(1, True), (0, False), (ForeignType(), False)])
def test_a_session_is_created_only_under_a_free_name(reply, created):
    _, result = drive(operations.create(NAMING, NAME, new_session()), [reply])
    assert result is created


def test_a_created_session_brings_its_metadata_and_fields():
    [[command]], _ = drive(operations.create(NAMING, NAME, new_session(fields={"~": b"x"})), [1])
    assert summary([command]) == [("create", NAME.hash_key, NAME.index_key, EVENTS)]
    assert words_of(command) == (NAME.sid, TTL, 5, "", KEY, STAMP, b"~~", b"x")


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_session_that_has_expired_is_entered_in_no_users_index(ttl):
    new = new_session(user_tag="tag", ttl=ttl)
    requests, _ = drive(operations.create(NAMING, NAME, new), [1])
    assert [name for name, *_ in summary(requests[0])] == ["create"]


@pytest.mark.parametrize("ttl", [1, 7, 8, TTL, 1_209_600])
def test_a_users_index_keeps_a_session_at_least_as_long_as_it_lives(ttl):
    new = new_session(user_tag="tag", ttl=ttl)
    [[entry, _]], _ = drive(operations.create(NAMING, NAME, new), [1, 1])
    sid, seconds = words_of(entry)
    assert sid == NAME.sid
    assert ttl < seconds <= ttl + ttl / 8 + 1


def test_a_save_sends_what_was_changed_and_removed_under_their_stored_names():
    save = change(changed={"~": b"x", "é": b"y"}, removed=("~a", "b"))
    [[command]], version = drive(operations.save(NAMING, STORED, save), [4])
    assert summary([command]) == [("save", NAME.hash_key, NAME.index_key)]
    assert words_of(command) == (
        *(NAME.sid, KEY, STAMP, TTL, "=", "=", "=", 0, 2, b"~~a", b"b"),
        *(b"~~", b"x", "é".encode(), b"y"),
    )
    assert version == 4


def test_a_touch_sends_no_field():
    [[command]], _ = drive(operations.save(NAMING, STORED, change()), [3])
    assert words_of(command) == (NAME.sid, KEY, 0, TTL, "=", "=", "=", 0, 0)


def test_a_save_that_signs_out_tells_the_script_so():
    save = change(user_tag="", replace=True)
    [[command], [forget]], _ = drive(operations.save(NAMING, SIGNED_IN, save), [4], [1])
    assert words_of(command) == (NAME.sid, KEY, STAMP, TTL, "", "=", "=", 1, 0)
    assert forget == ("ZREM", "session:user:tag", NAME.sid)


def test_a_save_that_expires_the_session_takes_it_out_of_its_users_index():
    [_, [forget]], _ = drive(operations.save(NAMING, SIGNED_IN, change(ttl=0)), [4], [1])
    assert forget == ("ZREM", "session:user:tag", NAME.sid)


@pytest.mark.parametrize("options", [{"ttl": 0}, {"user_tag": ""}, {"user_tag": "other"}])
@pytest.mark.parametrize("reply", [operations.MISSING, [STAMP]], ids=["missing", "outpaced"])
def test_a_save_that_is_refused_hides_no_session_from_its_user(options, reply):
    requests, _ = drive(operations.save(NAMING, SIGNED_IN, change(**options)), [reply])
    assert summary(requests[0]) == [("save", *keys_of(requests[0][0]))]


def test_a_save_for_the_same_user_leaves_his_index_alone_until_it_is_due():
    requests, _ = drive(operations.save(NAMING, SIGNED_IN, change()), [4])
    assert len(requests[0]) == 1
    requests, _ = drive(operations.save(NAMING, SIGNED_IN, change(indexed_user_tag="tag")), [4, 1])
    assert summary(requests[0])[0] == ("index_user", "session:user:tag")


def test_a_session_is_saved_under_the_name_it_was_found_by():
    requests, _ = drive(operations.save(NAMING, STORED._replace(name=OLDER), change()), [4])
    assert keys_of(requests[0][0]) == (OLDER.hash_key, OLDER.index_key)


def test_a_foreign_value_in_a_users_index_costs_no_save():
    save = change(user_tag="other", indexed_user_tag="other")
    replies = [ForeignType(), 4], [ForeignType()]
    assert drive(operations.save(NAMING, SIGNED_IN, save), *replies)[1] == 4


def test_a_login_enters_the_session_in_its_users_index_first_and_leaves_the_other_last():
    login = rotation(SIGNED_IN, user_tag="new", indexed_user_tag="new", changed={"a": b"x"})
    requests, result = drive(login, [1, 4], [1])
    assert summary(requests[0]) == [
        ("index_user", "session:user:new"),
        ("save", NAME.hash_key, NAME.index_key),
    ]
    assert words_of(requests[0][0])[0] == NAME.sid
    words = (NAME.sid, KEY, STAMP, TTL, "new", NEW_KEY, 9, 0, 0, b"a", b"x")
    assert words_of(requests[0][1]) == words
    assert requests[1] == (("ZREM", "session:user:tag", NAME.sid),)
    assert result == 4


@pytest.mark.parametrize("reply", [4, operations.MISSING])
def test_a_rotation_passes_on_what_the_script_says(reply):
    assert drive(rotation(), [reply])[1] == reply


@pytest.mark.parametrize(
    ("options", "is_touch"),
    [
        ({}, True),
        ({"ttl": 5}, True),
        ({"indexed_user_tag": "tag"}, True),
        ({"changed": {"a": b"x"}}, False),
        ({"removed": ("a",)}, False),
        ({"replace": True}, False),
        ({"user_tag": ""}, False),
        ({"rotated": Rotated(NEW_KEY, 9)}, False),
    ],
)
def test_a_touch_is_a_save_that_changes_nothing_but_the_expiry(options, is_touch):
    assert change(**options).is_touch is is_touch


OF_A_ROW = STORED._replace(origin=b"0123abcd.7")


def test_a_session_that_has_a_row_waits_in_the_hash_for_the_database():
    save = change(changed={"a": b"x"})
    [[command]], version = drive(operations.save(NAMING, OF_A_ROW, save), [4])
    assert summary([command]) == [("save_pending", NAME.hash_key, NAME.index_key, PENDING)]
    words = (NAME.sid, KEY, "*", 0, STAMP, TTL, "=", "=", "=", 0, 0, b"a", b"x")
    assert words_of(command) == words
    assert version == 4


@pytest.mark.parametrize("stored", [STORED, OF_A_ROW])
def test_a_save_that_is_not_the_newest_is_told_of_the_newest(stored):
    save = change(changed={"a": b"x"})
    _, result = drive(operations.save(NAMING, stored, save), [[STAMP + 5]])
    assert result == Outpaced(STAMP + 5)


def test_a_session_that_got_a_row_since_it_was_loaded_is_saved_beside_it():
    metadata = METADATA + b" @0123abcd.7 0"
    replies = [-1], [[b"~", metadata], TTL], [3]
    requests, version = drive(operations.save(NAMING, STORED, change()), *replies)
    assert [summary(commands)[0][0] for commands in requests] == [
        "save",
        "HGETALL",
        "save_pending",
    ]
    assert version == 3


def test_a_row_that_cannot_be_reached_is_no_missing_session():
    with pytest.raises(SessionStoreUnavailable, match="row in the database"):
        drive(operations.save(NAMING, OF_A_ROW, change()), [-1])


def test_a_logout_ends_the_session_and_then_its_index_entry():
    requests, _ = drive(deletion("tag"), [b"tag"], [1])
    assert summary(requests[0]) == [("delete", NAME.hash_key, NAME.index_key, EVENTS, PENDING)]
    assert words_of(requests[0][0])[:2] == (NAME.sid, KEY)
    assert requests[1] == (("ZREM", "session:user:tag", NAME.sid),)


def test_on_one_server_a_logout_is_one_round_trip():
    naming = replace(NAMING, is_clustered=False)
    operation = operations.delete(naming, STORED._replace(user_tag="tag"))
    [[command]], ended = drive(operation, [b"tag"])
    assert keys_of(command)[4:] == ("session:user:tag",)
    assert ended


def test_a_logout_under_an_old_key_hides_no_session_from_its_user():
    requests, ended = drive(deletion("tag"), [None])
    assert (len(requests), ended) == (1, False)


@pytest.mark.parametrize(("reply", "ended"), [(b"", True), (b"tag", True), (None, False)])
def test_a_delete_tells_whether_it_ended_the_session(reply, ended):
    assert drive(deletion(), [reply])[1] is ended


def test_staff_end_sessions_whatever_their_keys_are():
    requests, _ = drive(operations.end_all(NAMING, (NAME, OLDER)), [b"", b""])
    assert [keys_of(command)[0] for command in requests[0]] == [NAME.hash_key, OLDER.hash_key]
    assert [words_of(command)[:2] for command in requests[0]] == [(NAME.sid, ""), (OLDER.sid, "")]


def test_a_foreign_value_does_not_keep_other_sessions_from_ending():
    replies = [ForeignType(), b"tag"]
    requests, ended = drive(operations.end_all(NAMING, (NAME, OLDER)), replies, [1])
    assert requests[1] == (("ZREM", "session:user:tag", OLDER.sid),)
    assert ended.names == [OLDER]


def test_pruning_visits_every_bucket_once_when_little_has_expired():
    naming = Naming("session", 4, (b"n" * 32,))
    requests, pruned = drive(operations.prune(naming), [3], [0], [999], [ForeignType()])
    assert [keys_of(command) for [command] in requests] == [(key,) for key in naming.live_indexes()]
    assert pruned == 1002


def test_each_step_of_pruning_is_bounded():
    requests, _ = drive(operations.prune(Naming("session", 1, (b"n" * 32,))), *[[1000]] * 5, [0])
    assert len(requests) == 6
    assert {words_of(command) for [command] in requests} == {(1000,)}


@pytest.mark.parametrize("prefix", ["session", "shop:live"])
@given(session_key=st.text(min_size=8), ttl=st.integers(-5, 10**9), user=st.sampled_from(["", "t"]))
def test_no_script_is_given_keys_of_two_slots(prefix, session_key, ttl, user):
    naming = Naming(prefix, 256, (b"n" * 32, b"o" * 32))
    names = naming.session_everywhere(session_key)
    stored = StoredSession(names[0], 5, 5, 5, 3, user, KEY, {})
    new = new_session(ttl=ttl, user_tag=user)
    for operation in (
        operations.create(naming, names[0], new),
        operations.save(naming, stored, change(ttl=ttl, user_tag=user, indexed_user_tag=user)),
        operations.save(naming, stored, change(ttl=ttl, rotated=Rotated(NEW_KEY, 9))),
        operations.save(naming, stored._replace(origin=b"a.1"), change(ttl=ttl)),
        operations.delete(naming, stored),
        operations.end_all(naming, names),
    ):
        for command in next(operation):
            if command[0] == b"EVALSHA":
                assert len({key_slot(key.encode()) for key in keys_of(command)}) == 1
