"""What happens in the processes of a site, counted together in the session cache.

A process keeps its counts until its next commands to the cache take them along; that may be after
an outage. `sessionstats --publish`, another process, tells CloudWatch of them, so they are kept
only where `CLOUDWATCH` is set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any, Literal, NamedTuple

from . import scripts
from .conf import get_configuration
from .keys import Naming
from .operations import Command, Operation, run

#: Sessions read from the database, as the cache did not have them or was away; how often a process
#: began to leave a store alone; and sessions that lost what waited in the cache for the database.
Name = Literal["fallback_loads", "breaker_openings", "lost_waits"]
NAMES: tuple[Name, ...] = ("fallback_loads", "breaker_openings", "lost_waits")
_TOLD_MINUTE = "told_minute"
#: What nobody asks for is forgotten so long after it began to be counted.
KEEP_SECONDS = 3600


class Collected(NamedTuple):
    """What the cache has counted; `told_minute` is in minutes since the epoch, 0 for never."""

    counts: Mapping[Name, int]
    told_minute: int


class Occurrences:
    """Those of this process that the cache does not have yet."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._counts: Counter[Name] = Counter()

    def note(self, name: Name, number: int = 1) -> None:
        """Count one, or several."""
        if get_configuration().options.cloudwatch is not None:
            with self._lock:
                self._counts[name] += number

    def take(self) -> Mapping[Name, int]:
        """Return the counts and begin anew."""
        if not self._counts:
            return {}
        with self._lock:
            taken, self._counts = self._counts, Counter()
            return taken

    def put_back(self, taken: Mapping[Name, int]) -> None:
        """Count again what could not be sent."""
        if taken:
            with self._lock:
                self._counts.update(taken)


def commands(naming: Naming, counts: Mapping[Name, int]) -> tuple[Command, ...]:
    """Return the command, if any, that adds counts to those in the cache."""
    if not counts:
        return ()
    words = [word for pair in counts.items() for word in pair]
    return (run(scripts.NOTE, (naming.occurrences,), (KEEP_SECONDS, *words)),)


def collect(naming: Naming) -> Operation[Collected]:
    """Return what the cache has counted, and up to which minute its events were told of."""
    [reply] = yield (("HGETALL", naming.occurrences),)
    found = dict(_pairs(reply)) if isinstance(reply, list) else {}
    return Collected(
        counts={name: max(0, found.get(name.encode(), 0)) for name in NAMES},
        told_minute=found.get(_TOLD_MINUTE.encode(), 0),
    )


def settle(naming: Naming, counts: Mapping[Name, int], told_minute: int | None) -> Operation[None]:
    """Take off what was told of; what was counted meanwhile stays."""
    told = commands(naming, {name: -count for name, count in counts.items() if count})
    if told_minute is not None:
        # Renewed with each telling: once it is gone, none of the minutes still counted was told of.
        told += (
            ("HSET", naming.occurrences, _TOLD_MINUTE, told_minute),
            ("EXPIRE", naming.occurrences, KEEP_SECONDS),
        )
    if told:
        yield told


def _pairs(words: list[Any]) -> Iterable[tuple[bytes, int]]:
    for name, value in zip(words[::2], words[1::2], strict=True):
        if isinstance(value, bytes) and value.isdigit():
            yield name, int(value)
