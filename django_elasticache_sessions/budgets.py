"""How long one operation may wait for the fallback database, all its statements together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from sqlite3 import Error as SQLiteError
from typing import Any
from weakref import WeakKeyDictionary, finalize

from django.db.backends.base.base import BaseDatabaseWrapper

from .forks import after_fork
from .watchdog import WATCHDOG, Watch


class Budget:
    """What is left of `ELASTICACHE_SESSIONS["DATABASE_TIMEOUT"]`; `asker` tells sessions apart."""

    __slots__ = ("_seconds", "asker")

    def __init__(self, seconds: float, asker: object) -> None:
        """Begin with so many seconds of waiting."""
        self._seconds = seconds
        self.asker = asker

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self._seconds <= 0

    def begin(
        self, connection: BaseDatabaseWrapper, *, most_seconds: float = inf
    ) -> Callable[[], bool]:
        """Wait for a statement on a connection; what is returned ends that.

        It tells whether the connection was shut. Inside a transaction, which would be lost with it,
        and on a database whose sockets are out of reach, a statement takes as long as it does.
        """
        if connection.in_atomic_block:
            return _endless
        began = time.monotonic()
        connection.ensure_connection()
        left = min(self._seconds, most_seconds) - (time.monotonic() - began)
        end = _bounds(connection, max(0.0, left))

        def ended() -> bool:
            self._seconds -= time.monotonic() - began
            return end()

        return ended


def _bounds(connection: BaseDatabaseWrapper, seconds: float) -> Callable[[], bool]:
    if connection.vendor == "sqlite":
        return _patient(connection.connection, round(seconds * 1000))
    descriptor = _descriptor_of(connection.connection)
    return _endless if descriptor is None else Watch(WATCHDOG, descriptor, seconds).end


def _patient(raw: Any, milliseconds: int) -> Callable[[], bool]:
    """Have SQLite wait so long for a lock, where it would wait for longer."""
    [(usual,)] = raw.execute("PRAGMA busy_timeout")
    if usual <= milliseconds:
        return _endless
    raw.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def end() -> bool:
        # Not where the connection was closed meanwhile.
        with suppress(SQLiteError):
            raw.execute(f"PRAGMA busy_timeout = {usual}")
        return False

    return end


def _descriptor_of(raw: Any) -> int | None:
    """Return a descriptor of a connection's socket that stays open as long as the connection is.

    One of our own: when a driver closes its own, the number may become that of another socket at
    once. psycopg's and mysqlclient's connections tell theirs, PyMySQL's have a socket.
    """
    ask = getattr(raw, "fileno", None) or getattr(getattr(raw, "_sock", None), "fileno", None)
    if ask is None:
        return None
    try:
        its: int = ask()
        known = _descriptors.get(raw)
        if known is not None and known[0] == its:
            return known[1]
        own = os.dup(its)
        closing = finalize(raw, os.close, own)
        closing.atexit = False
        _descriptors[raw] = its, own, closing
    except Exception:
        # Of any driver: it is closed, and its use will tell. Or no descriptor is left.
        return None
    return own


def _endless() -> bool:
    return False


def _leave_to_parent() -> None:
    """Keep no connection of the process open that this one was forked from."""
    for _, _, closing in list(_descriptors.values()):
        closing()
    _descriptors.clear()


#: What a connection calls its socket, what we do, and what closes ours.
_descriptors: WeakKeyDictionary[Any, tuple[int, int, finalize[[int], Any]]] = WeakKeyDictionary()
after_fork(_leave_to_parent)
