"""What crosses a connection: packed commands one way, a bounded number of reply bytes the other.

No input or output here; both drivers move the bytes.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

import hiredis

from ..operations import Command
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


def leave_timeouts_to_kernel(sock: socket.socket) -> None:
    """Have the kernel watch a plain socket's timeout: Python would poll before every read.

    What then takes too long raises `BlockingIOError`. Sockets of TLS, and those that gevent or
    eventlet have put in the place of Python's, keep their own: the kernel never waits for them.
    """
    seconds = sock.gettimeout()
    if not _is_pythons_own(sock) or not seconds or sys.platform == "win32":
        return
    microseconds = max(1, int(seconds * 1_000_000))
    interval = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
    sock.settimeout(None)


def _is_pythons_own(sock: socket.socket) -> bool:
    # By now `socket.socket` may be the name of another class.
    return type(sock).__module__ == "socket"
