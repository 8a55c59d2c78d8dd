"""Limits of the client, or of the server's clients: waited for, reported, and no outage."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from django.db import connections

from django_elasticache_sessions import health, homes
from django_elasticache_sessions.backends import cached_db
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.exceptions import (
    DatabaseUnavailable,
    LimitReached,
    SessionStoreUnavailable,
)
from django_elasticache_sessions.signals import store_recovered, store_unavailable
from django_elasticache_sessions.statements import Statement

from .conftest import point_sessions_at
from .servers.valkey import Valkey

ENGINE = "django_elasticache_sessions.backends.cached_db"


@pytest.fixture
def told() -> Iterator[list[object]]:
    """What the signals of outages say."""
    found: list[object] = []

    def note(sender, **kwargs):
        found.append(sender)

    store_unavailable.connect(note)
    store_recovered.connect(note)
    yield found
    store_unavailable.disconnect(note)
    store_recovered.disconnect(note)


@pytest.fixture
def logged(caplog):
    """The lines of the package's log."""
    caplog.set_level(logging.INFO, "django_elasticache_sessions")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def crowded() -> Iterator[Valkey]:
    """A server that admits three clients besides its administrator's."""
    with Valkey() as server:
        server.client().config_set("maxclients", 4)
        yield server


@contextmanager
def all_taken(count: int) -> Iterator[None]:
    """Have the lines of the driver be taken, as by requests that take long."""
    driver = sync.get_driver("sessions")
    taken = [driver._checkout()[0] for _ in range(count)]
    try:
        yield
    finally:
        for line in taken:
            driver._put_back(line)


def in_threads(count: int, visit) -> list[object]:
    """Visit in so many threads at once; what came of each."""
    found: list[object] = []
    together = threading.Barrier(count)

    def run() -> None:
        together.wait()
        try:
            found.append(visit())
        except Exception as problem:
            found.append(problem)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def limited(settings, url: str, *, connections: int, **options: object) -> None:
    point_sessions_at(
        settings, url, CONNECTION_POOL_KWARGS={"max_connections": connections}, **options
    )


class TestConnectionsThatAreAllInUse:
    """`max_connections`."""

    def test_are_waited_for(self, new_session, relay, settings, logged, told):
        key = new_session(a=1).session_key
        limited(settings, relay.url, connections=3)
        relay.delay(0.002)

        def visit() -> object:
            for _ in range(10):
                assert SessionStore(key)["a"] == 1
            return 1

        assert in_threads(30, visit) == [1] * 30
        assert relay.open_connections <= 3
        assert logged() == []
        assert told == []

    def test_are_waited_for_no_longer_than_an_answer(self, new_session, server, settings):
        key = new_session(a=1).session_key
        limited(settings, server.url, connections=1, SOCKET_TIMEOUT=0.3)
        with all_taken(1):
            began = time.monotonic()
            with pytest.raises(LimitReached, match=r"max_connections in OPTIONS\['CONN"):
                SessionStore(key).load()
            assert 0.3 <= time.monotonic() - began < 1

    def test_are_no_outage(self, new_session, server, settings, logged, told):
        key = new_session(a=1).session_key
        limited(settings, server.url, connections=1, SOCKET_TIMEOUT=0.1)
        driver = sync.get_driver("sessions")
        SessionStore(key).load()
        with all_taken(1):
            found = in_threads(5, SessionStore(key).load)
            assert [type(one) for one in found] == [LimitReached] * 5
        assert SessionStore(key)["a"] == 1
        assert driver.health.is_up
        assert not driver.is_left_alone
        assert told == []
        assert len(logged()) == 1

    def test_are_reported_once_a_minute_with_their_number(
        self, new_session, server, settings, logged, monkeypatch
    ):
        key = new_session(a=1).session_key
        limited(settings, server.url, connections=1, SOCKET_TIMEOUT=0.05)
        clock = [1000.0]
        monkeypatch.setattr(health, "now", lambda: clock[0])
        with all_taken(1):
            for moment in (0.0, 20.0, 40.0, 61.0):
                clock[0] = 1000.0 + moment
                with pytest.raises(LimitReached):
                    SessionStore(key).load()
        first, second = logged()
        assert "1 request got no connection" in first
        assert "3 requests got no connection" in second
        assert "'sessions'" in first
        assert "max_connections" in first

    def test_leave_the_cache_in_use_for_others(
        self, valkey, server, settings, fallback_database, told
    ):
        settings.SESSION_ENGINE = ENGINE
        fallback_database("sqlite")
        limited(settings, server.url, connections=1, SOCKET_TIMEOUT=0.1)
        session = cached_db.SessionStore()
        session["a"] = 1
        session.save()
        with all_taken(1):
            # The database has it too.
            assert cached_db.SessionStore(session.session_key)["a"] == 1
        assert not homes.get_homes().cache.is_open
        assert told == []

    def test_of_a_blocking_pool_are_told_alike(self, new_session, server, settings):
        key = new_session(a=1).session_key
        point_sessions_at(
            settings,
            server.url,
            CONNECTION_POOL_CLASS="redis.BlockingConnectionPool",
            CONNECTION_POOL_KWARGS={"max_connections": 1, "timeout": 0.1},
        )
        with all_taken(1), pytest.raises(LimitReached, match="max_connections"):
            SessionStore(key).load()
        assert SessionStore(key)["a"] == 1

    def test_that_break_leave_their_place_to_who_waits(self, new_session, relay, settings):
        key = new_session(a=1).session_key
        limited(settings, relay.url, connections=1, SOCKET_TIMEOUT=5)
        relay.delay(0.05)
        relay.refuse()
        found = in_threads(4, SessionStore(key).load)
        assert {type(one).__name__ for one in found} <= {"SessionStoreUnavailable", "StoreRefused"}
        relay.heal()
        assert in_threads(4, lambda: SessionStore(key)["a"]) == [1] * 4


