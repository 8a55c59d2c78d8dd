"""What crosses a connection: packed commands one way, a bounded number of reply bytes the other.

No input or output here; both drivers move the bytes.
"""

from __future__ import annotations

import math
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

import hiredis

from ..operations import Command
from .authentication import now
from .replies import ErrorReply

CHUNK_BYTES = 65536
#: The most that the replies to many commands together may have.
MAX_BATCH_BYTES = 64 * 1024 * 1024
#: What a reader returns while a reply is not all there.
INCOMPLETE: Any = object()


def pack(commands: Sequence[Command]) -> bytes:
    """Encode commands for the wire."""
    return b"".join([hiredis.pack_command(words) for words in commands])  # type: ignore[arg-type]


def make_reader() -> hiredis.Reader:
    """Make the parser of what a new connection brings."""
    return hiredis.Reader(replyError=ErrorReply, notEnoughData=INCOMPLETE)


def limit_of(count: int, limit: int) -> int:
    """Return how many bytes the replies to `count` commands may have, `limit` each on average."""
    return max(limit, min(limit * count, MAX_BATCH_BYTES))


def leave_timeouts_to_kernel(sock: socket.socket) -> bool:
    """Have the kernel watch a plain socket's timeout: Python would poll before every read.

    What then takes too long raises `BlockingIOError`. Sockets of TLS, and those that gevent or
    eventlet have put in the place of Python's, keep their own: the kernel never waits for them.
    Tells whether the kernel does.
    """
    seconds = sock.gettimeout()
    if not _is_pythons_own(sock) or not seconds or sys.platform == "win32":
        return False
    _have_kernel_wait(sock, seconds)
    sock.settimeout(None)
    return True


class Allowance:
    """How long the next wait on a socket may take."""

    __slots__ = ("_by_kernel", "_sock", "is_narrow", "seconds")

    def __init__(self, sock: socket.socket) -> None:
        """Take a socket with its own timeout, which is that of a whole exchange."""
        self._sock = sock
        #: Of a whole exchange; `math.inf` for as long as it takes.
        self.seconds = sock.gettimeout() or math.inf
        #: Whether the next wait may take less than that.
        self.is_narrow = False
        self._by_kernel = leave_timeouts_to_kernel(sock)

    def until(self, end: float) -> None:
        """Let it end at a time of `now()`. Raises `TimeoutError` where that has passed."""
        left = end - now()
        if left <= 0:
            raise TimeoutError
        self.allow(left)

    def allow(self, seconds: float) -> None:
        """Let it take so long."""
        self.is_narrow = seconds != self.seconds
        if self._by_kernel:
            _have_kernel_wait(self._sock, seconds)
        else:
            self._sock.settimeout(None if seconds == math.inf else seconds)


def _have_kernel_wait(sock: socket.socket, seconds: float) -> None:
    microseconds = max(1, int(seconds * 1_000_000))
    interval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)


def _is_pythons_own(sock: socket.socket) -> bool:
    # By now `socket.socket` may be the name of another class.
    return type(sock).__module__ == "socket"
