"""Opening a connection of redis-py within a time: as a whole, not each wait on the way."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import AbstractRetry, Retry

from .protocols import Timed

#: Of an error's bytes that are read.
_MOST_WORDS = 512


class Hurried:
    """A socket whose reads and writes all have to be over at one time, whoever makes them.

    For the signing in that redis-py does: it waits for each piece of a reply anew.
    """

    def __init__(self, sock: socket.socket, end: float) -> None:
        """Take a socket, and until when, by `time.monotonic`, it may be waited for."""
        self.sock = sock
        self._end = end

    def __getattr__(self, name: str) -> Any:
        """Be the socket in all else."""
        return getattr(self.sock, name)

    def recv(self, *arguments: Any) -> bytes:
        """See socket.socket."""
        self._hurry()
        return self.sock.recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        """See socket.socket."""
        self._hurry()
        return self.sock.recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        """See socket.socket."""
        self._hurry()
        try:
            self.sock.sendall(*arguments)
        except ConnectionError:
            # Why a server hung up, it may have said before.
            if said := self._last_words():
                raise RedisConnectionError(said) from None
            raise

    def _last_words(self) -> str:
        with suppress(OSError):
            self.sock.settimeout(0)
            return _error_in(self.sock.recv(_MOST_WORDS))
        return ""

    def release(self) -> socket.socket:
        """Return the socket; from now on it is nobody else's business how long it is waited for."""
        self._end = math.inf
        return self.sock

    def _hurry(self) -> None:
        if self._end == math.inf:
            return
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        seconds = self.sock.gettimeout()
        # A look at what is there already does not wait.
        if seconds is None or seconds > left:
            self.sock.settimeout(left)


@cache
def hurrying(connection_class: type[Any]) -> type[Any]:
    """Return a class of connections whose signing in takes its socket timeout, all together."""

    class Connection(connection_class):  # type: ignore[misc]
        """See hurrying()."""

        #: Until when it has to be connected, besides.
        connect_end = math.inf

        def _connect(self) -> Any:
            sock = super()._connect()
            end = time.monotonic() + (sock.gettimeout() or math.inf)
            return Hurried(sock, min(end, self.connect_end))

    Connection.__name__ = connection_class.__name__
    Connection.__qualname__ = connection_class.__qualname__
    return Connection


@cache
def overhearing(connection_class: type[Any]) -> type[Any]:
    """Return a class of asyncio connections that tell why a server hung up at once.

    asyncio does not read what has arrived on a connection that it cannot write to.
    """

    class Connection(connection_class):  # type: ignore[misc]
        """See overhearing()."""

        async def connect_check_health(self, *args: Any, **options: Any) -> None:
            """See redis.asyncio.connection.Connection."""
            self._ear: socket.socket | None = None
            self._heard: Any = None
            try:
                await super().connect_check_health(*args, **options)
            except RedisConnectionError as error:
                if said := self._last_words():
                    raise RedisConnectionError(said) from error
                raise
            finally:
                if self._ear is not None:
                    self._ear.close()

        async def _connect(self) -> None:
            await super()._connect()
            self._heard = self._reader
            sock = self._writer.get_extra_info("socket")
            with suppress(OSError, AttributeError):
                self._ear = socket.socket(fileno=os.dup(sock.fileno()))

        def _last_words(self) -> str:
            # Up to Python 3.11 asyncio has read it, and tells of the lost connection all the same.
            if said := _error_in(bytes(getattr(self._heard, "_buffer", b""))):
                return said
            if self._ear is None:
                return ""
            with suppress(OSError):
                self._ear.setblocking(False)
                return _error_in(self._ear.recv(_MOST_WORDS))
            return ""

    return Connection


def _error_in(said: bytes) -> str:
    if not said.startswith(b"-"):
        return ""
    return said[1:].split(b"\r\n")[0].decode("utf-8", "replace")


def socket_of(connection: Any) -> socket.socket | None:
    """Return the socket of a connection of redis-py that has been opened."""
    sock: Any = connection._sock
    return sock.release() if isinstance(sock, Hurried) else sock


@contextmanager
def within(connection: Timed, seconds: float) -> Iterator[None]:
    """Have a connection, sync or async, be opened in so many seconds, and once only."""
    names = ("socket_timeout", "socket_connect_timeout", "retry")
    before = {name: getattr(connection, name) for name in names}
    connection.connect_end = time.monotonic() + seconds
    connection.socket_timeout = _least(connection.socket_timeout, seconds)
    connection.socket_connect_timeout = _least(connection.socket_connect_timeout, seconds)
    connection.retry = _once(connection.retry)
    try:
        yield
    finally:
        connection.connect_end = math.inf
        for name, value in before.items():
            setattr(connection, name, value)


def _least(own: float | None, seconds: float) -> float:
    return seconds if own is None else min(own, seconds)


def _once(retry: AbstractRetry[Any]) -> AbstractRetry[Any]:
    kind = AsyncRetry if isinstance(retry, AsyncRetry) else Retry
    return kind(NoBackoff(), 0)
