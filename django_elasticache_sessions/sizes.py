"""What makes sessions large: the largest ones, and the fields that take the most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from . import live
from .fields import name_size
from .live import LiveSession

MOST_SESSIONS = 20
MOST_FIELDS = 20
#: So many sessions are looked at, or about as many as hold so much: a database reads their values.
MOST_SEEN = 1000
MOST_SEEN_BYTES = 50_000_000
_FIRST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSizes:
    """What a field takes in those sessions that have it, its name included; in bytes."""

    name: str
    sessions: int
    total_bytes: int
    most_bytes: int

    @property
    def mean_bytes(self) -> int:
        """The mean of those sessions."""
        return self.total_bytes // self.sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What was found among `seen` of the `live` sessions, drawn at random.

    The largest of them, and the fields that take the most.
    """

    seen: int
    live: int
    largest: Sequence[LiveSession]
    fields: Sequence[FieldSizes]

    @property
    def is_of_all(self) -> bool:
        """Whether every live session was looked at."""
        return self.seen >= self.live


def look() -> Sizes:
    """Look at sessions drawn at random, or at all. Raises `SessionStoreUnavailable`."""
    every = sum(live.count())
    seen = live.sample(_FIRST)
    # The first tell how many more may be asked for.
    limit = MOST_SEEN
    if seen:
        limit = min(limit, MOST_SEEN_BYTES * len(seen) // max(1, _bytes(seen)))
    if len(seen) < min(every, limit):
        seen = live.sample(limit)
    return examine(seen, every)


def examine(sessions: Sequence[LiveSession], every: int) -> Sizes:
    """Rank sessions and their fields by what they take in the store; `every` is how many live."""
    by_field: dict[str, list[int]] = defaultdict(list)
    for session in sessions:
        for name, size in session.field_sizes.items():
            by_field[name].append(name_size(name) + size)
    fields = [
        FieldSizes(name=name, sessions=len(found), total_bytes=sum(found), most_bytes=max(found))
        for name, found in by_field.items()
    ]
    fields.sort(key=lambda field: field.total_bytes, reverse=True)
    largest = sorted(sessions, key=lambda session: session.size_bytes, reverse=True)
    return Sizes(
        seen=len(sessions),
        live=every,
        largest=largest[:MOST_SESSIONS],
        fields=fields[:MOST_FIELDS],
    )


def _bytes(sessions: Sequence[LiveSession]) -> int:
    return sum(session.size_bytes for session in sessions)
