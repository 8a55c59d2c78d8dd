"""What was created and ended lately, as the scripts count it: by the minute and by the hour.

Each bucket has a hash of its own, which the scripts that create and end sessions write to on their
way (`scripts/_events.lua`). A session that goes on under a new session key neither begins nor ends,
and one that expires ends unseen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .exceptions import ForeignType
from .keys import Naming
from .operations import Command

MINUTES = 60
HOURS = 24
_MINUTE_SECONDS, _HOUR_SECONDS = 60, 3600
_FIELD = re.compile(rb"([cel])([mh])(\d{1,10})")
_COUNT = re.compile(rb"\d{1,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A minute or an hour: how many sessions were created and ended in it.

    `lost` is how many lost what waited in the cache for the database. `None` where nothing had been
    counted yet, so that nobody can tell.
    """

    start: datetime
    created: int | None
    ended: int | None
    lost: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The last 60 minutes and the last 24 hours, each the oldest first; the last goes on yet."""

    minutes: Sequence[Period]
    hours: Sequence[Period]


def read_commands(naming: Naming) -> tuple[Command, ...]:
    """Return the commands that read what was counted; their replies go to `parse`."""
    return tuple(("HGETALL", naming.events(bucket)) for bucket in range(naming.buckets))


def parse(replies: Iterable[Any], now: int) -> Events:
    """Add up what the buckets have counted, at a time of the server's clock (seconds)."""
    counts: Counter[tuple[bytes, bytes, int]] = Counter()
    for reply in replies:
        if isinstance(reply, ForeignType):
            continue
        for field, count in zip(reply[::2], reply[1::2], strict=True):
            found = _FIELD.fullmatch(field)
            if found and _COUNT.fullmatch(count):
                counts[found[1], found[2], int(found[3])] += int(count)
    since = _since(counts)
    return Events(
        minutes=_periods(counts, b"m", _MINUTE_SECONDS, now, MINUTES, since),
        hours=_periods(counts, b"h", _HOUR_SECONDS, now, HOURS, since),
    )


def total(periods: Iterable[Period], kind: Literal["created", "ended", "lost"]) -> int | None:
    """Return how many of a kind there were in periods; `None` where nobody can tell."""
    counts = [getattr(period, kind) for period in periods]
    known: list[int] = [count for count in counts if count is not None]
    return sum(known) if known else None


def _periods(
    counts: Counter[tuple[bytes, bytes, int]],
    scale: bytes,
    seconds: int,
    now: int,
    most: int,
    since: float,
) -> tuple[Period, ...]:
    last = now // seconds
    return tuple(
        Period(
            start=datetime.fromtimestamp(number * seconds, UTC),
            created=counts[b"c", scale, number] if is_known else None,
            ended=counts[b"e", scale, number] if is_known else None,
            lost=counts[b"l", scale, number] if is_known else None,
        )
        for number in range(last - most + 1, last + 1)
        for is_known in ((number + 1) * seconds > since,)
    )


def _since(counts: Counter[tuple[bytes, bytes, int]]) -> float:
    """Return from when on something was counted; minutes are forgotten before hours are."""
    minute, hour = (
        min((number for _, of, number in counts if of == scale), default=None)
        for scale in (b"m", b"h")
    )
    if hour is None:
        return float("inf")
    if minute is not None and minute * _MINUTE_SECONDS // _HOUR_SECONDS <= hour:
        return minute * _MINUTE_SECONDS
    return hour * _HOUR_SECONDS
