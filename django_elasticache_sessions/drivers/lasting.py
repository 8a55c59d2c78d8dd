"""Work that goes on when the task that waits for it is cancelled.

A visitor who hangs up has his request's task cancelled, at whichever await it has come to. What it
had begun to write would be written in one home of its session and not in the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, Generic, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

T = TypeVar("T")

#: A loop that shuts down waits for unfinished work so long.
FAREWELL_SECONDS = 5.0
#: The threads, each with its database connections, that a loop has for unfinished work.
MOST_OWN_THREADS = 4


class Kept:
    """Stands for a future: who awaits it may be cancelled, the future may not.

    `asyncio.shield()` would do, for a second future and a turn of the loop more at each await.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_future", "_is_cancelled", "_wake")

    def __init__(self, future: Any) -> None:
        """Take a future that a coroutine has just asked its task to wait for."""
        self._future = future
        future._asyncio_future_blocking = False
        self._asyncio_future_blocking = True
        self._is_cancelled = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """See asyncio.Future."""
        loop: asyncio.AbstractEventLoop = self._future.get_loop()
        return loop

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context) -> None:
        """Have a task woken when the future is done."""
        self._wake, self._context = wake, context
        self._future.add_done_callback(wake, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Wake the task by a cancellation, unless it is about to be woken."""
        if self._is_cancelled or self._future.done():
            return False
        self._is_cancelled = True
        self._future.remove_done_callback(self._wake)
        loop = self.get_loop()
        cancelled = loop.create_future()
        cancelled.cancel(msg)
        loop.call_soon(self._wake, cancelled, context=self._context)
        return True


class Lasting(Generic[T]):
    """Awaits a coroutine, and hands it over when who awaits it is cancelled.

    The coroutine itself is never cancelled, so it must not rely on that: a time limit of asyncio's
    needs a task of its own.
    """

    __slots__ = ("_coroutine", "_go_on")

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], go_on: Callable[[Outlasting[T]], object]
    ) -> None:
        """Take a coroutine that has not begun, and what is to finish it in that case."""
        self._coroutine = coroutine
        self._go_on = go_on

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it."""
        coroutine = self._coroutine
        waited = None
        try:
            while True:
                waited = coroutine.send(None)
                try:
                    yield None if waited is None else Kept(waited)
                except asyncio.CancelledError:
                    if not _is_own_cancellation(waited):
                        self._go_on(Outlasting(coroutine, waited))
                        raise
                except Exception:  # noqa: S110 - the coroutine is told by the future itself
                    pass
        except StopIteration as stop:
            result: T = stop.value
            return result


def _is_own_cancellation(waited: Any) -> bool:
    """Tell whether it is the future that was cancelled, and not who waits for it."""
    task = asyncio.current_task()
    return waited is not None and waited.cancelled() and not (task and task.cancelling())


class Outlasting(Generic[T]):
    """Awaits a coroutine; who awaits it is cancelled only when it has taken too long since then."""

    __slots__ = ("_coroutine", "_ends", "_waited", "has_begun")

    def __init__(self, coroutine: Coroutine[Any, Any, T], waited: Any = None) -> None:
        """Take a coroutine, and the future that it is waiting for, if it has begun."""
        #: Not where its task was cancelled before its first step.
        self.has_begun = False
        self._coroutine = coroutine
        self._waited = waited
        self._ends: float | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        """Run it on."""
        self.has_begun = True
        coroutine, waited = self._coroutine, self._waited
        try:
            while True:
                while waited is not None and not waited.done():
                    yield from self._wait(waited)
                waited = coroutine.send(None)
                if waited is None:
                    yield from self._wait(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            coroutine.close()

    def _wait(self, waited: Any) -> Generator[Any, Any, None]:
        try:
            yield None if waited is None else Kept(waited)
        except asyncio.CancelledError:
            if waited is not None and waited.cancelled():
                return
            loop = asyncio.get_running_loop()
            if self._ends is None:
                self._ends = loop.time() + FAREWELL_SECONDS
                task = asyncio.current_task()
                if task is not None:
                    loop.call_later(FAREWELL_SECONDS, task.cancel)
            elif loop.time() >= self._ends:
                raise
        except Exception:  # noqa: S110 - as above
            pass


async def outlast(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine as `Outlasting` does, in a task of its own."""
    work = Outlasting(coroutine)
    while True:
        task = asyncio.ensure_future(_awaited(work))
        try:
            return await task
        except asyncio.CancelledError:
            if work.has_begun or not task.cancelled():
                raise


async def _awaited(work: Outlasting[T]) -> T:
    return await work


class OwnThread:
    """A thread for what is left to be done, with database connections of its own.

    That of the request, or what it holds open, may be gone by then. A loop has few of them at the
    same time, however many requests are cancelled: a database admits only so many connections.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._executor: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in it, once there may be one more."""
        if self._executor is None:
            self._loop = asyncio.get_running_loop()
            self._places = _places_of(self._loop)
            await self._places.acquire()
            self._executor = ThreadPoolExecutor(1)
        return await sync_to_async(function, thread_sensitive=False, executor=self._executor)()

    def close(self) -> None:
        """Have it end when it has done what it was given."""
        if self._executor is not None:
            loop, places = self._loop, self._places

            def make_place(_: object) -> None:
                # Where the loop has ended meanwhile, nobody waits.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(places.release)

            self._executor.submit(connections.close_all).add_done_callback(make_place)
            self._executor.shutdown(wait=False)


def _places_of(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    places = _places.get(loop)
    if places is None:
        for other in [other for other in _places if other.is_closed()]:
            _places.pop(other, None)
        places = _places[loop] = asyncio.Semaphore(MOST_OWN_THREADS)
    return places


_places: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}
#: The thread for blocking steps, in work that goes on by itself.
_own_thread: ContextVar[OwnThread | None] = ContextVar("own_thread", default=None)


async def run_blocking(function: Callable[[], T]) -> T:
    """Call a function in the request's thread for such, or that of work that goes on by itself."""
    thread = _own_thread.get()
    coroutine = thread.run(function) if thread else sync_to_async(function)()
    # A task of its own: asgiref notes in the task's context that it is inside.
    return await outlast(coroutine)


async def by_itself(work: Outlasting[T]) -> T:
    """Await work that nobody waits for any more."""
    thread = OwnThread()
    _own_thread.set(thread)
    try:
        return await work
    finally:
        thread.close()
