"""A connection of a thread, with what is on its way over it."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from ..exceptions import ReplyTooLarge
from ..operations import Command
from .authentication import end_of, now
from .idling import IDLE_SECONDS, first_reply_seconds
from .opening import socket_of, within
from .origin import Origin
from .protocols import ServerConnection, ServerPool
from .replies import WIRE_ERRORS
from .shapes import check
from .wire import CHUNK_BYTES, INCOMPLETE, Allowance, limit_of, make_reader, pack

if TYPE_CHECKING:
    from .leads import Lead

#: How long it takes to see what has arrived already.
_GLANCE_SECONDS = 0.001


class Line:
    """A connection and what is on its way over it; used by one thread at a time."""

    __slots__ = (
        "_allowance",
        "_buffer",
        "_connection",
        "_end",
        "_first_reply_seconds",
        "_lead",
        "_number",
        "_reader",
        "_seconds",
        "_sock",
        "_theirs",
        "_until",
        "_used",
        "asked_at",
        "origin",
    )
    _allowance: Allowance
    _seconds: float

    def __init__(self, connection: ServerConnection, lead: Lead, number: int) -> None:
        """Take a connection that nobody else uses, asked for at a number of the lead."""
        self._connection = connection
        self._lead = lead
        self._number = self.asked_at = number
        self._sock: socket.socket | None = None
        #: What redis-py takes for its socket.
        self._theirs: Any = None
        self._end = self._used = self._until = 0.0
        self._first_reply_seconds: float | None = None
        self._reader = make_reader()
        self._buffer = bytearray(CHUNK_BYTES)
        self.origin = Origin()

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as this side knows."""
        return self._sock is not None

    def exchange(
        self, commands: Sequence[Command], limit: int, seconds: float = math.inf
    ) -> list[Any]:
        """Send commands and return their replies, of `limit` bytes each on average at most.

        Connects first where that is needed. All together takes at most the socket timeout, or
        `seconds` with connecting. Raises `ReplyTooLarge`, `WrongReply`, and `ConnectionError` when
        the other side has closed or says more than it was asked.
        """
        try:
            self._begin(commands, seconds)
            if self._first_reply_seconds is not None:
                return self._finish_after_idling(commands, limit)
            return self._receive(commands, limit)
        except BlockingIOError:
            self.hang_up()
            raise TimeoutError from None
        except BaseException:
            # Whatever came in between, no later request may find this request's replies.
            self.hang_up()
            raise

    def send(self, commands: Sequence[Command]) -> None:
        """Do the first half of an exchange; whoever does not do the second has to hang up."""
        try:
            self._begin(commands, math.inf)
        except BaseException as error:
            self.hang_up()
            raise _told(error) from None

    def receive(self, commands: Sequence[Command], limit: int) -> list[Any]:
        """Do the second half: return the replies."""
        try:
            return self._finish(commands, limit)
        except BaseException as error:
            self.hang_up()
            raise _told(error) from None

    def open(self) -> None:
        """Connect where it is not; raises what connecting does."""
        if self._sock is None:
            try:
                self._connect()
            except BaseException:
                self.hang_up()
                raise
            self._used = now()

    def hang_up(self) -> None:
        """Close the connection; the next exchange opens it anew."""
        self._forget_socket()
        self._connection.disconnect()

    def release(self, pool: ServerPool) -> None:
        """Give the connection back to its pool."""
        pool.release(self._connection)

    def _forget_socket(self) -> None:
        if self._sock is not None:
            self._sock = self._theirs = None
            self.origin = Origin()

    def _begin(self, commands: Sequence[Command], seconds: float) -> None:
        began = now()
        idle, self._used = began - self._used, began
        sock = self._sock
        if sock is None or self._theirs is not self._connection._sock:
            sock = self._connect(seconds)
        elif self._end <= began or self._number != self._lead.number:
            self.hang_up()
            sock = self._connect(seconds)
        else:
            limit = min(self._seconds, seconds)
            self._until = began + limit
            if idle > IDLE_SECONDS:
                first = self._first_reply_seconds = first_reply_seconds(idle, limit)
                if first is not None:
                    self._begin_after_idling(sock, commands, began + first)
                    return
            if limit < self._seconds:
                self._allowance.until(self._until)
            elif self._allowance.is_narrow:
                self._allowance.allow(self._seconds)
        data = pack(commands)
        sent = sock.send(data)
        if sent < len(data):
            self._write(sock, data, sent, self._until)

    def _begin_after_idling(
        self, sock: socket.socket, commands: Sequence[Command], end: float
    ) -> None:
        try:
            self._allowance.until(end)
            self._write(sock, pack(commands), 0, end)
            self._allowance.until(end)
        except (BlockingIOError, TimeoutError):
            # Not even that could be sent.
            self._first_reply_seconds = None
            self.hang_up()
            self._begin(commands, self._left())

    def _left(self) -> float:
        """Return the seconds left of the exchange, at least enough to fail in."""
        return max(self._until - now(), _GLANCE_SECONDS)

    def _connect(self, seconds: float = math.inf) -> socket.socket:
        """Connect; the exchange then has what is left of `seconds`, and at most its own time."""
        self._forget_socket()
        self._first_reply_seconds = None
        began = now()
        # The pool may have connected it.
        number = self._lead.number if self._connection._sock is None else self.asked_at
        with within(self._connection, seconds) if seconds < math.inf else nullcontext():
            self._connection.connect()
        sock = socket_of(self._connection)
        if sock is None:
            raise ConnectionResetError("the connection closed at once")
        sock.settimeout(self._connection.socket_timeout)
        address = self._lead.address(self._connection, sock.getpeername)
        self._number = self._lead.led_to(address, number)
        self._allowance = Allowance(sock)
        self._seconds = self._allowance.seconds
        self._sock, self._theirs = sock, self._connection._sock
        self._end = end_of(self._connection)
        self._reader = make_reader()
        connected = now()
        self._until = min(connected + self._seconds, began + seconds)
        if seconds < math.inf:
            self._allowance.until(self._until)
        return sock

    def _write(self, sock: socket.socket, data: bytes, sent: int, end: float) -> None:
        rest = memoryview(data)
        while sent < len(data):
            self._allowance.until(end)
            sent += sock.send(rest[sent:])

    def _finish(self, commands: Sequence[Command], limit: int) -> list[Any]:
        if self._first_reply_seconds is not None:
            return self._finish_after_idling(commands, limit)
        return self._receive(commands, limit)

    def _finish_after_idling(self, commands: Sequence[Command], limit: int) -> list[Any]:
        """Wait for the first reply for a while only, then use a fresh connection for the rest.

        The old one stays open meanwhile: the reply of a slow server may be there by the end.
        """
        self._first_reply_seconds = None
        try:
            return self._receive(commands, limit)
        except (BlockingIOError, TimeoutError):
            end = self._until
            if end <= now():
                raise
        spare = _Spare(self)
        try:
            self._begin(commands, end - now())
            replies = self._receive(commands, limit)
        except WIRE_ERRORS:
            self.hang_up()
            spare.take_back(self)
            self._until = now() + _GLANCE_SECONDS
            self._allowance.until(self._until)
            with suppress(BlockingIOError, TimeoutError, ConnectionError):
                return self._receive(commands, limit)
            raise
        except BaseException:
            spare.close()
            raise
        spare.close()
        return replies

    def _receive(self, commands: Sequence[Command], limit: int) -> list[Any]:
        sock, buffer, reader, wanted = self._sock, self._buffer, self._reader, len(commands)
        if sock is None:
            raise ConnectionResetError("the connection has closed")
        received = 0
        replies: list[Any] = []
        while True:
            size = sock.recv_into(buffer)
            if size == 0:
                raise ConnectionResetError("the server closed the connection")
            received += size
            if received > limit and received > limit_of(wanted, limit):
                raise ReplyTooLarge
            reader.feed(buffer, 0, size)  # type: ignore[arg-type]
            while len(replies) < wanted and (reply := reader.gets()) is not INCOMPLETE:
                replies.append(reply)
            if len(replies) >= wanted:
                break
            # The next piece has what is left of the time for all.
            self._allowance.until(self._until)
        if reader.has_data():
            raise ConnectionAbortedError("the server sent a reply that nobody waits for")
        check(commands, replies, self._connection)
        return replies


class _Spare:
    """The old connection of a line that a fresh one is made for."""

    _NAMES = (
        *("_allowance", "_end", "_number", "_reader", "_seconds", "_sock", "_theirs"),
        "origin",
    )
    __slots__ = ("_values",)

    def __init__(self, line: Line) -> None:
        """Take it away from its line."""
        self._values = {name: getattr(line, name) for name in self._NAMES}
        line._sock = line._theirs = line._connection._sock = None
        line.origin = Origin()

    def take_back(self, line: Line) -> None:
        """Be its line's again."""
        for name, value in self._values.items():
            setattr(line, name, value)
        line._connection._sock = line._theirs

    def close(self) -> None:
        """Close it."""
        self._values["_sock"].close()


def _told(error: BaseException) -> BaseException:
    # What the kernel says of a timeout: see leave_timeouts_to_kernel().
    return TimeoutError() if isinstance(error, BlockingIOError) else error
