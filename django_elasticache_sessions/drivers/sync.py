"""The driver for threads: runs an operation over connections that redis-py has made.

It keeps the connections it has checked out of its pool, the last used on top, instead of returning
them after each command: a pool's checkout costs as much as the command itself. What the checkout
would find out, that an idle connection is dead, is found out by the command, which is then sent
once more over a fresh connection; every operation may safely run twice.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any, TypeVar, cast

from django.contrib.sessions.backends.base import CreateError
from django.core.signals import setting_changed
from redis.connection import BlockingConnectionPool, ConnectionPool

from .. import homes, transactions
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
from ..operations import ORIGIN, Command, Operation
from .authentication import end_of, now, tell_refusal
from .leads import Lead, SentinelLead, make_lead
from .origin import REPLICA, Origin, Primary, locate
from .pools import is_cluster, make_pool
from .protocols import ServerConnection, ServerPool
from .replies import WIRE_ERRORS, ErrorReply, classify, deserves_second_attempt, is_replica, settle
from .sentinels import Sentinels
from .wire import (
    CHUNK_BYTES,
    INCOMPLETE,
    leave_timeouts_to_kernel,
    limit_of,
    make_reader,
    pack,
)

T = TypeVar("T")


class Line:
    """A connection and what is on its way over it; used by one thread at a time."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_end",
        "_lead",
        "_number",
        "_reader",
        "_sock",
        "asked_at",
        "origin",
    )

    def __init__(self, connection: ServerConnection, lead: Lead, number: int) -> None:
        """Take a connection that nobody else uses, asked for at a number of the lead."""
        self._connection = connection
        self._lead = lead
        self._number = self.asked_at = number
        self._sock: socket.socket | None = None
        self._end = 0.0
        self._reader = make_reader()
        self._buffer = bytearray(CHUNK_BYTES)
        self.origin = Origin()

    def exchange(self, commands: Sequence[Command], limit: int) -> list[Any]:
        """Send commands and return their replies, of `limit` bytes each on average at most.

        Connects first where that is needed. Raises `ReplyTooLarge`, and `ConnectionError` when the
        other side has closed or says more than it was asked.
        """
        try:
            sock = self._ready()
            sock.sendall(pack(commands))
            return self._receive(sock, len(commands), limit_of(len(commands), limit))
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
            self._ready().sendall(pack(commands))
        except BaseException as error:
            self.hang_up()
            raise _told(error) from None

    def receive(self, wanted: int, limit: int) -> list[Any]:
        """Do the second half: return `wanted` replies."""
        try:
            if self._sock is None:
                raise ConnectionResetError("the connection has closed")
            return self._receive(self._sock, wanted, limit_of(wanted, limit))
        except BaseException as error:
            self.hang_up()
            raise _told(error) from None

    def hang_up(self) -> None:
        """Close the connection; the next exchange opens it anew."""
        self._forget_socket()
        self._connection.disconnect()

    def release(self, pool: ServerPool) -> None:
        """Give the connection back to its pool."""
        pool.release(self._connection)

    def _forget_socket(self) -> None:
        if self._sock is not None:
            self._sock = None
            self.origin = Origin()

    def _ready(self) -> socket.socket:
        sock = self._sock
        if sock is None or sock is not self._connection._sock:
            return self._connect()
        if self._end <= now() or self._number != self._lead.number:
            self.hang_up()
            return self._connect()
        return sock

    def _connect(self) -> socket.socket:
        self._forget_socket()
        # The pool may have connected it.
        number = self._lead.number if self._connection._sock is None else self.asked_at
        self._connection.connect()
        sock = self._connection._sock
        if sock is None:
            raise ConnectionResetError("the connection closed at once")
        address = self._lead.address(self._connection, sock.getpeername)
        self._number = self._lead.led_to(address, number)
        leave_timeouts_to_kernel(sock)
        self._sock = sock
        self._end = end_of(self._connection)
        self._reader = make_reader()
        return sock

    def _receive(self, sock: socket.socket, wanted: int, bytes_left: int) -> list[Any]:
        buffer, reader = self._buffer, self._reader
        replies: list[Any] = []
        while len(replies) < wanted:
            size = sock.recv_into(buffer)
            if size == 0:
                raise ConnectionResetError("the server closed the connection")
            bytes_left -= size
            if bytes_left < 0:
                raise ReplyTooLarge
            reader.feed(buffer, 0, size)  # type: ignore[arg-type]
            while len(replies) < wanted and (reply := reader.gets()) is not INCOMPLETE:
                replies.append(reply)
        if reader.has_data():
            raise ConnectionAbortedError("the server sent a reply that nobody waits for")
        return replies


def _told(error: BaseException) -> BaseException:
    # What the kernel says of a timeout: see leave_timeouts_to_kernel().
    return TimeoutError() if isinstance(error, BlockingIOError) else error


