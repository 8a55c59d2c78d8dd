"""All schedules of two operations: every switch and every fault at every exchange.

A schedule is run, and each of its exchanges after the last decision gives as many longer ones as
there is to decide there: no schedule is run twice, none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

from .running import Outcome
from .schedule import At, Fault, Op, Schedule, Switch

_KINDS = (
    *("load", "save", "remove", "touch", "create", "rotate", "login", "logout"),
    *("end", "end both", "end for user", "purge", "synchronize", "prune", "rekey"),
)
_FATES = ("slow", "refused", "lost", "held", "killed", "killed after")
#: Of a question it makes no difference whether it was answered, if nobody hears the answer.
_FATES_OF_QUESTIONS = ("slow", "refused", "killed")


def pairs(engine: str, writes: str, database: str) -> list[Schedule]:
    """Return every two operations on one session, signed in and not."""
    return [
        Schedule(
            actors=((Op(one, visitor),), (Op(other, visitor),)),
            engine=engine,
            writes=writes,
            database=database,
        )
        for visitor, one, other in product((0, 1), _KINDS, _KINDS)
        if engine == "cached_db" or "synchronize" not in (one, other)
    ]


def explore(
    schedule: Schedule, tried: Callable[[Schedule], Outcome], *, preemptions: int, faults: int = 1
) -> Iterator[None]:
    """Try a schedule and everything that it can be made into by so many decisions."""
    #: With the first exchanges that a switch and a fault have not been decided of.
    waiting: list[tuple[Schedule, int, int]] = [(schedule, 0, 0)]
    while waiting:
        now, switchable, breakable = waiting.pop()
        outcome = tried(now)
        yield
        for place, (at, kind, others) in enumerate(outcome.trace):
            if len(now.switches) < preemptions and place >= switchable:
                # Whoever comes in its place has not had its first exchange yet.
                waiting += [(longer, place + 1, place) for longer in _switched(now, at, others)]
            if len(now.faults) < faults and kind != "other" and place >= breakable:
                fates = _FATES_OF_QUESTIONS if kind.endswith("question") else _FATES
                waiting += [(longer, place + 1, place + 1) for longer in _faulty(now, at, fates)]


def _switched(schedule: Schedule, at: At, others: tuple[int, ...]) -> Iterator[Schedule]:
    for other in others:
        yield replace(schedule, switches=(*schedule.switches, Switch(at, other)))


def _faulty(schedule: Schedule, at: At, fates: tuple[str, ...]) -> Iterator[Schedule]:
    for fate in fates:
        yield replace(
            schedule, faults=(*schedule.faults, Fault(at, fate, 600 if fate == "slow" else 0))
        )
