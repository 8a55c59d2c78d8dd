"""Live sessions by ranges of time: how soon they expire, and how long ago they were created.

The indexes in the session cache know no times of creation: those are read of a random sample.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .exceptions import ForeignType, InvalidValue
from .keys import Naming, SessionName
from .listing import Counts, draw
from .operations import METADATA_FIELD, Operation, StoredSession, parse_session

#: Where the ranges end: an hour, a day, a week, two weeks, thirty days. One more has the rest.
RANGES_SECONDS = (3_600, 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400)
#: Of so many sessions a share is told to three points of a hundred, in 95 of 100 samples.
SAMPLE_SIZE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """How many sessions expire, or were created, within so many seconds, beyond the entry before.

    `within_seconds` is `None` in the last entry: it has all that are left.
    """

    within_seconds: int | None
    signed_in: int
    anonymous: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How long ago sessions were created: `sampled` ones, drawn at random, of those that `live`.

    The ranges count the sampled ones: shares of them are estimates, unless they are all.
    """

    sampled: int
    live: int
    ranges: Sequence[Range]

    @property
    def is_exact(self) -> bool:
        """Whether they are of all live sessions."""
        return self.sampled == self.live


def between(every: Counts, within: Sequence[Counts]) -> tuple[Range, ...]:
    """Return how many there are in each range, from how many there are up to each one's end."""
    pairs = zip((Counts(0, 0), *within), (*within, every), strict=True)
    return tuple(
        Range(
            within_seconds=seconds,
            signed_in=upper.signed_in - lower.signed_in,
            anonymous=upper.anonymous - lower.anonymous,
        )
        for seconds, (lower, upper) in zip((*RANGES_SECONDS, None), pairs, strict=True)
    )


def sample_ages(naming: Naming, counts: Sequence[Counts], now: int) -> Operation[Ages | None]:
    """Read when sessions were created: of a random thousand, or of all where there are fewer.

    Takes how many live in each bucket, and the server's clock in seconds. Two round trips, however
    many there are. `None` where sessions live but none of them could be read.
    """
    live = sum(map(sum, counts))
    found: list[StoredSession] = []
    if live:
        found = yield from _read(naming, (yield from draw(naming, counts, SAMPLE_SIZE)))
        if not found:
            return None
    numbers = [[0, 0] for _ in (*RANGES_SECONDS, None)]
    for stored in found:
        age_seconds = now - stored.created / 1_000_000
        numbers[bisect_right(RANGES_SECONDS, age_seconds)][not stored.user_tag] += 1
    ranges = (
        Range(within_seconds=seconds, signed_in=signed_in, anonymous=anonymous)
        for seconds, (signed_in, anonymous) in zip((*RANGES_SECONDS, None), numbers, strict=True)
    )
    return Ages(sampled=len(found), live=live, ranges=tuple(ranges))


def _read(naming: Naming, names: Sequence[SessionName]) -> Operation[list[StoredSession]]:
    if not names:
        return []
    replies = yield tuple(("HGET", name.hash_key, METADATA_FIELD) for name in names)
    found = (_parse(name, reply) for name, reply in zip(names, replies, strict=True))
    return [stored for stored in found if stored]


def _parse(name: SessionName, reply: Any) -> StoredSession | None:
    if reply is None or isinstance(reply, ForeignType):
        return None
    try:
        return parse_session(name, (METADATA_FIELD.encode(), reply), ttl=1)
    except InvalidValue:
        return None
