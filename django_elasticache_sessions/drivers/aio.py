"""The driver for asyncio: as the one for threads, but all tasks of a loop share one connection.

The server answers in the order of the requests, so a queue tells whose reply is next; nobody waits
for a connection to be free, and a burst of requests opens one, not one each. A connection belongs
to the event loop that made it and is closed when the loop shuts down.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

from django.contrib.sessions.backends.base import CreateError, UpdateError

from ..breaker import TIMEOUTS, Patience
from ..conf import DEFAULT_TIMEOUT_SECONDS, get_outline
from ..exceptions import (
    InvalidValue,
    SessionStoreError,
    SessionStoreUnavailable,
)
from ..forks import after_fork
from ..health import Health
from ..operations import ORIGIN, AsyncCall, Command, Operation
from . import limits, sync
from .aio_lines import Bystander, Line
from .connecting import TOO_LATE
from .failures import note_failure
from .lasting import Lasting, Outlasting, by_itself, run_blocking
from .leads import make_lead
from .origin import REPLICA, Primary, locate
from .pools import close_sentinels, make_async_pool
from .protocols import AsyncServerConnection, AsyncServerPool
from .replies import WIRE_ERRORS, ErrorReply, deserves_second_attempt, is_replica, settle
from .sentinels import sentinels_of

T = TypeVar("T")
logger = logging.getLogger("django_elasticache_sessions")

#: How often connecting is tried again when its timeout came so many times too late.
_LATE_ATTEMPTS = 2
_LATE = 1.2


class Driver:
    """Runs operations against one server, from any number of one event loop's tasks."""

    #: See sync.Driver.
    follows_name = True

    def __init__(
        self, pool: AsyncServerPool, health: Health, patience: Patience, primary: Primary
    ) -> None:
        """Take a pool that knows how to connect, and what threads know of its server."""
        self.pool = pool
        self.primary = primary
        self._lead = make_lead(pool, primary, follows_name=self.follows_name)
        self._sentinels = sentinels_of(pool, self._lead)
        self.health = health
        self.patience = patience
        self._line: Line | None = None
        #: With those that were replaced, and have replies on their way yet.
        self._lines: set[Line] = set()
        self._opening: asyncio.Task[Line] | None = None
        #: What goes on without the requests that it was for.
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._farewell: AsyncGenerator[None, None] | None = None

    async def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end. Raises what it raises, and `SessionStoreUnavailable`.

        To its end also when the caller is cancelled, who need not wait for that.
        """
        if self._farewell is None:
            self._farewell = self._at_loop_shutdown()
            await anext(self._farewell)
        return await Lasting(self._run(operation), self._go_on)

    async def _run(self, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                try:
                    if isinstance(step, tuple):
                        result = await self._exchange(step)
                    elif isinstance(step, AsyncCall):
                        # In a task of its own: it may use sessions itself.
                        result = await asyncio.create_task(step.arun())
                    else:
                        result = await run_blocking(step.run)
                except (SessionStoreError, InvalidValue, CreateError) as problem:
                    step = operation.throw(problem)
                else:
                    step = operation.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned

    def _go_on(self, work: Outlasting[Any]) -> None:
        task = asyncio.create_task(by_itself(work))
        self._unfinished.add(task)
        task.add_done_callback(lambda _: self._finished(task, work))

    async def _finish(self) -> None:
        """Wait for what is unfinished; see Outlasting for how long."""
        while self._unfinished:
            # One that is cancelled before its first step would have to begin again.
            await asyncio.sleep(0)
            for task in self._unfinished:
                task.cancel()
            await asyncio.wait(self._unfinished)

    def _finished(self, task: asyncio.Task[Any], work: Outlasting[Any]) -> None:
        self._unfinished.discard(task)
        if not work.has_begun:
            # The loop shut down at once.
            self._go_on(work)
        elif not task.cancelled() and (error := task.exception()) and not _is_expected(error):
            # Its text may show a session key.
            logger.error("What a cancelled request had begun failed (%s).", type(error).__name__)

    async def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        began = self.patience.begin()
        if self._sentinels is not None and self._lead.claims_look():
            await asyncio.create_task(self._look())
        try:
            if commands[-1] is ORIGIN:
                send = self._locate
            elif self.follows_name and not self._is_confirmed():
                send = self._confirm
            else:
                send = self._send
            replies = await send(commands, get_outline().load_limit_bytes)
        except SessionStoreUnavailable as problem:
            self.patience.answered()
            self.health.failed(problem)
            raise
        except WIRE_ERRORS as error:
            failure = note_failure(self, error, began)
        else:
            if not self.health.is_up:
                self.patience.answered()
                self.health.answered()
            return replies
        raise failure

    async def _look(self) -> None:
        # In a task of its own, for the time limits in it: see Lasting.
        number = self._lead.number
        self._lead.led_to(await self._sentinels.look(), number)

    async def _send(self, commands: Sequence[Command], limit: int) -> list[Any]:
        line, replies = await self._sent(commands, limit)
        return await self._settled(line, commands, replies, limit)

    async def _sent(self, commands: Sequence[Command], limit: int) -> tuple[Line, list[Any]]:
        line = self._line
        reused = line is not None and line.is_open
        if line is None or not reused:
            line = await self._open()
        try:
            if reused and (seconds := line.first_reply_seconds) is not None:
                return await self._sent_after_idling(line, commands, limit, seconds)
            return line, await line.exchange(commands, limit)
        except WIRE_ERRORS as error:
            is_bystander = isinstance(error, Bystander)
            if not (is_bystander or (reused and deserves_second_attempt(error))):
                raise
            line = await self._open()
            return line, await line.exchange(commands, limit)

    async def _sent_after_idling(
        self, line: Line, commands: Sequence[Command], limit: int, seconds: float
    ) -> tuple[Line, list[Any]]:
        """Wait for the first reply for a while only, then for a fresh connection as well."""
        answer = line.exchange(commands, limit)
        answer.add_done_callback(_retrieve)
        end = time.monotonic() + (line.seconds or math.inf)
        await asyncio.wait((answer,), timeout=seconds)
        if answer.done() or line.first_reply_seconds is None:
            return line, await answer
        # Those who come now, and those who wait as this one does, share the fresh one.
        line.doubt()
        fresh = asyncio.create_task(self._sent_anew(commands, limit))
        fresh.add_done_callback(_retrieve)
        waiting: set[asyncio.Future[Any]] = {answer, fresh}
        while waiting and (left := end - time.monotonic()) > 0:
            done, waiting = await asyncio.wait(
                waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            for one in done:
                if not one.cancelled() and one.exception() is None:
                    fresh.cancel()
                    return (line, answer.result()) if one is answer else fresh.result()
        fresh.cancel()
        if fresh.done() and not fresh.cancelled():
            return fresh.result()
        raise TimeoutError

    async def _sent_anew(self, commands: Sequence[Command], limit: int) -> tuple[Line, list[Any]]:
        line = await self._open()
        return line, await line.exchange(commands, limit)

    async def _settled(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        for reply in replies:
            if type(reply) is ErrorReply:
                return await self._settle(line, commands, replies, limit)
        return replies

    def _is_confirmed(self) -> bool:
        return self._line is not None and self._line.origin.is_confirmed

    async def _confirm(self, commands: tuple[Command, ...], limit: int) -> list[Any]:
        is_reused = self._line is not None and self._line.is_open
        line, (*replies, info) = await self._sent((*commands, ORIGIN), limit)
        if line.origin.confirms(info):
            return await self._settled(line, commands, replies, limit)
        line.retire()
        self.primary.leave()
        if not is_reused:
            raise is_replica()
        return await self._confirm(commands, limit)

    async def _locate(self, commands: tuple[Command, ...], limit: int) -> list[Any]:
        line = self._line
        is_news = line is not None and line.is_open and not line.origin.is_known
        replies = await self._located(commands, limit)
        if line is None or not (is_news and self.follows_name and replies[-1] == REPLICA):
            return replies
        line.retire()
        self.primary.leave()
        return await self._located(commands, limit)

    async def _located(self, commands: tuple[Command, ...], limit: int) -> list[Any]:
        opened = await self._open()
        locating = locate(lambda: (self._line or opened).origin, commands)
        try:
            commands = next(locating)
            while True:
                commands = locating.send(await self._send(commands, limit))
        except StopIteration as stop:
            located: list[Any] = stop.value
            return located

    async def _settle(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        mending = settle(commands, replies)
        try:
            again = next(mending)
            while True:
                if again.fresh:
                    line.retire()
                    self.primary.leave()
                    line = await self._open()
                again = mending.send(await line.exchange(again.commands, limit))
        except StopIteration as stop:
            settled: list[Any] = stop.value
            return settled

    async def _open(self, *, is_again: bool = False) -> Line:
        """Return the open connection; where there is none, one task connects for all."""
        if self._line is not None and self._line.is_open:
            return self._line
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            # A task that is cancelled must not take the connection from the others.
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if not opening.cancelled() or is_again:
                raise
        # The loop shuts down, and what is unfinished needs the connection yet.
        return await self._open(is_again=True)

    async def _connect(self) -> Line:
        """Connect; where a limit is met, wait for a while: others may leave."""
        end = time.monotonic() + (
            self.pool.connection_kwargs.get("socket_timeout") or DEFAULT_TIMEOUT_SECONDS
        )
        while True:
            try:
                return await self._connect_once()
            except WIRE_ERRORS as error:
                is_over = time.monotonic() + limits.LOOK_SECONDS > end
                if is_over or limits.reason(error) is None:
                    raise
            await asyncio.sleep(limits.LOOK_SECONDS)

    async def _connect_once(self) -> Line:
        connection = self.pool.make_connection()
        lead = self._lead
        number = lead.number
        try:
            await self._connect_in_time(connection)
            address = lead.address(connection, lambda: _peer(connection))
            number = lead.led_to(address, number)
            return Line(connection, lambda: number != lead.number)
        except BaseException:
            # One that is cut off while it signs in would stay open.
            await connection.disconnect(nowait=True)
            raise

    async def _connect_in_time(self, connection: AsyncServerConnection) -> None:
        """Connect, all of it within the timeouts of connecting and of an exchange."""
        connect_seconds = connection.socket_connect_timeout or math.inf
        seconds = connect_seconds + (connection.socket_timeout or math.inf)
        if self._sentinels is not None:
            seconds += self._sentinels.seconds
        attempts_left = _LATE_ATTEMPTS
        while True:
            began = time.monotonic()
            try:
                async with asyncio.timeout(None if seconds == math.inf else seconds):
                    await connection.connect()
                return
            except TIMEOUTS as error:
                own = connect_seconds if str(error) == TOO_LATE else seconds
                # Later than it could be: not the server, but others kept the loop busy, as they do
                # while a process starts.
                if time.monotonic() - began < _LATE * own or not attempts_left:
                    raise
                attempts_left -= 1

    def _opened(self, opening: asyncio.Task[Line]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            if self._line is not None:
                self._line.retire()
            line = self._line = opening.result()
            self._lines.add(line)
            line.closed.add_done_callback(lambda _: self._lines.discard(line))

    async def _at_loop_shutdown(self) -> AsyncGenerator[None, None]:
        # A loop closes the async generators it knows when it shuts down: asyncio offers no other
        # hook.
        try:
            yield
        finally:
            await self._finish()
            for line in tuple(self._lines):
                await line.close()
            await close_sentinels(self.pool)


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, (SessionStoreError, CreateError, UpdateError))


def _retrieve(done: asyncio.Future[Any]) -> None:
    """Have asyncio not complain of an error that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


