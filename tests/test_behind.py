"""`FALLBACK_WRITES = "behind"` and `syncsessions`: rows written soon after the request."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections

from django_elasticache_sessions import breaker, homes, outbox, reading, row_upkeep, rows
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import wire
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.fields import MAX_FIELDS
from django_elasticache_sessions.handing_over import hand_over
from django_elasticache_sessions.homes import get_homes

from .servers.databases import VENDORS
from .stepping import answer, finish

ENGINE = "django_elasticache_sessions.backends.cached_db"


@pytest.fixture(params=VENDORS)
def alias(request, settings, valkey, fallback_database, monkeypatch) -> str:
    """A database of each vendor, to which changes are written behind.

    What is asked once a second is asked once, at the first access.
    """
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600.0)
    alias = fallback_database(request.param)
    settings.SESSION_ENGINE = ENGINE
    settings.ELASTICACHE_SESSIONS = {
        **settings.ELASTICACHE_SESSIONS,
        "FALLBACK_WRITES": "behind",
        "INDEX_BUCKETS": 4,
    }
    return alias


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def change(session_key: str, **data: object) -> None:
    session = SessionStore(session_key)
    session.update(data)
    session.save()


def content(session_key: str) -> dict[str, object]:
    return dict(SessionStore(session_key).items())


def synchronized(**options: object) -> dict[str, int]:
    stdout = io.StringIO()
    call_command("syncsessions", "--json", stdout=stdout, **options)
    return json.loads(stdout.getvalue())


def statements(alias: str) -> list[str]:
    found: list[str] = []

    def note(execute, sql, params, many, context):
        found.append(sql.split()[0])
        return execute(sql, params, many, context)

    connections[alias].execute_wrappers.append(note)
    return found


def row_version(alias: str, session_key: str) -> int:
    name = get_configuration().naming.session(session_key)
    [row] = rows.load(connections[alias], [name.digest]).rows
    return row.version


def bucket_of(session_key: str) -> int:
    return get_configuration().naming.session(session_key).bucket


def test_a_change_costs_no_statement_in_the_request(alias):
    key = saved(a=1)
    SessionStore(key)["a"]
    asked = statements(alias)
    change(key, a=2)
    change(key, b=3)
    assert asked == []
    assert content(key) == {"a": 2, "b": 3}
    assert row_version(alias, key) == 1


def test_many_saves_of_many_sessions_are_one_write(alias, valkey):
    keys = [saved(a=1, gone=1) for _ in range(5)]
    for key in keys:
        change(key, a=2)
        change(key, b=[3])
        session = SessionStore(key)
        del session["gone"]
        session.save()
    synchronized()
    asked = statements(alias)
    for key in keys:
        change(key, c=4)
    assert synchronized() == {"saved": 5, "dropped": 0, "waiting": 0}
    # One look at the servers and one for stale hashes before; then the rows, and the write. MySQL
    # has no way to replace several rows under a condition.
    writes = ["UPDATE"] * 5 if connections[alias].vendor == "mysql" else ["INSERT"]
    assert asked == ["SELECT", "SELECT", "SELECT", *writes]
    valkey.flushall()
    for key in keys:
        assert content(key) == {"a": 2, "b": [3], "c": 4}


def test_what_was_brought_over_is_read_from_the_cache(alias):
    key = saved(a=1)
    change(key, a=2)
    synchronized()
    asked = statements(alias)
    assert content(key) == {"a": 2}
    assert asked == []
    assert row_version(alias, key) == 2


def test_a_second_pass_finds_nothing(alias):
    change(saved(a=1), a=2)
    assert synchronized()["saved"] == 1
    assert synchronized() == {"saved": 0, "dropped": 0, "waiting": 0}


def test_a_logout_reaches_the_database_at_once(alias, valkey):
    key = saved(a=1)
    change(key, a=2)
    SessionStore(key).delete(key)
    valkey.flushall()
    assert content(key) == {}
    assert synchronized()["waiting"] == 0


def test_a_login_takes_changes_along_that_wait(alias, valkey):
    key = saved(a=1)
    change(key, a=2)
    session = SessionStore(key)
    session["b"] = 3
    session.cycle_key()
    session.save()
    synchronized()
    valkey.flushall()
    assert content(key) == {}
    assert content(str(session.session_key)) == {"a": 2, "b": 3}


def test_when_too_many_wait_saves_go_through(alias, monkeypatch):
    monkeypatch.setattr(outbox, "MOST_PENDING", 4)
    keys = [saved(a=1) for _ in range(20)]
    for key in keys:
        change(key, a=2)
    versions = [row_version(alias, key) for key in keys]
    assert versions.count(1) <= 4
    assert versions.count(2) >= 16
    assert all(content(key) == {"a": 2} for key in keys)
    assert synchronized()["waiting"] == 0
    assert {row_version(alias, key) for key in keys} == {2}


@pytest.fixture
def cache_away(monkeypatch):
    """Have this process leave the cache alone, as after an outage, and ask it again."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 3600.0)

    @contextmanager
    def away() -> Iterator[None]:
        get_homes().cache.failed()
        yield
        get_homes().give_another_chance()

    return away


