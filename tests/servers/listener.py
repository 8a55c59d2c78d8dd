"""Carrying connections in a thread of its own, for sync and async tests alike."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

CALL_SECONDS = 10.0


class Listener:
    """Runs an event loop in a thread between start() and stop(), or as a context manager.

    A subclass listens from `_begin` on, and resets all its connections in `_end`.
    """

    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event | None = None

    def __enter__(self) -> Self:
        """See start()."""
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See stop()."""
        self.stop()

    def start(self) -> Self:
        """Listen; return this."""
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        name = type(self).__name__.lower()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name=name, daemon=True
        )
        self._thread.start()
        started.result(CALL_SECONDS)
        return self

    def stop(self) -> None:
        """Reset every connection and stop listening; harmless when it has stopped."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(CALL_SECONDS)
        self._thread = self._loop = self._stopping = None

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Have something done in the loop, and wait for it."""
        if self._loop is None:
            coroutine.close()
            name = type(self).__name__.lower()
            raise RuntimeError(f"The {name} is not running: call start().")
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_SECONDS)

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            await self._begin()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stopping.wait()
        await self._end()

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _end(self) -> None:
        raise NotImplementedError