def _peer(connection: AsyncServerConnection) -> Any:
    writer = connection._writer
    return None if writer is None else writer.get_extra_info("peername")


_drivers: dict[asyncio.AbstractEventLoop, dict[sync.Driver, Driver]] = {}
#: What a parent's loops use, kept in its child: to finalise it is to wake those loops.
_inherited: list[object] = []


def get_driver(alias: str) -> Driver:
    """Return the running loop's driver for a cache alias."""
    twin = sync.get_driver(alias)
    loop = asyncio.get_running_loop()
    if loop not in _drivers:
        _forget_closed_loops()
    drivers = _drivers.setdefault(loop, {})
    driver = drivers.get(twin)
    if driver is None:
        driver = drivers[twin] = _make_driver(twin)
    return driver


def _forget_closed_loops() -> None:
    # A driver holds on to its loop, so a weak reference to the loop would never let go. Under WSGI
    # each request to an async view has a loop of its own.
    for loop in tuple(_drivers):
        if loop.is_closed():
            _drivers.pop(loop, None)


def _make_driver(twin: sync.Driver) -> Driver:
    if type(twin) is sync.Driver:
        return Driver(make_async_pool(twin.pool), twin.health, twin.patience, twin.primary)
    from .cluster import aio as cluster_aio
    from .cluster import sync as cluster_sync

    if isinstance(twin, cluster_sync.ClusterDriver):
        return cluster_aio.ClusterDriver(twin)
    return Driver(make_async_pool(twin.pool), twin.health, twin.patience, twin.primary)


@after_fork
def _begin_anew() -> None:
    inherited = _drivers.copy()
    _inherited.append(inherited)
    _drivers.clear()
    nothing = os.open(os.devnull, os.O_RDWR)
    for drivers in inherited.values():
        for driver in drivers.values():
            for line in driver._lines:
                line.leave_to_parent(nothing)
    os.close(nothing)