def test_a_change_past_the_cache_is_not_lost_to_one_that_waits(alias, valkey, cache_away):
    key = saved(a=1)
    change(key, a=2)
    with cache_away():
        change(key, b=3)
    assert row_version(alias, key) == 2
    assert synchronized() == {"saved": 1, "dropped": 1, "waiting": 0}
    assert row_version(alias, key) == 3
    assert content(key) == {"a": 2, "b": 3}
    valkey.flushall()
    assert content(key) == {"a": 2, "b": 3}


@pytest.mark.parametrize("is_removed", [False, True])
def test_what_waits_does_not_go_over_a_newer_change_past_the_cache(
    alias, valkey, cache_away, is_removed
):
    key = saved(a=0, b=0)
    change(key, a=1)
    with cache_away():
        session = SessionStore(key)
        if is_removed:
            del session["a"]
        else:
            session["a"] = 2
        session.save()
    expected = {"b": 0} if is_removed else {"a": 2, "b": 0}
    assert synchronized()["waiting"] == 0
    assert content(key) == expected
    valkey.flushall()
    assert content(key) == expected


def test_somebody_can_log_in_while_the_cache_is_away(alias, valkey, cache_away):
    key = saved(a=1)
    change(key, a=2)
    synchronized()
    with cache_away():
        session = SessionStore(key)
        session["b"] = 3
        session.cycle_key()
        session.save()
        with pytest.raises(SessionStoreUnavailable):
            content(key)
        assert content(str(session.session_key)) == {"a": 2, "b": 3}
    assert content(key) == {}
    assert content(str(session.session_key)) == {"a": 2, "b": 3}
    valkey.flushall()
    assert content(str(session.session_key)) == {"a": 2, "b": 3}


def test_what_has_waited_for_long_is_handed_over_by_whoever_reads_it(alias, valkey, monkeypatch):
    key = saved(a=1)
    change(key, a=2)
    assert content(key) == {"a": 2}
    assert row_version(alias, key) == 1
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0)
    assert content(key) == {"a": 2}
    assert row_version(alias, key) == 2
    assert synchronized() == {"saved": 0, "dropped": 0, "waiting": 0}
    valkey.flushall()
    assert content(key) == {"a": 2}


def test_a_pass_may_be_killed_at_any_point(alias, valkey):
    naming = get_configuration().naming
    cut, is_done = 0, False
    while not is_done:
        keys = [saved(a=1) for _ in range(3)]
        for key in keys:
            change(key, a=2)
        operation = outbox.drain_all(get_homes(), naming, batch_size=100)
        step = next(operation)
        try:
            for _ in range(cut):
                step = operation.send(answer(step))
        except StopIteration:
            is_done = True
        operation.close()
        cut += 1
        assert all(content(key) == {"a": 2} for key in keys)
        assert synchronized()["waiting"] == 0
        valkey.flushall()
        assert all(content(key) == {"a": 2} for key in keys)
    # Which wait, what they hold, their rows, the writes, what became of them.
    assert cut > 4


