"""A connection of an event loop, with what is on its way over it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ..exceptions import ReplyTooLarge
from ..operations import Command
from .authentication import end_of, now
from .idling import IDLE_SECONDS, first_reply_seconds
from .origin import Origin
from .protocols import AsyncServerConnection
from .replies import WIRE_ERRORS
from .shapes import check
from .wire import INCOMPLETE, limit_of, make_reader, pack


class Bystander(ConnectionResetError):
    """The connection was given up for a reply that somebody else waited for."""


class _Exchange:
    """Requests on their way, and what came back so far."""

    __slots__ = ("answer", "commands", "deadline", "limit", "replies", "wanted")

    def __init__(
        self, answer: asyncio.Future[list[Any]], commands: Sequence[Command], limit: int
    ) -> None:
        self.answer = answer
        self.commands = commands
        self.wanted = len(commands)
        self.limit = limit_of(self.wanted, limit)
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
        #: How long an exchange may take.
        self.seconds = connection.socket_timeout
        self._loop = asyncio.get_running_loop()
        self._reader = make_reader()
        self._queue: deque[_Exchange] = deque()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False
        self._is_retired = False
        self._is_doubted = False
        self._is_left = is_left
        self._used = now()
        self._end = end_of(connection)
        self.closed = self._loop.create_future()
        self._transport = writer.transport
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it may be used for a new exchange."""
        is_over = self._is_retired or self._is_doubted or self._end <= now() or self._is_left()
        return not (is_over or self._transport.is_closing())

    @property
    def first_reply_seconds(self) -> float | None:
        """How long it may take until something comes; `None` for as long as the exchange."""
        idle = now() - self._used
        if idle <= IDLE_SECONDS or self.seconds is None:
            return None
        return first_reply_seconds(idle, self.seconds)

    def exchange(self, commands: Sequence[Command], limit: int) -> asyncio.Future[list[Any]]:
        """Send commands; the future has their replies, of `limit` bytes each on average at most.

        It may be cancelled: the replies are then read and dropped when they come.
        """
        waiting = _Exchange(self._loop.create_future(), commands, limit)
        if self._transport.is_closing():
            raise ConnectionResetError("the connection has closed")
        self._queue.append(waiting)
        self._transport.write(pack(commands))
        if self.seconds is not None:
            waiting.deadline = self._loop.time() + self.seconds
            if self._timer is None:
                self._timer = self._loop.call_later(self.seconds, self._watch)
        return waiting.answer

    def retire(self) -> None:
        """Take no more exchanges; close once those on their way are done."""
        self._is_retired = True
        if not self._queue:
            self._transport.abort()

    def doubt(self) -> None:
        """Take no more exchanges until something has come."""
        self._is_doubted = True

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
        self._used = now()
        self._is_doubted = False
        self._bytes += len(data)
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not INCOMPLETE:
                self._deliver(reply)
            if self._queue and self._bytes > self._queue[0].limit:
                raise ReplyTooLarge
        except (*WIRE_ERRORS, ReplyTooLarge) as error:
            self._abort(error, Bystander("a reply before this one was refused"))
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
        check(waiting.commands, waiting.replies, self._connection)
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
