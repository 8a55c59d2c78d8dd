"""What crosses a connection: packed commands one way, a bounded number of reply bytes the other.

No input or output here; both drivers move the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from ..exceptions import ReplyTooLarge
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


class Inbox:
    """Collects the replies to the commands sent last over one connection."""

    __slots__ = ("_bytes_left", "_reader", "_replies", "_wanted")

    def __init__(self) -> None:
        """Begin with a connection that nothing was sent over yet."""
        self._reader = make_reader()
        self._replies: list[Any] = []
        self._wanted = 0
        self._bytes_left = 0

    def expect(self, commands: Sequence[Command], limit: int) -> None:
        """Get ready for the replies to commands, of `limit` bytes each on average at most."""
        self._replies = []
        self._wanted = len(commands)
        self._bytes_left = limit_of(len(commands), limit)

    def feed(self, chunk: bytearray | bytes, size: int) -> list[Any] | None:
        """Take the first `size` bytes of what was read; return the replies once all are there.

        Raises `ReplyTooLarge`, and `ConnectionError` when the other side has closed, or says more
        than it was asked: the connection is then of no more use.
        """
        if size == 0:
            raise ConnectionResetError("the server closed the connection")
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise ReplyTooLarge
        self._reader.feed(chunk, 0, size)  # type: ignore[arg-type]
        replies = self._replies
        while (reply := self._reader.gets()) is not INCOMPLETE:
            replies.append(reply)
        if len(replies) > self._wanted or (
            len(replies) == self._wanted and self._reader.has_data()
        ):
            raise ConnectionAbortedError("the server sent a reply that nobody waits for")
        return replies if len(replies) == self._wanted else None
