"""A process whose clock is ahead of the others', or behind them."""

from __future__ import annotations

import datetime
import time

from django.utils import timezone


def shift(seconds: float) -> None:
    """Have `time.time()` and Django's `now()` be so many seconds ahead; before all imports."""
    real_time, real_now = time.time, timezone.now
    ahead = datetime.timedelta(seconds=seconds)
    time.time = lambda: real_time() + seconds
    timezone.now = lambda: real_now() + ahead
