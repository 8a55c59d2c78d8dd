"""Stamps: which of two writes of one field is the newer one.

A stamp is a 48-bit number, the time since the epoch in units of 16 microseconds, but always larger
than every stamp that its writer has seen in the session: a hybrid logical clock (S. Kulkarni et
al., "Logical Physical Clocks", OPODIS 2014). It lasts until the year 2112.
"""

from __future__ import annotations

import time

STAMP_BYTES = 6
_UNIT_NANOSECONDS = 16_000
#: The largest stamp there is.
LAST = (1 << 8 * STAMP_BYTES) - 1


def new_stamp(after: int = 0) -> int:
    """Return the stamp of a write that begins now; it is larger than `after`."""
    now = time.time_ns() // _UNIT_NANOSECONDS
    return min(max(now, after + 1), LAST)


def age_seconds(stamp: int) -> float:
    """Return how long ago a stamp was made, by this machine's clock."""
    return (time.time_ns() - stamp * _UNIT_NANOSECONDS) / 1e9
