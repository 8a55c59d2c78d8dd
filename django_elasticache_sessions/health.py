"""Whether a store answers: told at the edges, in the log and by signals, not at every request."""

from __future__ import annotations

import asyncio
import logging
from threading import Lock
from time import monotonic as now
from typing import Any, Literal

from django.dispatch import Signal

from .exceptions import SessionStoreUnavailable
from .signals import store_recovered, store_unavailable

logger = logging.getLogger("django_elasticache_sessions")

#: How often a limit that keeps requests from the store is reported.
LIMIT_REPORT_SECONDS = 60.0

Kind = Literal["cache", "database"]


class Health:
    """What this process last saw of one store, or of a part of it."""

    __slots__ = ("_alias", "_kind", "_limited", "_lock", "_name", "_next_limit_report", "is_up")

    def __init__(self, alias: str, kind: Kind = "cache", *, part: str = "") -> None:
        """Take the alias in `CACHES` or `DATABASES`, and what a part is called."""
        self._alias = alias
        self._name = f"{_NAMES[kind]} {alias!r}{part and f' ({part})'}"
        self._kind: Kind = kind
        self._lock = Lock()
        self._limited = 0
        self._next_limit_report = 0.0
        self.is_up = True

    def failed(self, problem: SessionStoreUnavailable) -> None:
        """Take note that the store did not serve."""
        if self._changes(is_up=False):
            logger.error("%s is unavailable. %s", self._name, problem)
            _send(store_unavailable, self._kind, alias=self._alias, problem=problem)

    def answered(self) -> None:
        """Take note that the store served."""
        if self._changes(is_up=True):
            logger.warning("%s is available again.", self._name)
            _send(store_recovered, self._kind, alias=self._alias)

    def limited(self, problem: SessionStoreUnavailable) -> None:
        """Take note that a limit kept a request from the store, which serves others.

        Reported once a minute, with their number since the last report.
        """
        with self._lock:
            self._limited += 1
            if now() < self._next_limit_report:
                return
            self._next_limit_report = now() + LIMIT_REPORT_SECONDS
            count, self._limited = self._limited, 0
        requests = "1 request" if count == 1 else f"{count} requests"
        logger.error("%s: %s got no connection. %s", self._name, requests, problem)

    def _changes(self, *, is_up: bool) -> bool:
        if self.is_up == is_up:
            return False
        with self._lock:
            is_first, self.is_up = self.is_up != is_up, is_up
            return is_first


def _send(signal: Signal, sender: Kind, **arguments: Any) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        signal.send_robust(sender, **arguments)
        return
    # A receiver that takes its time holds up no other task, and may be a coroutine function.
    telling = loop.create_task(signal.asend_robust(sender, **arguments))
    _telling.add(telling)
    telling.add_done_callback(_telling.discard)


_NAMES = {"cache": "Session cache", "database": "Fallback database"}
_telling: set[asyncio.Task[Any]] = set()