class TestAServerThatAdmitsNoMoreClients:
    """`maxclients`."""

    def test_is_used_over_the_connections_there_are(self, crowded, settings, logged, told):
        point_sessions_at(settings, crowded.url)
        session = SessionStore()
        session["a"] = 1
        session.save()

        def visit() -> object:
            for _ in range(20):
                assert SessionStore(session.session_key)["a"] == 1
            return 1

        assert in_threads(20, visit) == [1] * 20
        assert logged() == []
        assert told == []

    @pytest.mark.parametrize("is_async", [False, True])
    def test_is_waited_for_and_named(self, crowded, settings, told, is_async):
        point_sessions_at(settings, crowded.url, SOCKET_TIMEOUT=0.4)
        others = [crowded.client() for _ in range(4)]
        for other in others[:3]:
            other.ping()
        store = SessionStore("some-session-key-" * 2)
        began = time.monotonic()
        with pytest.raises(LimitReached, match="max number of clients reached"):
            asyncio.run(store.aload()) if is_async else store.load()
        assert 0.3 < time.monotonic() - began < 1.5
        assert told == []
        for other in others:
            other.close()
        SessionStore("some-session-key-" * 2).load()

    @pytest.mark.parametrize("is_async", [False, True])
    def test_serves_whoever_waits_when_others_leave(self, crowded, settings, is_async):
        point_sessions_at(settings, crowded.url, SOCKET_TIMEOUT=5)
        others = [crowded.client() for _ in range(3)]
        for other in others:
            other.ping()
        leaving = threading.Timer(0.2, lambda: [other.close() for other in others])
        leaving.start()
        store = SessionStore("some-session-key-" * 2)
        asyncio.run(store.aload()) if is_async else store.load()
        leaving.join()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Have the process use up its file descriptors."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                taken.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield


class TestAProcessWithoutFileDescriptors:
    """`EMFILE`."""

    @pytest.fixture
    def key(self, settings, valkey, fallback_database, request) -> str:
        """A session in both homes."""
        settings.SESSION_ENGINE = ENGINE
        fallback_database(request.param)
        session = cached_db.SessionStore()
        session["a"] = 1
        session.save()
        return session.session_key

    def test_loses_no_place_of_a_pool(self, new_session, server, settings):
        key = new_session(a=1).session_key
        limited(settings, server.url, connections=2, SOCKET_TIMEOUT=0.1)
        driver = sync.get_driver("sessions")
        with no_descriptors():
            for _ in range(5):
                with pytest.raises(LimitReached, match="ulimit"):
                    SessionStore(key).load()
        assert SessionStore(key)["a"] == 1
        assert driver.pool._created_connections <= 2

    def test_is_told_which_limit_to_raise(self, new_session, server, settings, told):
        key = new_session(a=1).session_key
        point_sessions_at(settings, server.url, SOCKET_TIMEOUT=0.1)
        with no_descriptors(), pytest.raises(LimitReached, match="ulimit -n"):
            SessionStore(key).load()
        assert told == []
        assert SessionStore(key)["a"] == 1

    async def test_is_told_in_a_loop_too(self, server, valkey, settings, told):
        point_sessions_at(settings, server.url, SOCKET_TIMEOUT=0.1)
        # What is imported once is imported by now.
        sync.get_driver("sessions")
        with no_descriptors(), pytest.raises(LimitReached, match="ulimit -n"):
            await SessionStore("some-session-key-" * 2).aload()
        assert told == []

    @pytest.mark.parametrize("key", ["postgres", "sqlite"], indirect=True)
    def test_is_served_by_the_other_home(self, key, settings):
        database = connections[homes.get_homes().database_alias]
        database.close()
        with no_descriptors():
            # The cache, which it is connected to, has it.
            assert cached_db.SessionStore(key)["a"] == 1
            with pytest.raises(DatabaseUnavailable):
                Statement(database.alias, lambda connection: connection.cursor()).run()

    def test_is_told_by_a_database_driver_that_passes_on_what_the_system_says(
        self, fallback_database
    ):
        alias = fallback_database("sqlite")

        def connect(connection: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with pytest.raises(DatabaseUnavailable, match="OSError"):
            Statement(alias, connect).run()

    @pytest.mark.parametrize("key", ["postgres"], indirect=True)
    def test_is_served_by_the_database_that_it_is_connected_to(self, key, settings):
        sync.get_driver("sessions").close()
        with no_descriptors():
            assert cached_db.SessionStore(key)["a"] == 1

    @pytest.mark.parametrize("key", ["postgres"], indirect=True)
    def test_is_unavailable_where_it_is_connected_to_neither(self, key, settings):
        sync.get_driver("sessions").close()
        connections[homes.get_homes().database_alias].close()
        with no_descriptors(), pytest.raises(SessionStoreUnavailable):
            cached_db.SessionStore(key).load()
