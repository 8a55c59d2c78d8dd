"""Servers that name themselves otherwise to scripts than to commands, or each time: `cached_db`.

A relay rewrites what the server replies to `INFO`, as a proxy that answers it by itself may.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError

from django_elasticache_sessions import breaker, homes, scripts
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.doctor import examine
from django_elasticache_sessions.drivers import origin
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.statements import Statement

from .conftest import point_sessions_at
from .servers.relay import Relay
from .servers.valkey import Valkey
from .servers.waiting import wait_until

_ID = re.compile(rb"(?<=master_replid:)[0-9a-f]{40}")


def another_id(replies: bytes) -> bytes:
    """Have commands be told an id that scripts are not."""
    return _ID.sub(b"ab" * 20, replies)


def changing_ids() -> Callable[[bytes], bytes]:
    """Have each command be told another one."""
    numbers = itertools.count(1)
    return lambda replies: _ID.sub(lambda found: b"%040x" % (next(numbers) << 140), replies)


KINDS = {"two ids": lambda: another_id, "ids that change": changing_ids}


@pytest.fixture(params=KINDS)
def untold(request, relay, fallback_database, settings, monkeypatch) -> Relay:
    """The relay; what is known of a connection's server is asked each time."""
    settings.SESSION_ENGINE = SessionStore.__module__
    fallback_database("sqlite")
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", 0.0)
    relay.rewrite(KINDS[request.param]())
    return relay


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """What the database was asked, by any thread."""
    names: list[str] = []
    call = Statement._called

    def count(self, connection):
        names.append(self.function.__name__)
        return call(self, connection)

    monkeypatch.setattr(Statement, "_called", count)
    return names


