"""Stores that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMES = 3
AWAY_SECONDS, BACK_SECONDS = 0.3, 0.9


def flap(take: Callable[[], None], give: Callable[[], None]) -> None:
    """Take something away for 0.3 s of every 1.2 s."""
    for _ in range(TIMES):
        take()
        time.sleep(AWAY_SECONDS)
        give()
        time.sleep(BACK_SECONDS)
