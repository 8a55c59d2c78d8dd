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

    __slots__ = ("_seconds", "_whole", "asker")

    def __init__(self, seconds: float, asker: object) -> None:
        """Begin with so many seconds of waiting."""
        self._seconds = self._whole = seconds
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
        # To connect may take most of it: what is then asked has its chance all the same.
        left = max(
            min(self._seconds - (time.monotonic() - began), most_seconds),
            _LEAST_SHARE * self._whole,
        )
        end = _bounds(connection, left)
        django: Any = connection
        if django.health_check_enabled and not django.health_check_done:
            # Django would do so within the statement, and connect anew.
            raw = connection.connection
            connection.close_if_health_check_failed()
            if connection.connection is not raw:
                end()
                connection.ensure_connection()
                end = _bounds(connection, left)

        def ended() -> bool:
            self._seconds -= time.monotonic() - began
            return end()

        return ended


def _bounds(connection: BaseDatabaseWrapper, seconds: float) -> Callable[[], bool]:
    if connection.vendor == "sqlite":
        return _patient(connection.connection, round(seconds * 1000))
    owner = _owner_of(connection.connection)
    descriptor = _descriptor_of(owner)
    if descriptor is not None:
        # Not where no thread can be started.
        with suppress(RuntimeError):
            return Watch(WATCHDOG, descriptor, seconds, owner).end
    return _endless


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


def _owner_of(raw: Any) -> Any:
    """Return what has a connection's socket, and no other one later: PyMySQL may connect anew."""
    return raw if hasattr(raw, "fileno") else getattr(raw, "_sock", None)


def _descriptor_of(owner: Any) -> int | None:
    """Return a descriptor of a socket that stays open as long as its owner is there.

    One of our own: when a driver closes its own, the number may become that of another socket at
    once.
    """
    if owner is None:
        return None
    try:
        its: int = owner.fileno()
        known = _descriptors.get(owner)
        if known is not None and known[0] == its:
            return known[1]
        own = os.dup(its)
        closing = finalize(owner, os.close, own)
        closing.atexit = False
        _descriptors[owner] = its, own, closing
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


#: Of all the time, that is for a statement on a connection that was slow to make.
_LEAST_SHARE = 0.1
#: What a connection calls its socket, what we do, and what closes ours.
_descriptors: WeakKeyDictionary[Any, tuple[int, int, finalize[[int], Any]]] = WeakKeyDictionary()
after_fork(_leave_to_parent)