class Driver:
    """Runs operations against one server, from any number of threads."""

    #: Whether its name leads to another server after a failover.
    follows_name = True

    def __init__(self, pool: ConnectionPool, health: Health) -> None:
        """Take a pool that nobody else uses."""
        self.pool = pool
        self.health = health
        self.patience = Patience()
        self.primary = Primary()
        self._lead = make_lead(pool, self.primary, follows_name=self.follows_name)
        self._sentinels = Sentinels(pool) if isinstance(self._lead, SentinelLead) else None
        self._connections = cast(ServerPool, pool)
        # A blocking pool counts on connections coming back to it.
        self._keeps = not isinstance(pool, BlockingConnectionPool)
        self._idle: deque[Line] = deque()
        self._lines: dict[ServerConnection, Line] = {}
        self._pid = os.getpid()

    @property
    def is_left_alone(self) -> bool:
        """Whether the server kept callers waiting, and is asked only now and then."""
        return self.patience.is_at_an_end

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end. Raises what it raises, and `SessionStoreUnavailable`."""
        try:
            step = next(operation)
            while True:
                try:
                    result = self._exchange(step) if isinstance(step, tuple) else step.run()
                except (SessionStoreError, InvalidValue, CreateError) as problem:
                    step = operation.throw(problem)
                else:
                    step = operation.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned

    def leave(self) -> None:
        """Have every connection made anew: the server's name may lead to another by now."""
        self.primary.leave()

    def close(self) -> None:
        """Close every idle connection."""
        self._idle.clear()
        self._lines.clear()
        self.pool.disconnect()
        if self._sentinels is not None:
            self._sentinels.close()

    def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        began = self.patience.begin()
        if self._sentinels is not None and self._lead.claims_look():
            number = self._lead.number
            self._lead.led_to(self._sentinels.primary(), number)
        try:
            line, reused = self._checkout()
            try:
                if commands[-1] is ORIGIN:
                    replies = self._locate(line, commands, reused=reused)
                elif self.follows_name and not line.origin.is_confirmed:
                    replies = self._confirm(line, commands, reused=reused)
                else:
                    replies = self._send(line, commands, reused=reused)
            finally:
                self._put_back(line)
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

    def _send(self, line: Line, commands: Sequence[Command], *, reused: bool) -> list[Any]:
        return self._settled(line, commands, self._sent(line, commands, reused=reused))

    def _sent(self, line: Line, commands: Sequence[Command], *, reused: bool) -> list[Any]:
        limit = get_outline().load_limit_bytes
        try:
            return line.exchange(commands, limit)
        except WIRE_ERRORS as error:
            if not (reused and deserves_second_attempt(error)):
                raise
            return line.exchange(commands, limit)

    def _settled(self, line: Line, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        for reply in replies:
            if type(reply) is ErrorReply:
                return self._settle(line, commands, replies, get_outline().load_limit_bytes)
        return replies

    def _settle(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        mending = settle(commands, replies)
        try:
            again = next(mending)
            while True:
                if again.fresh:
                    line.hang_up()
                    self.primary.leave()
                again = mending.send(line.exchange(again.commands, limit))
        except StopIteration as stop:
            settled: list[Any] = stop.value
            return settled

    def _confirm(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        """Have commands answered, but by no replica."""
        *replies, info = self._sent(line, (*commands, ORIGIN), reused=reused)
        if line.origin.confirms(info):
            return self._settled(line, commands, replies)
        # A demoted primary: see settle().
        line.hang_up()
        self.primary.leave()
        if not reused:
            raise is_replica()
        return self._confirm(line, commands, reused=False)

    def _locate(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        is_news = reused and not line.origin.is_known
        replies = self._located(line, commands, reused=reused)
        if not (is_news and self.follows_name and replies[-1] == REPLICA):
            return replies
        # A demoted primary: see settle().
        line.hang_up()
        self.primary.leave()
        return self._located(line, commands, reused=False)

    def _located(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        locating = locate(lambda: line.origin, commands)
        try:
            commands = next(locating)
            while True:
                commands = locating.send(self._send(line, commands, reused=reused))
        except StopIteration as stop:
            located: list[Any] = stop.value
            return located

    def _checkout(self) -> tuple[Line, bool]:
        if self._pid != os.getpid():
            # A fork that Python was not told of, as uWSGI's are by default: see _begin_anew().
            self._idle = deque()
            self._lines = {}
            self._pid = os.getpid()
        try:
            return self._idle.pop(), True
        except IndexError:
            number = self._lead.number
            connection = self._connections.get_connection()
        if self._keeps:
            return Line(connection, self._lead, number), False
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = Line(connection, self._lead, number)
        line.asked_at = number
        return line, True

    def _put_back(self, line: Line) -> None:
        if self._keeps:
            self._idle.append(line)
        else:
            line.release(self._connections)


_drivers: dict[str, Driver] = {}
_lock = Lock()


def get_driver(alias: str) -> Driver:
    """Return the process's driver for a cache alias."""
    driver = _drivers.get(alias)
    if driver is None:
        with _lock:
            driver = _drivers.get(alias)
            if driver is None:
                driver = _drivers[alias] = make_driver(alias)
    return driver


def make_driver(alias: str, health_class: type[Health] = Health) -> Driver:
    """Make a driver for a cache alias, of a server or of a cluster."""
    if is_cluster(alias):
        # It is made of drivers like those here.
        from .cluster.sync import ClusterDriver

        return ClusterDriver(alias, health_class)
    return Driver(make_pool(alias), health_class(alias))


def _run_deferred(operation: Operation[Any]) -> None:
    get_driver(get_outline().alias).run(operation)


def _leave(alias: str) -> None:
    get_driver(alias).leave()


def _forget_drivers(*, setting: str, **kwargs: Any) -> None:
    if setting == "CACHES":
        while _drivers:
            _drivers.popitem()[1].close()


@after_fork
def _begin_anew() -> None:
    global _lock
    _lock = Lock()
    # Not closed: see forks. redis-py would wait for the locks of its pools.
    _drivers.clear()


setting_changed.connect(_forget_drivers, dispatch_uid="django_elasticache_sessions.drivers.sync")
transactions.set_runner(_run_deferred)
homes.set_leaver(_leave)
