"""The visitor hangs up: what a request began to write is written to its end, in both homes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from django_elasticache_sessions.backends.cache import SessionStore as CacheStore
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.drivers import aio, lasting
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.statements import Statement

from .servers.waiting import until

WAIT_SECONDS = 10


class Gate:
    """Stops one step of one operation, before it is done or after."""

    def __init__(self, monkeypatch, *, place: int, is_done: bool) -> None:
        self.reached = asyncio.Event()
        self.opened = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._left = place
        self._is_done = is_done
        exchange, run = aio.Driver._exchange, Statement.run

        async def gated_exchange(driver: Any, commands: Any) -> Any:
            is_here = self._is_here()
            replies = await exchange(driver, commands) if not is_here or is_done else None
            if is_here and not self.opened.is_set():
                self.reached.set()
                waiting = self._loop.create_future()
                self._wake = lambda: waiting.done() or waiting.set_result(None)
                await waiting
            return replies if replies is not None else await exchange(driver, commands)

        def gated_run(statement: Any) -> Any:
            is_here = self._is_here()
            found = run(statement) if not is_here or is_done else None
            if is_here:
                self._loop.call_soon_threadsafe(self.reached.set)
                assert self.opened.wait(WAIT_SECONDS)
            return run(statement) if is_here and not is_done else found

        self._wake: Callable[[], object] = lambda: None
        monkeypatch.setattr(aio.Driver, "_exchange", gated_exchange)
        monkeypatch.setattr(Statement, "run", gated_run)

    def open(self) -> None:
        """Let the step go on."""
        self.opened.set()
        self._wake()

    def _is_here(self) -> bool:
        self._left -= 1
        return self._left == 0


async def cancelled_at(
    monkeypatch, operation: Coroutine[Any, Any, object], *, place: int, is_done: bool
) -> bool:
    """Cancel an operation in one of its steps, and let that go on; `False`: it has not so many."""
    with monkeypatch.context() as patching:
        gate = Gate(patching, place=place, is_done=is_done)
        task = asyncio.create_task(operation)
        reaching = asyncio.create_task(gate.reached.wait())
        await asyncio.wait({task, reaching}, return_when=asyncio.FIRST_COMPLETED)
        if not gate.reached.is_set():
            reaching.cancel()
            await task
            return False
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), WAIT_SECONDS)
        gate.open()
        await all_done()
    return True


async def all_done() -> None:
    """Wait for all that goes on without whom it was for."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        _, pending = await asyncio.wait(rest, timeout=WAIT_SECONDS)
        assert not pending


@pytest.fixture
def store(settings, valkey, fallback_database) -> type[SessionStore]:
    """`cached_db`, with SQLite."""
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    fallback_database("sqlite")
    return SessionStore


async def begun(store) -> SessionStore:
    """A stored session that a new request has read."""
    session = store()
    await session.aset("a", 1)
    await session.asave()
    request = store(session.session_key)
    assert await request.aget("a") == 1
    return request


def in_both(valkey, key: str | None) -> dict[str, object]:
    """Return what both homes hold of a session; they agree."""
    in_cache = dict(CacheStore(key).items())
    valkey.flushdb()
    in_row = dict(SessionStore(key).items())
    assert in_cache == in_row
    return in_row


