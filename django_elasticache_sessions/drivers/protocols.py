"""The little of redis-py's connections and pools that the drivers use.

redis-py connects, secures and authenticates; the drivers then move the bytes themselves, because
its command calls cost several times as much as the exchange. The socket and the streams have no
public accessor there.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol


class Timed(Protocol):
    """A connection of redis-py, sync or async, as far as its opening takes time."""

    socket_timeout: float | None
    socket_connect_timeout: float | None
    retry: Any
    #: See opening.within().
    connect_end: float


class ServerConnection(Timed, Protocol):
    """A connection of redis-py, used by one thread at a time."""

    _sock: socket.socket | None

    def connect(self) -> None:
        """Connect and authenticate, unless connected."""

    def disconnect(self) -> None:
        """Close the connection; replies still to come are lost with it."""


class ServerPool(Protocol):
    """A connection pool of redis-py."""

    def get_connection(self) -> ServerConnection:
        """Check a connected connection out."""

    def release(self, connection: ServerConnection) -> None:
        """Give it back."""

    def disconnect(self) -> None:
        """Close every connection."""


class AsyncServerConnection(Timed, Protocol):
    """An asyncio connection of redis-py."""

    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None

    async def connect(self) -> None:
        """See ServerConnection."""

    async def disconnect(self, nowait: bool = False) -> None:
        """See ServerConnection; `nowait` does not wait until it is closed."""


class AsyncServerPool(Protocol):
    """An asyncio connection pool of redis-py, of which only the way to connect is used."""

    connection_kwargs: dict[str, Any]

    def make_connection(self) -> AsyncServerConnection:
        """Return a new connection, not connected yet."""
