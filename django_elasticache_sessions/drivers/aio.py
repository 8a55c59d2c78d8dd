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
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, TypeVar

from django.contrib.sessions.backends.base import CreateError, UpdateError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..breaker import Patience
from ..conf import get_outline
from ..exceptions import (
    InvalidValue,
    ReplyTooLarge,
    SessionStoreError,
    SessionStoreUnavailable,
)
from ..forks import after_fork
from ..health import Health
from ..operations import ORIGIN, AsyncCall, Command, Operation
from . import sync
from .authentication import end_of, now, tell_refusal
from .lasting import Lasting, Outlasting, by_itself, run_blocking
from .leads import SentinelLead, make_lead
from .origin import REPLICA, Origin, Primary, locate
from .pools import close_sentinels, make_async_pool
from .protocols import AsyncServerConnection, AsyncServerPool
from .replies import WIRE_ERRORS, ErrorReply, classify, deserves_second_attempt, is_replica, settle
from .sentinels import AsyncSentinels
from .wire import INCOMPLETE, limit_of, make_reader, pack

T = TypeVar("T")
logger = logging.getLogger("django_elasticache_sessions")

#: How often connecting is tried again when its timeout came so many times too late.
_LATE_ATTEMPTS = 2
_LATE = 1.2


class _Bystander(ConnectionResetError):
    """The connection was given up for a reply that somebody else waited for."""


class _Exchange:
    """Requests on their way, and what came back so far."""

    __slots__ = ("answer", "deadline", "limit", "replies", "wanted")

    def __init__(self, answer: asyncio.Future[list[Any]], wanted: int, limit: int) -> None:
        self.answer = answer
        self.wanted = wanted
        self.limit = limit
        self.replies: list[Any] = []
        self.deadline = 0.0


