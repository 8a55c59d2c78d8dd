"""Random schedules: priorities with few change points, and few faults, by themes.

S. Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
ASPLOS 2010: a bug of depth d is found by d - 1 changes at the right places.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import NamedTuple

from .running import Given
from .schedule import FATES, At, Fault, Op, Schedule, Switch
from .world import World

#: About how many exchanges an operation takes.
_EXCHANGES = 5
_SLOW_MILLISECONDS = (200, 600, 2500)
_JUMPS = (1, 3, 40, 4000, 90_000)
#: Longer than a session lives, and than every tombstone.
_LONG_JUMPS = (100_000, 700_000, 1_210_000, 1_300_000, 2_700_000)


class Theme(NamedTuple):
    """What kind of trouble there is: how many faults, of which kinds."""

    most: int
    kinds: tuple[str, ...]
    ops: tuple[str, ...] = ()
    has_transactions: bool = False
    has_previous: bool = False
    jumps: tuple[int, ...] = _JUMPS


_USUAL = (
    *("load", "load", "save", "save", "save", "remove", "replace", "touch", "create"),
    *("rotate", "login", "login", "logout", "end", "end both", "end for user", "end others"),
)
_STAFF = ("synchronize", "prune", "purge", "rekey")
_EXCHANGE_FAULTS = (*FATES, "release", "jump")
THEMES = {
    "calm": Theme(0, ()),
    "exchanges": Theme(2, _EXCHANGE_FAULTS),
    "cache": Theme(
        3, ("cache away", "cache away", "cache back", "jump", "refused", "evict"), _STAFF
    ),
    "database": Theme(
        3,
        ("database away", "database away", "database back", "refused", "lost", "slow", "jump"),
        _STAFF,
    ),
    "history": Theme(
        4, ("snapshot", "snapshot", "restore", "promote", "empty", "evict", "jump"), _STAFF
    ),
    "split": Theme(2, ("split", "split", "join", "jump"), ("end", "logout")),
    "moves": Theme(4, ("move", "move", "move", "split", "join", "jump"), ("synchronize", "prune")),
    "clocks": Theme(3, ("ahead", "ahead", *_EXCHANGE_FAULTS), _STAFF),
    "transactions": Theme(1, (*FATES, "jump", "evict"), has_transactions=True),
    "migration": Theme(2, (*_EXCHANGE_FAULTS, "evict"), _STAFF, has_previous=True),
    "ages": Theme(
        4,
        (
            *("jump", "jump", "jump", "held", "held", "release", "lost", "refused", "killed"),
            *("cache away", "database away", "snapshot", "restore"),
        ),
        _STAFF,
        jumps=_LONG_JUMPS,
    ),
    "everything": Theme(
        4,
        (*_EXCHANGE_FAULTS, "cache away", "cache back", "database away", "database back", "evict"),
        _STAFF,
        has_transactions=True,
    ),
}
_OF_CACHE_ENGINE = ("calm", "exchanges", "cache", "clocks", "migration", "ages")


class Drawn:
    """Decides at random, few times, and remembers what it decided as a schedule does."""

    def __init__(self, rng: random.Random, schedule: Schedule, theme: Theme) -> None:
        """Take what is to be done; the places of all decisions are drawn beforehand."""
        self._rng = rng
        self._seen = 0
        length = _EXCHANGES * sum(map(len, schedule.actors))
        self._switch_at = {rng.randrange(length) for _ in range(rng.randint(0, 4))}
        faults = rng.randint(1, theme.most) if theme.most else 0
        places = sorted(rng.randrange(length) for _ in range(faults))
        kinds = _in_order([rng.choice(theme.kinds) for _ in range(faults)])
        self._fault_at = dict(zip(places, kinds, strict=True))
        self._jumps = theme.jumps
        self._processes = max(schedule.processes) + 1
        self._pending = ""
        self.switches: list[Switch] = []
        self.faults: list[Fault] = []

    def events(self, world: World, at: At) -> list[Fault]:
        """See Chooser."""
        self._seen += 1
        kind = self._fault_at.get(self._seen, "")
        if not kind:
            return []
        if kind in FATES:
            self._pending = kind
            return []
        return [self._noted(Fault(at, kind, self._value(kind)))]

    def switch(self, world: World, at: At, others: list[int]) -> int | None:
        """See Chooser."""
        if self._seen not in self._switch_at or not others:
            return None
        target = self._rng.choice(others)
        self.switches.append(Switch(at, target))
        return target

    def fate(self, world: World, at: At, kind: str) -> Fault | None:
        """See Chooser."""
        name, self._pending = self._pending, ""
        if not name:
            return None
        values = {"held": (0, 1), "slow": _SLOW_MILLISECONDS}.get(name, (-1,))
        return self._noted(Fault(at, name, self._rng.choice(values)))

    def _noted(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def _value(self, kind: str) -> int:
        if kind == "jump":
            return self._rng.choice(self._jumps)
        if kind in ("split", "move", "evict", "ahead"):
            return self._rng.randrange(2 if kind == "evict" else self._processes)
        if kind.endswith(("away", "back")):
            return self._rng.randrange(-1, self._processes)
        return -1


def _in_order(kinds: list[str]) -> list[str]:
    """Put what comes first at the beginning: nothing is restored before there is a snapshot."""
    first = ("ahead", "snapshot", "split", "cache away", "database away")
    return sorted(kinds, key=lambda kind: kind not in first)


def draw(
    rng: random.Random, *, engine: str, writes: str, database: str, theme: str = ""
) -> tuple[Schedule, Drawn]:
    """Draw who does what, and who will decide when."""
    names = _OF_CACHE_ENGINE if engine == "cache" else tuple(THEMES)
    chosen = THEMES[theme or rng.choice(names)]
    count = rng.choice((2, 2, 3))
    kinds = (*_USUAL, *chosen.ops)
    if engine == "cache":
        kinds = tuple(kind for kind in kinds if kind != "synchronize")
    actors = tuple(_ops(rng, kinds, chosen) for _ in range(count))
    processes = tuple(range(count)) if rng.random() < 0.7 else (0, *range(count - 1))
    schedule = Schedule(
        actors=actors, processes=processes, engine=engine, writes=writes, database=database
    )
    if chosen.has_previous:
        old = (rng.randint(1, max(processes)),) if max(processes) else ()
        schedule = replace(schedule, previous=rng.choice(("db", "cached_db")), old=old)
    return schedule, Drawn(rng, schedule, chosen)


def _ops(rng: random.Random, kinds: tuple[str, ...], theme: Theme) -> tuple[Op, ...]:
    # Two visitors who do the same things; most of all one of them.
    visitor = rng.choice((0, 0, 1))
    has_transaction = theme.has_transactions and rng.random() < 0.7
    # No command runs in the transaction of a request.
    kinds = _USUAL if has_transaction else kinds
    ops = [
        Op(rng.choice(kinds), visitor if rng.random() < 0.8 else rng.randrange(2), _field(rng))
        for _ in range(rng.randint(1, 3))
    ]
    if has_transaction:
        begin = rng.randrange(len(ops))
        last = rng.randint(begin + 1, len(ops))
        ops.insert(last, Op(rng.choice(("commit", "rollback"))))
        ops.insert(begin, Op("begin"))
    return tuple(ops)


def _field(rng: random.Random) -> str:
    return rng.choice("aab")


def recorded(schedule: Schedule, drawn: Drawn) -> Schedule:
    """Return the schedule with what was decided."""
    return replace(schedule, switches=tuple(drawn.switches), faults=tuple(drawn.faults))


__all__ = ["THEMES", "Drawn", "Given", "draw", "recorded"]
