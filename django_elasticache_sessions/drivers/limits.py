"""Limits that leave no connection to a store that serves: how they are told, and waited for.

They are no outages: other requests are served over the connections that there are.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError

from ..texts import Text
from .connecting import root_of

T = TypeVar("T")

#: How often it is looked whether a limit that is not ours still holds.
LOOK_SECONDS = 0.05
#: What the server says: https://valkey.io/topics/clients/
_MAX_CLIENTS = "max number of clients reached"
#: What redis.BlockingConnectionPool says.
_NONE_LEFT = "No connection available."
_OWN = Text(
    "every connection is in use; raise max_connections in OPTIONS['CONNECTION_POOL_KWARGS'] of the "
    "alias."
)
_SERVERS = Text(
    "it admits no more clients (max number of clients reached); raise its maxclients, or lower "
    "max_connections in OPTIONS['CONNECTION_POOL_KWARGS'] of the alias."
)
_DESCRIPTORS = Text("this process has no file descriptor left; raise its limit (ulimit -n).")


def reason(error: BaseException) -> Text | None:
    """Return which limit an error is of, and how to raise it; `None` where it is of none."""
    if isinstance(error, MaxConnectionsError) or str(error) == _NONE_LEFT:
        return _OWN
    if _MAX_CLIENTS in str(error):
        return _SERVERS
    root = root_of(error)
    if getattr(root, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return Text(
            "no connection to it (%(error)s): %(reason)s",
            error=type(root).__name__,
            reason=_DESCRIPTORS,
        )
    return None


class Queue:
    """Threads that wait for a connection, the first of them to be served first.

    Costs nothing while nobody waits.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        self.waiting: deque[Event] = deque()

    def wake(self) -> None:
        """Have the first look again: a connection may be free."""
        with suppress(IndexError):
            self.waiting[0].set()

    def wait(self, take: Callable[[], T], seconds: float) -> T:
        """Call `take` until it meets no limit, for so long at most; raise the last one's error."""
        mine = Event()
        end = time.monotonic() + seconds
        self.waiting.append(mine)
        try:
            while True:
                error: Exception | None = None
                if self.waiting[0] is mine:
                    mine.clear()
                    try:
                        return take()
                    except (RedisConnectionError, OSError) as problem:
                        if reason(problem) is None:
                            raise
                        error = problem
                left = end - time.monotonic()
                if left <= 0:
                    raise error or MaxConnectionsError
                # Others may give up descriptors, or clients leave the server, and tell nobody.
                mine.wait(min(left, LOOK_SECONDS) if error else left)
        finally:
            self.waiting.remove(mine)
            self.wake()
