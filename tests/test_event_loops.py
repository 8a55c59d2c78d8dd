"""All tasks of an event loop share a connection, whatever becomes of some of them."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at

TIMEOUT_SECONDS = 0.25


async def read(session_key: str) -> object:
    return await SessionStore(session_key).aget("who")


@pytest.fixture
def keys(new_session) -> list[str]:
    """The session keys of a crowd, each session knowing its place in it."""
    return [new_session(who=n).session_key for n in range(20)]


def test_a_burst_of_requests_opens_one_connection(relay, new_session, settings):
    session_key = new_session(who=1).session_key
    # More tasks than a pool of redis-py may have connections.
    point_sessions_at(settings, relay.url, CONNECTION_POOL_KWARGS={"max_connections": 10})
    before = relay.connections

    async def burst() -> list[object]:
        return await asyncio.gather(*(read(session_key) for _ in range(500)))

    assert asyncio.run(burst()) == [1] * 500
    assert relay.connections == before + 1


def test_a_burst_on_a_server_that_is_down_tries_one_connection(relay, new_session, settings):
    session_key = new_session(who=1).session_key
    point_sessions_at(settings, relay.url, is_patient=False)
    relay.black_hole()
    before = relay.connections

    async def burst() -> list[object]:
        return await asyncio.gather(*(read(session_key) for _ in range(50)), return_exceptions=True)

    results = asyncio.run(burst())
    assert all(isinstance(result, SessionStoreUnavailable) for result in results)
    assert relay.connections == before + 1


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_loop_that_others_keep_busy_is_no_outage(relay, keys, settings, is_connected):
    point_sessions_at(settings, relay.url, is_patient=False)
    if is_connected:
        await read(keys[0])
    tasks = [asyncio.create_task(read(session_key)) for session_key in keys]
    for _ in range(3):
        await asyncio.sleep(0)
        time.sleep(1.5 * TIMEOUT_SECONDS)  # noqa: ASYNC251 - that is the point
    assert await asyncio.gather(*tasks) == list(range(len(keys)))


async def test_the_task_that_connects_may_be_cancelled_without_harm_to_others(relay, keys):
    first, *others = [asyncio.create_task(read(session_key)) for session_key in keys]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == list(range(1, len(keys)))
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_when_all_that_wait_for_a_connection_are_cancelled_nothing_is_left_over(relay, keys):
    relay.black_hole()
    tasks = [asyncio.create_task(read(session_key)) for session_key in keys]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    relay.heal()
    assert await read(keys[1]) == 1


async def test_a_cancelled_request_costs_the_others_no_connection(relay, keys):
    await read(keys[0])
    before = relay.connections
    relay.delay(0.01)
    tasks = [asyncio.create_task(read(session_key)) for session_key in keys]
    await asyncio.sleep(0.005)
    for task in tasks[::2]:
        task.cancel()
    assert await asyncio.gather(*tasks[1::2]) == list(range(1, len(keys), 2))
    assert relay.connections == before


async def test_a_demoted_primary_is_left_by_all_that_were_using_it(relay, keys):
    await read(keys[0])
    relay.inject_reply_once(b"-READONLY You can't write against a read only replica.\r\n")
    assert await asyncio.gather(*map(read, keys)) == list(range(len(keys)))


async def test_a_connection_that_breaks_is_mended_for_all_that_were_using_it(relay, keys):
    await read(keys[0])
    before = relay.connections
    relay.cut_reply_after(3)
    assert await asyncio.gather(*map(read, keys)) == list(range(len(keys)))
    assert relay.connections == before + 1


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_session_that_is_too_large_is_missing_and_its_neighbours_are_not(
    valkey, keys, settings, is_connected
):
    if is_connected:
        await read(keys[0])
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 4096}
    victim = get_configuration().naming.session(keys[0]).hash_key
    # Where its end comes together with others' replies, it is refused for what it is.
    valkey.hset(victim, "planted", bytes(9_000_000))
    assert await asyncio.gather(*map(read, keys)) == [None, *range(1, len(keys))]


async def test_a_reply_that_nobody_waits_for_is_given_to_nobody(relay, keys):
    await read(keys[0])
    relay.inject_reply_once(b"*0\r\n:-2\r\n:9\r\n")
    assert await read(keys[1]) is None
    assert await asyncio.gather(*map(read, keys)) == list(range(len(keys)))


def test_many_event_loops_one_after_the_other_leave_no_connection(valkey, new_session):
    session_key = new_session(a=1).session_key
    before = len(valkey.client_list())

    async def read() -> object:
        return await SessionStore(session_key).aget("a")

    for _ in range(20):
        assert asyncio.run(read()) == 1
    gc.collect()
    assert len(valkey.client_list()) <= before + 1


def test_event_loops_that_are_closed_are_let_go_of(valkey, new_session):
    session_key = new_session(a=1).session_key
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def read() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await SessionStore(session_key).aget("a")

    for _ in range(10):
        asyncio.run(read())
    gc.collect()
    # The last one goes when the next begins.
    assert sum(loop() is not None for loop in loops) <= 1


def test_event_loops_in_two_threads_do_not_share_a_connection(valkey, new_session):
    keys = [new_session(who=n).session_key for n in range(2)]
    wrong: list[object] = []

    async def read(n: int) -> None:
        for _ in range(200):
            who = await SessionStore(keys[n]).aget("who")
            if who != n:
                wrong.append(who)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(read(n))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_no_thread_serves_the_cache_in_async_code(valkey, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a synchronous operation was run")

    before = threading.active_count()
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    monkeypatch.setattr(sync.Driver, "run", refuse)
    request = SessionStore(session.session_key)
    assert await request.aget("a") == 1
    await request.aset("b", {"nested": []})
    await request.aset_expiry(100)
    assert await request.aget_expiry_age() == 100
    await request.asave()
    await request.acycle_key()
    assert await request.aexists(request.session_key)
    await request.aflush()
    assert threading.active_count() == before