def test_a_pass_comes_to_every_bucket_though_a_session_never_stops_changing(
    alias, valkey, monkeypatch
):
    monkeypatch.setattr(outbox, "_BUCKETS", 1)
    keys = [saved(a=0) for _ in range(20)]
    while len({bucket_of(key) for key in keys}) < 4:
        keys.append(saved(a=0))
    keys.sort(key=bucket_of)
    for key in keys:
        change(key, a=1)
    busy, *others = keys
    operation = outbox.drain_all(get_homes(), get_configuration().naming, batch_size=100)
    step, number = next(operation), 1
    try:
        while number < 200:
            number += 1
            change(busy, a=number)
            step = operation.send(answer(step))
    except StopIteration:
        pass
    assert number < 200, "it never ends"
    assert {row_version(alias, key) for key in others} == {2}
    assert synchronized()["waiting"] == 0
    valkey.flushall()
    assert content(busy) == {"a": number}


def test_a_session_that_changes_meanwhile_is_brought_over_again(alias, valkey):
    key = saved(a=1)
    change(key, a=2)
    name = get_configuration().naming.session(key)
    operation = hand_over(get_homes(), get_configuration().naming, [name])
    found = answer(next(operation))
    change(key, b=3)
    assert finish(operation, operation.send(found)) == []
    valkey.flushall()
    assert content(key) == {"a": 2, "b": 3}


def test_a_hand_over_that_was_held_up_puts_no_older_value_over_a_newer(alias, valkey):
    key = saved(a=1)
    change(key, a=2)
    name = get_configuration().naming.session(key)
    slow = hand_over(get_homes(), get_configuration().naming, [name])
    found = answer(next(slow))
    for value in (3, 4):
        change(key, a=value)
        assert synchronized()["waiting"] == 0
    assert finish(slow, slow.send(found)) == []
    assert content(key) == {"a": 4}
    valkey.flushall()
    assert content(key) == {"a": 4}


def test_sessions_too_large_to_be_read_together_are_brought_over_in_parts(
    alias, settings, valkey, monkeypatch
):
    monkeypatch.setattr(wire, "MAX_BATCH_BYTES", 0)
    settings.ELASTICACHE_SESSIONS = {**settings.ELASTICACHE_SESSIONS, "COMPRESS_ABOVE_BYTES": None}
    keys = [saved(a=1) for _ in range(6)]
    for key in keys:
        change(key, large="x" * 900_000)
    assert synchronized()["saved"] == len(keys)
    valkey.flushall()
    assert [len(SessionStore(key)["large"]) for key in keys] == [900_000] * len(keys)


def test_a_session_that_cannot_be_read_holds_up_no_other(alias, valkey, monkeypatch):
    monkeypatch.setattr(wire, "MAX_BATCH_BYTES", 0)
    keys = [saved(a=1) for _ in range(3)]
    for key in keys:
        change(key, a=2)
    valkey.hset(get_configuration().naming.session(keys[0]).hash_key, "planted", b"x" * 9_000_000)
    assert synchronized() == {"saved": 2, "dropped": 0, "waiting": 1}


@pytest.mark.parametrize("name", ["x p", "~", "~k", "~e", "~l", "~!a", "~!~k", "~+2", "nul\0"])
def test_a_session_with_an_odd_name_is_brought_over(alias, valkey, name):
    key = saved(**{name: 1, "b": "x p"})
    change(key, **{name: 2, "~": "x p", "x p": "~"})
    expected = content(key)
    assert synchronized() == {"saved": 1, "dropped": 0, "waiting": 0}
    assert content(key) == expected
    valkey.flushall()
    assert content(key) == expected