@pytest.mark.parametrize("is_done", [False, True], ids=["in a step", "after a step"])
class TestEachStep:
    async def test_of_a_logout(self, store, valkey, monkeypatch, is_done):
        for place in count(1):
            session = await begun(store)
            key = session.session_key
            is_cut = await cancelled_at(
                monkeypatch, session.adelete(), place=place, is_done=is_done
            )
            assert await sync_to_async(in_both)(valkey, key) == {}
            if not is_cut:
                break
        assert place > 2

    async def test_of_a_save(self, store, valkey, monkeypatch, is_done):
        for place in count(1):
            session = await begun(store)
            await session.aset("a", 2)
            is_cut = await cancelled_at(monkeypatch, session.asave(), place=place, is_done=is_done)
            assert await sync_to_async(in_both)(valkey, session.session_key) == {"a": 2}
            if not is_cut:
                break
        assert place > 2

    async def test_of_a_login(self, store, valkey, monkeypatch, is_done):
        for place in count(1):
            session = await begun(store)
            key = session.session_key
            is_cut = await cancelled_at(
                monkeypatch, session.acycle_key(), place=place, is_done=is_done
            )
            assert session.session_key != key
            assert await sync_to_async(in_both)(valkey, session.session_key) == {"a": 1}
            assert await sync_to_async(in_both)(valkey, key) == {}
            if not is_cut:
                break
        assert place > 2

    async def test_of_a_read_that_hands_over_what_another_request_saved(
        self, store, valkey, monkeypatch, is_done
    ):
        for place in count(1):
            session, other = await begun(store), await begun(store)
            get_homes().database.failed()
            await session.aset("a", 2)
            await session.asave()
            get_homes().give_another_chance()
            reading = store(other.session_key).aget("a")
            is_cut = await cancelled_at(monkeypatch, reading, place=place, is_done=is_done)
            assert await sync_to_async(in_both)(valkey, session.session_key) == {"a": 2}
            if not is_cut:
                break
        assert place > 2


@pytest.mark.parametrize("place", [1, 2])
def test_a_loop_that_shuts_down_waits_for_it(store, valkey, monkeypatch, place):
    async def use() -> str | None:
        session = await begun(store)
        key = session.session_key
        gate = Gate(monkeypatch, place=place, is_done=False)
        task = asyncio.create_task(session.adelete())
        await gate.reached.wait()
        task.cancel()
        asyncio.get_running_loop().call_later(0.2, gate.open)
        return key

    key = asyncio.run(use())
    monkeypatch.undo()
    assert in_both(valkey, key) == {}


@pytest.mark.parametrize("place", [1, 2])
def test_so_it_does_for_one_that_it_cancels_itself(store, valkey, monkeypatch, place):
    async def use() -> tuple[str | None, asyncio.Task[None]]:
        session = await begun(store)
        key = session.session_key
        gate = Gate(monkeypatch, place=place, is_done=False)
        task = asyncio.create_task(session.adelete())
        await gate.reached.wait()
        asyncio.get_running_loop().call_later(0.2, gate.open)
        return key, task

    key, task = asyncio.run(use())
    assert task.cancelled()
    monkeypatch.undo()
    assert in_both(valkey, key) == {}


def test_it_does_not_wait_for_ever(store, monkeypatch):
    monkeypatch.setattr("django_elasticache_sessions.drivers.lasting.FAREWELL_SECONDS", 0.1)

    async def use() -> None:
        session = await begun(store)
        gate = Gate(monkeypatch, place=2, is_done=False)
        task = asyncio.create_task(session.adelete())
        await gate.reached.wait()
        task.cancel()

    asyncio.run(asyncio.wait_for(use(), WAIT_SECONDS))


async def test_who_is_cancelled_is_told_at_once_and_others_go_on(store, monkeypatch):
    first, second = await begun(store), await begun(store)
    gate = Gate(monkeypatch, place=2, is_done=False)
    task = asyncio.create_task(first.adelete())
    await gate.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await second.aset("b", 1)
    await second.asave()
    gate.open()
    await all_done()
    assert not await store().aexists(first.session_key)


async def test_a_time_limit_of_the_caller_is_kept(store, monkeypatch):
    session = await begun(store)
    gate = Gate(monkeypatch, place=2, is_done=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await session.adelete()
    gate.open()
    await all_done()
    assert not await store().aexists(session.session_key)


async def test_a_cut_off_statement_keeps_no_other_thread_work_from_its_caller(store, monkeypatch):
    session = await begun(store)
    gate = Gate(monkeypatch, place=1, is_done=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await session.adelete()
    gate.open()
    assert await session.aget("a") == 1
    await all_done()
    assert not await store().aexists(session.session_key)


async def test_many_cancelled_requests_have_few_threads_and_database_connections_between_them():
    most, now, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    async def step() -> None:
        await lasting.run_blocking(work)

    rest = [asyncio.create_task(lasting.by_itself(lasting.Outlasting(step()))) for _ in range(40)]
    await asyncio.gather(*rest)
    assert most <= lasting.MOST_OWN_THREADS
    await until(lambda: now == 0, what="all done")
