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
#: So many sessions are looked at, or as many as hold so much: some databases send the values too.
MOST_SEEN = 1000
MOST_SEEN_BYTES = 50_000_000
_AT_ONCE = 50


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
    """What was found among `seen` sessions: the largest, and the fields that take the most."""

    seen: int
    largest: Sequence[LiveSession]
    fields: Sequence[FieldSizes]


def look() -> Sizes:
    """Look at the sessions that expire last, a few at a time. Raises `SessionStoreUnavailable`."""
    seen: list[LiveSession] = []
    page = live.page(limit=_AT_ONCE)
    seen += page.sessions
    while page.older and len(seen) < MOST_SEEN and _bytes(seen) < MOST_SEEN_BYTES:
        page = live.page(page.older, limit=_AT_ONCE)
        seen += page.sessions
    return examine(seen)


def examine(sessions: Sequence[LiveSession]) -> Sizes:
    """Rank sessions and their fields by what they take in the store."""
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
    return Sizes(seen=len(sessions), largest=largest[:MOST_SESSIONS], fields=fields[:MOST_FIELDS])


def _bytes(sessions: Sequence[LiveSession]) -> int:
    return sum(session.size_bytes for session in sessions)