def test_as_many_fields_as_a_session_may_have_are_brought_over(alias, settings, valkey):
    settings.ELASTICACHE_SESSIONS |= {"MAX_SESSION_BYTES": 2**22}
    key = saved(a=1)
    fields = {f"field-{number}": 1 for number in range(MAX_FIELDS - 1)}
    change(key, **fields)
    assert content(key) == {"a": 1, **fields}
    assert synchronized() == {"saved": 1, "dropped": 0, "waiting": 0}
    valkey.flushall()
    assert content(key) == {"a": 1, **fields}


@pytest.mark.parametrize("by", ["a pass", "requests"])
def test_a_foreign_value_in_the_place_of_a_pending_set_holds_up_no_other_bucket(
    alias, valkey, monkeypatch, by
):
    keys = sorted((saved(a=1) for _ in range(20)), key=bucket_of)
    for key in keys:
        change(key, a=2)
    hidden = bucket_of(keys[0])
    valkey.set(get_configuration().naming.pending_set(hidden), "planted")
    if by == "a pass":
        synchronized()
        others = [key for key in keys if bucket_of(key) != hidden]
        assert {row_version(alias, key) for key in others} == {2}
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(homes, "SEARCH_SECONDS", 0.0)
    # Another process, which looks for what others have left.
    homes._homes.clear()
    for key in keys:
        assert content(key) == {"a": 2}
    assert {row_version(alias, key) for key in keys} == {2}
    change(keys[0], a=3)
    assert synchronized()["waiting"] == 0
    valkey.flushall()
    assert content(keys[0]) == {"a": 3}


def test_syncsessions_says_what_it_did(alias):
    change(saved(a=1), a=2)
    stdout = io.StringIO()
    call_command("syncsessions", stdout=stdout)
    assert stdout.getvalue() == (
        "1 sessions saved in the database, 0 dropped from the cache, 0 still waiting.\n"
    )


def test_syncsessions_is_for_the_cached_db_engine(settings, valkey):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cache"
    with pytest.raises(CommandError, match="keeps sessions in one place"):
        call_command("syncsessions")


@pytest.mark.parametrize("size", ["0", "-1", "ten", "10001"])
def test_syncsessions_refuses_a_batch_size_that_is_none(size):
    with pytest.raises(CommandError, match=r"from 1 to 10000, found"):
        call_command("syncsessions", f"--batch-size={size}")


def test_syncsessions_goes_on_in_a_loop_over_outages(alias, monkeypatch):
    key = saved(a=1)
    passes = []

    def sleep(seconds: float) -> None:
        passes.append(seconds)
        if len(passes) == 1:
            # The database is away for the second pass.
            change(key, a=2)
            monkeypatch.setattr(row_upkeep, "stale", fail)
        elif len(passes) == 2:
            monkeypatch.undo()
            monkeypatch.setattr(time, "sleep", sleep)
        else:
            raise KeyboardInterrupt

    def fail(*arguments: object) -> None:
        raise OperationalError

    stdout, stderr = io.StringIO(), io.StringIO()
    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(CommandError) as caught:
        call_command("syncsessions", "--loop", "--interval=7", stdout=stdout, stderr=stderr)
    assert caught.value.returncode == 130
    assert passes == [7, 7, 7]
    assert "did not serve" in stderr.getvalue()
    assert stdout.getvalue().startswith("1 sessions saved")
    assert row_version(alias, key) == 2


def test_what_django_checks_of_a_user_goes_through(alias, valkey):
    key = saved(**{SESSION_KEY: "7", HASH_SESSION_KEY: "old"})
    session = SessionStore(key)
    session[HASH_SESSION_KEY] = "new"
    session.save()
    valkey.flushall()
    assert content(key)[HASH_SESSION_KEY] == "new"
