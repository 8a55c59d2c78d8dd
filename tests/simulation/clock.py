"""Simulated time, which every process and server goes by."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.utils import timezone

#: When simulations begin, in seconds since the epoch: a round number in the near future.
EPOCH_SECONDS = 2_000_000_000


class Clock:
    """The time; a process may be some seconds ahead of it."""

    def __init__(self) -> None:
        """Begin."""
        self.seconds = 0.0
        self.ahead_seconds = 0.0

    @property
    def microseconds(self) -> int:
        """Since the epoch, by the servers' clocks."""
        return round((EPOCH_SECONDS + self.seconds) * 1_000_000)

    def time(self) -> float:
        """Stand in for time.time()."""
        return EPOCH_SECONDS + self.seconds + self.ahead_seconds

    def now(self) -> datetime:
        """Stand in for timezone.now()."""
        return datetime.fromtimestamp(self.time(), UTC)

    def time_ns(self) -> int:
        """Stand in for time.time_ns()."""
        return round(self.time() * 1_000_000) * 1000

    def monotonic(self) -> float:
        """Stand in for time.monotonic()."""
        return 10_000 + self.seconds


@contextmanager
def in_force(clock: Clock) -> Iterator[None]:
    """Have Python go by a clock, and by random numbers that are the same each time."""
    drawn = random.Random(0)
    replacements = [
        (time, "time", clock.time),
        (time, "time_ns", clock.time_ns),
        (time, "monotonic", clock.monotonic),
        (timezone, "now", clock.now),
        (random, "_urandom", drawn.randbytes),
        (os, "urandom", drawn.randbytes),
    ]
    originals = [(place, name, getattr(place, name)) for place, name, _ in replacements]
    try:
        for place, name, replacement in replacements:
            setattr(place, name, replacement)
        yield
    finally:
        for place, name, original in originals:
            setattr(place, name, original)