@pytest.fixture
def database_fails(monkeypatch) -> Callable[[], AbstractContextManager[None]]:
    """Have the database refuse everything, and be tried again at once."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 1e-6)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 1e-6)

    def refuse(self, connection):
        raise OperationalError("the server is away")

    @contextmanager
    def switch() -> Iterator[None]:
        with monkeypatch.context() as patches:
            patches.setattr(Statement, "_called", refuse)
            yield

    return switch


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def test_a_read_asks_the_cache_alone_in_one_round_trip(untold, asked):
    session_key = saved(a=1)
    SessionStore(session_key)["a"]
    asked.clear()
    with untold.recording() as tape:
        for _ in range(5):
            assert SessionStore(session_key)["a"] == 1
    assert (asked, tape.round_trips) == ([], 5)


def test_so_it_does_in_a_loop(untold, asked):
    async def use() -> None:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        await SessionStore(session.session_key).aget("a")
        asked.clear()
        with untold.recording() as tape:
            for _ in range(5):
                assert await SessionStore(session.session_key).aget("a") == 1
        assert (asked, tape.round_trips) == ([], 5)

    asyncio.run(use())


def test_a_save_is_one_statement_and_one_round_trip(untold, asked):
    session = SessionStore(saved(a=1))
    session["a"] = 2
    asked.clear()
    with untold.recording() as tape:
        session.save()
    assert (asked, tape.round_trips) == (["save"], 1)
    assert SessionStore(session.session_key)["a"] == 2
    assert asked == ["save"]


def test_a_process_that_begins_probes_the_server_once(untold):
    session_key = saved(a=1)
    with untold.recording() as tape:
        homes._homes.clear()
        for _ in range(5):
            assert SessionStore(session_key)["a"] == 1
            saved(a=1)
    assert len(probes(tape)) <= 4


def test_one_that_tells_is_known_by_its_own_id(untold):
    untold.heal()
    session_key = saved(a=1)
    assert b"0" not in get_homes().origins()
    with untold.recording() as tape:
        for _ in range(5):
            assert SessionStore(session_key)["a"] == 1
    assert probes(tape) == []


def test_sessions_live_in_the_cache_alone_while_the_database_is_away(untold, database_fails):
    session = SessionStore(saved(a=1))
    with database_fails():
        session["a"] = 2
        session.save()
        assert SessionStore(session.session_key)["a"] == 2
        new = saved(b=1)
        assert SessionStore(new)["b"] == 1
    assert SessionStore(session.session_key)["a"] == 2
    assert SessionStore(new)["b"] == 1


def test_a_process_that_begins_meanwhile_reads_what_it_makes(untold, database_fails):
    saved(a=1)
    with database_fails():
        homes._homes.clear()
        session_key = saved(b=1)
        assert SessionStore(session_key)["b"] == 1
        change(session_key, b=2)
        assert SessionStore(session_key)["b"] == 2
    assert SessionStore(session_key)["b"] == 2


def test_saves_wait_in_the_cache_where_they_may(untold, asked, settings):
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind"}
    session_key = saved(a=1)
    change(session_key, a=2)
    asked.clear()
    change(session_key, a=3)
    assert SessionStore(session_key)["a"] == 3
    assert asked == []


def test_another_place_takes_over_all_the_same(untold, settings):
    session_key = saved(a=1)
    of_old = get_homes()
    settings.ELASTICACHE_SESSIONS |= {"KEY_PREFIX": "moved"}
    change(session_key, a=2)
    settings.ELASTICACHE_SESSIONS |= {"KEY_PREFIX": "session"}
    assert get_homes() is of_old
    of_old._next_reconciliation = 0.0
    # The process that was not told yet: what its cache holds is old.
    assert SessionStore(session_key)["a"] == 2


def change(session_key: str, **data: object) -> None:
    session = SessionStore(session_key)
    session.update(data)
    session.save()


def probes(tape) -> list:
    return [command for command in tape.commands if scripts.ORIGIN.sha in command]


def in_step(primary: Valkey, replica: Valkey) -> bool:
    told = replica.client().info("replication")
    ours = primary.client().info("replication")["master_repl_offset"]
    return bool(told["slave_repl_offset"] == ours)


def test_checksessions_tells_of_it(untold):
    found = {finding.subject: finding for finding in examine(SessionStore.__module__)}
    assert found["replication id"].level == "advice"
    untold.heal()
    found = {finding.subject: finding for finding in examine(SessionStore.__module__)}
    assert found["replication id"].level == "ok"


class TestFailover:
    """To a replica that lacks what was saved and ended last, behind the same address."""

    @pytest.fixture(params=KINDS)
    def servers(self, request, settings, fallback_database, monkeypatch):
        settings.SESSION_ENGINE = SessionStore.__module__
        fallback_database("sqlite")
        monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600)
        monkeypatch.setattr(origin, "KNOWN_SECONDS", 0.0)
        with (
            Valkey() as primary,
            Valkey(replica_of=primary) as replica,
            Relay(primary.host, primary.port) as relay,
        ):
            relay.rewrite(KINDS[request.param]())
            point_sessions_at(settings, relay.url)
            yield relay, primary, replica

    @pytest.fixture
    def fails_over(self, servers):
        """Cut the replica off; have it be the primary."""
        relay, primary, replica = servers

        def cut_off() -> None:
            wait_until(lambda: in_step(primary, replica), what="the replica in step")
            replica.client().execute_command("REPLICAOF", "NO", "ONE")

        def lead() -> None:
            relay.lead_to(replica.host, replica.port)

        return cut_off, lead

    def test_all_that_was_saved_is_in_the_rows_and_the_next_save_shows_it(self, fails_over):
        cut_off, lead = fails_over
        session_key = saved(a=1, b=1)
        cut_off()
        change(session_key, a=2)
        lead()
        # Not told, this server is trusted as it is: so much is promised.
        change(session_key, b=2)
        assert dict(SessionStore(session_key).load()) == {"a": 2, "b": 2}

    def test_what_has_ended_takes_no_save(self, fails_over):
        cut_off, lead = fails_over
        session_key = saved(a=1)
        cut_off()
        SessionStore(session_key).delete()
        lead()
        session = SessionStore(session_key)
        session["a"] = 2
        with pytest.raises(UpdateError):
            session.save()
        assert SessionStore(session_key).load() == {}

    def test_reads_ask_nothing_of_the_database_then(self, fails_over, asked):
        cut_off, lead = fails_over
        session_key = saved(a=1)
        cut_off()
        lead()
        with suppress(SessionStoreUnavailable):
            SessionStore(session_key).load()
        SessionStore(session_key)["a"]
        asked.clear()
        for _ in range(5):
            assert SessionStore(session_key)["a"] == 1
        assert asked == []
