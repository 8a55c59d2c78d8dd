"""Leaving a store alone that does not serve, and finding out cheaply when it serves again."""

from __future__ import annotations

import time
from threading import Lock

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 2.0


class Breaker:
    """Closed while the store serves; else open, and one caller per pause may try it.

    Nygard, "Release It!", 2007; one for each process and store, shared by threads and tasks.
    """

    def __init__(self) -> None:
        """Begin closed."""
        self._lock = Lock()
        self._pause = 0.0
        self._next_attempt = 0.0
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Whether the store did not serve when last asked."""
        return self._pause > 0

    def admits(self) -> bool:
        """Tell whether the store may be asked now; while open, one caller is told so per pause."""
        if not self._pause:
            return True
        with self._lock:
            now = time.monotonic()
            if self._pause and now < self._next_attempt:
                return False
            self._next_attempt = now + self._pause
            self._is_trying = True
            return True

    def failed(self) -> bool:
        """Open, or, when an attempt failed, stay open for longer; tell whether this opened it."""
        with self._lock:
            was_open = self._pause > 0
            if was_open and not self._is_trying:
                # One of many that were on their way when it opened.
                return False
            self._is_trying = False
            self._pause = min(max(self._pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self._next_attempt = time.monotonic() + self._pause
            return not was_open

    def served(self) -> None:
        """Close."""
        if self._pause:
            with self._lock:
                self._pause = 0.0
                self._is_trying = False