class Line(asyncio.Protocol):
    """A connection that any number of one loop's tasks use at the same time.

    Takes over the transport of a connection that redis-py has opened.
    """

    def __init__(self, connection: AsyncServerConnection, is_left: Callable[[], bool]) -> None:
        """Take a connected connection that nobody else uses, until it leads to no primary."""
        writer = connection._writer
        if writer is None:
            raise ConnectionResetError("the connection closed at once")
        self.origin = Origin()
        self._connection = connection
        self._seconds = connection.socket_timeout
        self._loop = asyncio.get_running_loop()
        self._reader = make_reader()
        self._queue: deque[_Exchange] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._is_retired = False
        self._is_left = is_left
        self._end = end_of(connection)
        self.closed = self._loop.create_future()
        self._transport = writer.transport
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it may be used for a new exchange."""
        is_over = self._is_retired or self._end <= now() or self._is_left()
        return not (is_over or self._transport.is_closing())

    def exchange(self, commands: Sequence[Command], limit: int) -> asyncio.Future[list[Any]]:
        """Send commands; the future has their replies, of `limit` bytes each on average at most.

        It may be cancelled: the replies are then read and dropped when they come.
        """
        waiting = _Exchange(
            self._loop.create_future(), len(commands), limit_of(len(commands), limit)
        )
        if self._transport.is_closing():
            raise ConnectionResetError("the connection has closed")
        self._queue.append(waiting)
        self._transport.write(pack(commands))
        if self._seconds is not None:
            waiting.deadline = self._loop.time() + self._seconds
            if self._timer is None:
                self._timer = self._loop.call_later(self._seconds, self._watch)
        return waiting.answer

    def retire(self) -> None:
        """Take no more exchanges; close once those on their way are done."""
        self._is_retired = True
        if not self._queue:
            self._transport.abort()

    async def close(self) -> None:
        """Close at once, and wait for it."""
        self._transport.abort()
        await self.closed

    def leave_to_parent(self, nothing: int) -> None:
        """In a forked child: put another file in the place of the parent's socket.

        Else the child would keep the connection open when the parent closes it, and to close the
        transport here would take it off the selector, which parent and child share.
        """
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            os.dup2(nothing, sock.fileno(), inheritable=False)

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait for them."""
        self._bytes += len(data)
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                self._deliver(reply)
            if self._queue and self._bytes > self._queue[0].limit:
                raise ReplyTooLarge
        except (*WIRE_ERRORS, ReplyTooLarge) as error:
            self._abort(error, _Bystander("a reply before this one was refused"))
        if self._is_retired and not self._queue:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait, and the streams that redis-py opened the connection with."""
        error = exc or ConnectionResetError("the server closed the connection")
        self._fail(error, error)
        if self._timer is not None:
            self._timer.cancel()
        self._streams.connection_lost(exc)
        self._connection._reader = self._connection._writer = None
        self.closed.set_result(None)

    def _deliver(self, reply: Any) -> None:
        if not self._queue:
            raise ConnectionAbortedError("the server sent a reply that nobody waits for")
        waiting = self._queue[0]
        waiting.replies.append(reply)
        if len(waiting.replies) < waiting.wanted:
            return
        self._queue.popleft()
        # Bytes that came together with others' replies are counted to nobody: at most one read.
        is_too_large = self._bytes > waiting.limit and not self._reader.has_data()
        self._bytes = 0
        if waiting.answer.done():
            return
        if is_too_large:
            waiting.answer.set_exception(ReplyTooLarge())
        else:
            waiting.answer.set_result(waiting.replies)

    def _watch(self) -> None:
        self._timer = None
        if not self._queue:
            return
        left = self._queue[0].deadline - self._loop.time()
        if left <= 0 and self._is_late:
            self._abort(TimeoutError(), TimeoutError())
            return
        # A loop that others kept busy is late itself: replies that wait to be read are read first.
        self._is_late = left <= 0
        self._timer = self._loop.call_later(max(left, 0), self._watch)

    def _abort(self, error: Exception, error_of_others: Exception) -> None:
        self._fail(error, error_of_others)
        self._transport.abort()

    def _fail(self, error: Exception, error_of_others: Exception) -> None:
        while self._queue:
            answer = self._queue.popleft().answer
            if not answer.done():
                answer.set_exception(error)
            error = error_of_others


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
        self._sentinels = AsyncSentinels(pool) if isinstance(self._lead, SentinelLead) else None
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
            await asyncio.create_task(self._look(self._sentinels))
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
            self.patience.failed(error, began)
            tell_refusal(self.pool.connection_kwargs, error)
            failure = classify(error)
        else:
            if not self.health.is_up:
                self.patience.answered()
                self.health.answered()
            return replies
        self.health.failed(failure)
        raise failure

    async def _look(self, sentinels: AsyncSentinels) -> None:
        # In a task of its own, for the time limits in it: see Lasting.
        number = self._lead.number
        self._lead.led_to(await sentinels.aprimary(), number)

    async def _send(self, commands: Sequence[Command], limit: int) -> list[Any]:
        line, replies = await self._sent(commands, limit)
        return await self._settled(line, commands, replies, limit)

    async def _sent(self, commands: Sequence[Command], limit: int) -> tuple[Line, list[Any]]:
        line = self._line
        reused = line is not None and line.is_open
        if line is None or not reused:
            line = await self._open()
        try:
            return line, await line.exchange(commands, limit)
        except WIRE_ERRORS as error:
            is_bystander = isinstance(error, _Bystander)
            if not (is_bystander or (reused and deserves_second_attempt(error))):
                raise
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
        for _ in range(_LATE_ATTEMPTS):
            began = time.monotonic()
            try:
                await connection.connect()
                return
            except RedisTimeoutError:
                # Later than it could be: not the server, but others kept the loop busy, as they do
                # while a process starts.
                late_seconds = _LATE * (connection.socket_connect_timeout or math.inf)
                if time.monotonic() - began < late_seconds:
                    raise
        await connection.connect()

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
            if self._sentinels is not None:
                await self._sentinels.aclose()


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, (SessionStoreError, CreateError, UpdateError))


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
    from .cluster import aio as cluster_aio
    from .cluster import sync as cluster_sync

    if isinstance(twin, cluster_sync.ClusterDriver):
        return cluster_aio.ClusterDriver(twin)
    return Driver(make_async_pool(twin.pool), twin.health, twin.patience, twin.primary)


@after_fork
def _begin_anew() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for drivers in _drivers.values():
        for driver in drivers.values():
            for line in driver._lines:
                line.leave_to_parent(nothing)
    os.close(nothing)
    _inherited.append(_drivers.copy())
    _drivers.clear()
