"""Connections that something on the way has dropped without a word while they were idle."""

from __future__ import annotations

import asyncio
import copy
import socket
import threading
import time

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import aio_lines, lines, sync, wire
from django_elasticache_sessions.drivers.idling import IDLE_SECONDS
from django_elasticache_sessions.elasticache import ConnectionFactory
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at

TIMEOUT_SECONDS = 1.0
FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
URL = "redis://cache.invalid:6379/0"


class Clock:
    """The time that connections go by, which a test moves on."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds

    def idle(self) -> None:
        """Let everybody be idle for longer than a connection is trusted."""
        self.ahead_seconds += IDLE_SECONDS + 1


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in (lines, aio_lines, wire):
        monkeypatch.setattr(module, "now", clock)
    return clock


@pytest.fixture
def key(new_session, relay, settings, clock) -> str:
    """A session behind a relay, and a second to wait for each answer."""
    key = new_session(a=1).session_key
    point_sessions_at(settings, relay.url, is_patient=False, SOCKET_TIMEOUT=TIMEOUT_SECONDS)
    return key


def in_threads(count: int, key: str) -> list[object]:
    """Load the session in threads at once; what came of each."""
    found: list[object] = []
    together = threading.Barrier(count)

    def visit() -> None:
        together.wait()
        try:
            found.append(SessionStore(key).get("a"))
        except SessionStoreUnavailable as problem:
            found.append(problem)

    threads = [threading.Thread(target=visit) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_the_first_burst_of_threads_is_served(key, relay, clock):
    assert in_threads(5, key) == [1] * 5
    clock.idle()
    relay.forget_connections()
    began = time.monotonic()
    assert in_threads(5, key) == [1] * 5
    assert time.monotonic() - began < TIMEOUT_SECONDS
    assert in_threads(5, key) == [1] * 5


async def test_the_first_burst_of_tasks_is_served(key, relay, clock):
    assert await SessionStore(key).aget("a") == 1
    clock.idle()
    relay.forget_connections()
    before, began = relay.connections, time.monotonic()
    found = await asyncio.gather(*(SessionStore(key).aget("a") for _ in range(20)))
    assert found == [1] * 20
    assert time.monotonic() - began < TIMEOUT_SECONDS
    assert relay.connections == before + 1
    assert await SessionStore(key).aget("a") == 1


@pytest.mark.parametrize("size", [10, 300_000])
def test_so_is_a_save(key, relay, clock, size):
    session = SessionStore(key)
    session["big"] = "x" * size
    clock.idle()
    relay.forget_connections()
    session.save()
    assert len(SessionStore(key)["big"]) == size


def test_a_connection_in_use_is_trusted(key, relay):
    assert SessionStore(key)["a"] == 1
    relay.forget_connections()
    with pytest.raises(SessionStoreUnavailable, match="in time"):
        SessionStore(key).load()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_server_that_is_slow_keeps_its_connection(key, relay, clock, is_async):
    """It answers later than the first reply may come, and in time; so would signing in anew be."""

    async def use() -> None:
        assert await SessionStore(key).aget("a") == 1
        clock.idle()
        relay.delay(0.6 * TIMEOUT_SECONDS)
        for _ in range(2):
            began = time.monotonic()
            assert await SessionStore(key).aget("a") == 1
            assert time.monotonic() - began < 0.9 * TIMEOUT_SECONDS

    if is_async:
        asyncio.run(use())
        return
    assert SessionStore(key)["a"] == 1
    clock.idle()
    relay.delay(0.6 * TIMEOUT_SECONDS)
    began = time.monotonic()
    assert SessionStore(key)["a"] == 1
    assert time.monotonic() - began < 1.5 * TIMEOUT_SECONDS
    relay.heal()
    before = relay.connections
    assert SessionStore(key)["a"] == 1
    assert relay.connections == before


def test_a_server_that_is_silent_costs_no_more_than_the_timeout(key, relay, clock):
    assert SessionStore(key)["a"] == 1
    clock.idle()
    relay.black_hole()
    began = time.monotonic()
    with pytest.raises(SessionStoreUnavailable, match="in time"):
        SessionStore(key).load()
    assert time.monotonic() - began < 1.3 * TIMEOUT_SECONDS


async def test_so_it_does_in_a_loop(key, relay, clock):
    assert await SessionStore(key).aget("a") == 1
    clock.idle()
    relay.black_hole()
    began = time.monotonic()
    with pytest.raises(SessionStoreUnavailable, match="in time"):
        await SessionStore(key).aload()
    assert time.monotonic() - began < 1.3 * TIMEOUT_SECONDS


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_our_factory_has_dead_connections_found_before_anything_forgets_them(scheme):
    params = ConnectionFactory({}).make_connection_params(f"{scheme}://cache.invalid:6379/0")
    options = params["socket_keepalive_options"]
    assert params["socket_keepalive"] is True
    idle = options[socket.TCP_KEEPIDLE]
    assert idle + options[socket.TCP_KEEPINTVL] * options[socket.TCP_KEEPCNT] < 350


def test_keepalive_options_of_the_system_at_hand_are_set(monkeypatch):
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.delattr(socket, name, raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    factory = ConnectionFactory({})
    assert list(factory.make_connection_params(URL)["socket_keepalive_options"]) == [16]
    monkeypatch.delattr(socket, "TCP_KEEPALIVE")
    assert factory.make_connection_params(URL)["socket_keepalive_options"] == {}


def test_keepalive_options_of_a_projects_own_are_left_alone():
    own = {"socket_keepalive_options": {socket.TCP_KEEPCNT: 7}}
    factory = ConnectionFactory({"CONNECTION_POOL_KWARGS": own})
    pool = factory.get_connection_pool(factory.make_connection_params(URL))
    assert pool.connection_kwargs["socket_keepalive_options"] == {socket.TCP_KEEPCNT: 7}


def test_unix_sockets_have_none():
    assert "socket_keepalive_options" not in ConnectionFactory({}).make_connection_params(
        "unix:///x"
    )


@pytest.mark.parametrize("is_async", [False, True])
def test_they_arrive_at_the_socket(valkey, server, settings, is_async):
    caches = copy.deepcopy(settings.CACHES)
    caches["sessions"]["OPTIONS"]["CONNECTION_FACTORY"] = FACTORY
    settings.CACHES = caches

    def idle(sock: socket.socket) -> int:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)

    async def connect() -> int:
        from django_elasticache_sessions.drivers import aio

        driver = aio.get_driver("sessions")
        await SessionStore("some-session-key-" * 2).aload()
        return idle(driver._line._transport.get_extra_info("socket"))

    if is_async:
        assert asyncio.run(connect()) == 60
        return
    SessionStore("some-session-key-" * 2).load()
    [line] = sync.get_driver("sessions")._idle
    assert idle(line._sock) == 60
