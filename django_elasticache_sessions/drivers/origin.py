"""Which primary a connection leads to: its replication id, new with each promotion and restart.

A replica, such as a primary that was demoted, is none: what it holds may be behind.

What another primary held may have come over incomplete, by asynchronous replication or from an old
snapshot.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Generator
from typing import Any

from ..operations import ORIGIN, Command

#: A proxy or load balancer may lead the same connection to another primary.
KNOWN_SECONDS = 0.1
#: Who only reads is told by nobody that the primary was demoted.
CONFIRMED_SECONDS = 1.0
#: Every connection is made anew at most so often.
LEAVE_SECONDS = 0.25
#: A name may have several addresses, one after the other in turn: one of so lately is no news.
ROTATION_SECONDS = 60.0
#: Of a server that does not tell.
UNKNOWN = b"0"
#: No hash is stamped with it.
REPLICA = b"replica"
_REPLICATION_ID = re.compile(rb"master_replid:([0-9a-f]{8})")


def id_of(info: bytes) -> bytes:
    """Return the id in a reply to `INFO replication`."""
    found = _REPLICATION_ID.search(info)
    return found[1] if found else UNKNOWN


class Primary:
    """Whom a name led to when it was asked last, for all connections made by it.

    Those made before it was left are not used again: the name may lead to another by now.
    """

    __slots__ = ("_address", "_met", "_next_leave", "number")

    def __init__(self) -> None:
        """Begin with the first."""
        self.number = 0
        self._next_leave = 0.0
        self._address: Any = None
        self._met: dict[Any, float] = {}

    def leave(self) -> None:
        """Note that it was met as a replica; once a moment, for so long names may lag behind."""
        now = time.monotonic()
        if now >= self._next_leave:
            self._next_leave = now + LEAVE_SECONDS
            self.number += 1

    def led_to(self, address: Any, *, in_turn: bool) -> bool:
        """Note the address that its name led to; leave the one before; tell whether there was one.

        `in_turn`: the name may have several.
        """
        now = time.monotonic()
        is_news = self._address not in (None, address) and now >= self._met.get(address, 0.0)
        self._address = address
        if in_turn:
            self._met[address] = now + ROTATION_SECONDS
        if is_news:
            self._met = {met: until for met, until in self._met.items() if until > now}
            self.number += 1
        return is_news


class Origin:
    """What is known of the server behind one connection."""

    __slots__ = ("_confirmed_until", "_until", "id")

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.id = UNKNOWN
        self._until = 0.0
        self._confirmed_until = 0.0

    @property
    def is_known(self) -> bool:
        """Whether the server was asked a short while ago."""
        return time.monotonic() < self._until

    @property
    def is_confirmed(self) -> bool:
        """Whether the server was no replica a while ago."""
        return time.monotonic() < self._confirmed_until

    def learn(self, info: Any) -> Any:
        """Take a reply to `INFO replication`; return the id in it, or an error as it is."""
        if not isinstance(info, bytes):
            return info
        self.id = id_of(info)
        now = time.monotonic()
        self._until = now + KNOWN_SECONDS
        if b"role:slave" in info:
            self.id = REPLICA
        else:
            self._confirmed_until = now + CONFIRMED_SECONDS
        return self.id

    def confirms(self, info: Any) -> bool:
        """Take a reply to `INFO replication`; tell whether it leaves room for a primary."""
        if not isinstance(info, bytes):
            # It may not be asked. That its writes are refused will have to do.
            self._confirmed_until = math.inf
            return True
        return self.learn(info) != REPLICA  # type: ignore[no-any-return]


def locate(
    current: Callable[[], Origin], commands: tuple[Command, ...]
) -> Generator[tuple[Command, ...], list[Any], list[Any]]:
    """Answer `ORIGIN`, the last of `commands`, from what is known, or have it asked along.

    `current` returns what is known of the connection in use, which a reconnection replaces. Where
    it stands more than once, it is asked once.
    """
    if commands.count(ORIGIN) == 1:
        return (yield from _locate(current, commands))
    others = tuple(command for command in commands if command is not ORIGIN)
    *replies, origin = yield from _locate(current, (*others, ORIGIN))
    following = iter(replies)
    return [origin if command is ORIGIN else next(following) for command in commands]


def _locate(
    current: Callable[[], Origin], commands: tuple[Command, ...]
) -> Generator[tuple[Command, ...], list[Any], list[Any]]:
    origin = current()
    is_known = origin.is_known
    replies = yield commands[:-1] if is_known else commands
    if current() is not origin:
        # Asked after the rest was answered: an id that is too new is of no harm.
        [info] = yield (ORIGIN,)
        return [*replies[: len(commands) - 1], current().learn(info)]
    if is_known:
        return [*replies, origin.id]
    return [*replies[:-1], origin.learn(replies[-1])]
