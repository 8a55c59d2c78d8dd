"""G8 for `cached_db`: what each operation asks of the cache and of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import connections

from django_elasticache_sessions import homes, purge, row_upkeep
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import origin

from .servers.databases import VENDORS

USER = {
    SESSION_KEY: "7",
    BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
    HASH_SESSION_KEY: "0" * 64,
}


@pytest.fixture(params=VENDORS)
def alias(request, valkey, relay, fallback_database, settings, monkeypatch) -> str:
    """A database of each vendor; what a process asks once, or once a second, is asked already."""
    alias = fallback_database(request.param)
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 1}
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", 3600)
    for _ in range(2):
        session = SessionStore(saved(warm=1, **USER))
        session["warm"] = 2
        session.save()
        session.cycle_key()
        valkey.flushdb()
        session = SessionStore(session.session_key)
        session["warm"]
        session.flush()
        SessionStore("no-such-session-" * 2).get("warm")
    return alias


@pytest.fixture
def counted(alias, relay):
    """Count the round trips to the cache and the statements of a block."""

    @contextmanager
    def count(*, round_trips: int, statements: list[str]) -> Iterator[None]:
        asked: list[str] = []

        def note(execute, sql, params, many, context):
            # SQLite's BEGIN is a statement to Django, the others' is not.
            asked.extend(word for word in [sql.split()[0]] if word != "BEGIN")
            return execute(sql, params, many, context)

        with relay.recording() as tape, connections[alias].execute_wrapper(note):
            yield
        assert asked == statements
        assert tape.round_trips == round_trips

    return count


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def test_a_load_asks_the_cache_alone(counted):
    session_key = saved(a=1)
    with counted(round_trips=1, statements=[]):
        assert SessionStore(session_key)["a"] == 1


def test_a_load_that_the_cache_misses_is_one_statement(counted, valkey):
    session_key = saved(a=1)
    valkey.flushdb()
    SessionStore(saved(b=1))["b"]
    with counted(round_trips=3, statements=["SELECT"]):
        assert SessionStore(session_key)["a"] == 1
    with counted(round_trips=1, statements=[]):
        assert SessionStore(session_key)["a"] == 1


def test_a_session_that_is_nowhere_is_one_statement(counted):
    with counted(round_trips=3, statements=["SELECT"]):
        assert SessionStore("no-such-session-" * 2).get("a") is None


def test_a_save_is_one_statement_and_one_round_trip(counted):
    session = SessionStore(saved(a=1, b=2))
    session["a"] = 2
    del session["b"]
    with counted(round_trips=1, statements=["UPDATE"]):
        session.save()


def test_a_touch_is_one_statement_and_one_round_trip(counted):
    session = SessionStore(saved(a=1))
    session["a"]
    with counted(round_trips=1, statements=["UPDATE"]):
        session.save()


def test_a_new_session_is_one_statement_and_one_round_trip(counted):
    session = SessionStore()
    session["a"] = 1
    with counted(round_trips=1, statements=["INSERT"]):
        session.save()


def test_the_first_session_asks_which_server_is_there_for_all_buckets(counted, settings):
    homes.get_homes()._clocks.clear()
    with counted(round_trips=2, statements=["INSERT"]):
        saved(a=1)
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 64}
    saved(a=1)
    homes.get_homes()._next_reconciliation = float("inf")
    for _ in range(5):
        with counted(round_trips=1, statements=["INSERT"]):
            saved(a=1)


def test_a_delete_is_one_statement_and_one_round_trip(counted):
    session = SessionStore(saved(a=1))
    session["a"]
    with counted(round_trips=1, statements=["UPDATE"]):
        session.delete()


def test_a_rotation_is_one_statement_and_one_round_trip(counted):
    session = SessionStore(saved(a=1))
    session["a"]
    with counted(round_trips=1, statements=["UPDATE"]):
        session.cycle_key()


def test_a_logout_of_what_was_not_loaded_is_two_round_trips(counted):
    session_key = saved(**USER)
    with counted(round_trips=2, statements=["UPDATE"]):
        SessionStore(session_key).delete()


def test_a_login_is_three_round_trips_and_two_statements(counted):
    session_key = saved(cart=["tea"])
    with counted(round_trips=3, statements=["UPDATE", "UPDATE"]):
        session = SessionStore(session_key)
        session.get("cart")
        session.cycle_key()
        session.update(USER)
        session.save()


def test_a_save_behind_asks_the_cache_alone(counted, settings):
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind"}
    session = SessionStore(saved(a=1))
    session["a"] = 2
    session.save()
    session["a"] = 3
    with counted(round_trips=1, statements=[]):
        session.save()
    with counted(round_trips=1, statements=[]):
        SessionStore(session.session_key)["a"]


def test_a_save_while_the_cache_is_known_to_be_down_is_one_statement(counted, relay):
    session = SessionStore(saved(a=1))
    session["a"] = 2
    homes.get_homes().cache.failed()
    with counted(round_trips=0, statements=["UPDATE"]):
        session.save()


@pytest.fixture
def of_a_batch(alias) -> list[str]:
    """The statements of a batch of a purge: MySQL's UPDATE does not tell what it changed.

    The last one takes away the marks of those that the cache knows of.
    """
    returns_none = connections[alias].vendor == "mysql"
    return [*(["SELECT"] if returns_none else []), "SELECT", "UPDATE", "UPDATE"]


def purged(batch_size: int) -> int:
    return purge.purge(purge.Selection(), batch_size=batch_size, progress=lambda tally: None).ended


def test_a_batch_of_a_purge_is_three_statements_around_a_script_for_each_bucket(
    counted, of_a_batch, relay, settings
):
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 2}
    purged(1000)
    for _ in range(30):
        saved(a=1)
    # It ends when nothing more is found.
    statements = [*of_a_batch * 3, "SELECT"]
    with relay.recording() as tape, counted(round_trips=3, statements=statements):
        assert purged(10) == 30
    assert set(tape.names) == {"EVALSHA"}
    assert 3 <= len(tape.commands) <= 3 * 2


def test_no_script_of_a_purge_ends_more_than_a_hundred_sessions(counted, of_a_batch, relay):
    purged(1000)
    for _ in range(150):
        saved(a=1)
    naming = get_configuration().naming
    statements = [*of_a_batch, "SELECT"]
    with relay.recording() as tape, counted(round_trips=1, statements=statements):
        assert purged(1000) == 150
    ended = [list(filter(None, map(naming.from_hash_key, command))) for command in tape.commands]
    assert list(map(len, ended)) == [100, 50]


def test_a_purge_forgets_the_users_of_a_batch_in_one_round_trip_more(counted, of_a_batch):
    purged(1000)
    for number in range(30):
        saved(**USER | {SESSION_KEY: str(number)})
    with counted(round_trips=2, statements=[*of_a_batch, "SELECT"]):
        assert purged(1000) == 30


def test_a_purge_that_the_cache_cannot_be_told_of_leaves_the_marks(counted, of_a_batch):
    purged(1000)
    for _ in range(30):
        saved(a=1)
    homes.get_homes().cache.failed()
    with counted(round_trips=0, statements=[*of_a_batch[:-1], "SELECT"]):
        assert purged(1000) == 30
    connection = connections[homes.get_homes().database_alias]
    marked = row_upkeep.stale(connection, 99)
    assert (len(marked), {row.is_ended for row in marked}) == (30, {True})


def test_clearing_out_is_two_statements_for_a_thousand_rows(alias):
    for _ in range(3):
        saved(a=1)
    asked: list[str] = []

    def note(execute, sql, params, many, context):
        asked.append(sql.split()[0])
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        SessionStore.clear_expired()
    assert asked == ["SELECT", "DELETE"]


async def test_asynchronous_operations_cost_the_same(alias, relay):
    async def use() -> None:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        await SessionStore(session.session_key).aget("a")

    await use()
    with relay.recording() as tape:
        await use()
    assert tape.round_trips == 2
