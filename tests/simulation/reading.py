"""One reading of a session, as the oracle judges it."""

from __future__ import annotations

from dataclasses import dataclass

from .promises import NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """When something was read, in ticks, by whom, and what is known of how."""

    began: float
    ended: float
    began_seconds: float = 0
    ended_seconds: float = 0
    reader: int = NOBODY
    #: The cache answered nothing.
    is_row_alone: bool = False
    #: The cache was in trouble for somebody less than a moment ago.
    is_unnoticed: bool = False
    #: The database is away for the reader, the cache was for somebody.
    is_crosswise: bool = False
    #: The reader is a process of the release before.
    is_theirs: bool = False
