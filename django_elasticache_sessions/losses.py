"""Sessions whose hash was evicted or deleted while changes waited in it for the database."""

from __future__ import annotations

import logging
import time
from threading import Lock

from .occurrences import Occurrences

logger = logging.getLogger("django_elasticache_sessions")

#: However many there are, they are told of so often.
TELL_SECONDS = 60.0


class Losses:
    """Those that this process came upon."""

    def __init__(self, occurrences: Occurrences) -> None:
        """Begin with none."""
        self._occurrences = occurrences
        self._lock = Lock()
        self._untold = 0
        self._next_telling = 0.0

    def note(self, number: int) -> None:
        """Count so many more, and tell of them, unless others were told of a moment ago."""
        if number:
            self._occurrences.note("lost_waits", number)
            with self._lock:
                self._untold += number
            self.tell()

    def tell(self) -> None:
        """Log how many there were since the last time, once a minute."""
        if not self._untold:
            return
        with self._lock:
            number, now = self._untold, time.monotonic()
            if not number or now < self._next_telling:
                return
            self._untold, self._next_telling = 0, now + TELL_SECONDS
        logger.error(
            "%d session%s lost changes that waited in the cache for the database: evicted or "
            "deleted there. Set maxmemory-policy to noeviction, or FALLBACK_WRITES to 'through'.",
            number,
            "s" * (number != 1),
        )
