"""Making a schedule shorter that still violates the same promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .schedule import At, Schedule

#: Simulations that one shrinking may take.
_MOST_RUNS = 200


def shrink(schedule: Schedule, is_bad: Callable[[Schedule], bool]) -> Schedule:
    """Return a shorter schedule that is as bad; decisions and operations are left out in turn."""
    runs = 0
    is_shorter = True
    while is_shorter:
        is_shorter = False
        for candidate in _candidates(schedule):
            runs += 1
            if runs > _MOST_RUNS:
                return schedule
            if is_bad(candidate):
                schedule, is_shorter = candidate, True
                break
    return schedule


def _candidates(schedule: Schedule) -> Iterator[Schedule]:
    yield from _with_fewer_actors(schedule)
    yield from _with_fewer_ops(schedule)
    for name in ("faults", "switches"):
        parts = getattr(schedule, name)
        for index in range(len(parts)):
            yield replace(schedule, **{name: parts[:index] + parts[index + 1 :]})
    yield from _simpler(schedule)


def _with_fewer_actors(schedule: Schedule) -> Iterator[Schedule]:
    last = len(schedule.actors) - 1
    for index in range(last + 1):
        if last and schedule.actors[index]:
            actors = (*schedule.actors[:index], (), *schedule.actors[index + 1 :])
            yield _trimmed(replace(schedule, actors=actors))


def _trimmed(schedule: Schedule) -> Schedule:
    """Leave out actors at the end that do nothing, and decisions that are never met."""
    actors = schedule.actors
    while actors and not actors[-1]:
        actors = actors[:-1]
    kept = len(actors)

    def is_met(at: At) -> bool:
        return at[0] < kept and at[1] < len(actors[at[0]])

    return replace(
        schedule,
        actors=actors,
        processes=schedule.processes[:kept],
        switches=tuple(s for s in schedule.switches if is_met(s.at) and s.to < kept),
        faults=tuple(fault for fault in schedule.faults if is_met(fault.at)),
    )


def _with_fewer_ops(schedule: Schedule) -> Iterator[Schedule]:
    for actor, ops in enumerate(schedule.actors):
        for number in range(len(ops)):
            yield _without_op(schedule, actor, number)
        for number, op in enumerate(ops):
            if op.kind == "begin":
                closing = next(
                    (n for n in range(number, len(ops)) if ops[n].kind in ("commit", "rollback")),
                    None,
                )
                if closing is not None:
                    yield _without_op(_without_op(schedule, actor, closing), actor, number)


def _without_op(schedule: Schedule, actor: int, number: int) -> Schedule:
    ops = schedule.actors[actor]
    actors = list(schedule.actors)
    actors[actor] = ops[:number] + ops[number + 1 :]

    def moved(at: At) -> At | None:
        if at[0] != actor or at[1] < number:
            return at
        return None if at[1] == number else (actor, at[1] - 1, at[2])

    switches = [s._replace(at=at) for s in schedule.switches if (at := moved(s.at))]
    faults = [f._replace(at=at) for f in schedule.faults if (at := moved(f.at))]
    return _trimmed(
        replace(schedule, actors=tuple(actors), switches=tuple(switches), faults=tuple(faults))
    )


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    if schedule.processes and schedule.processes != tuple(range(len(schedule.actors))):
        yield replace(schedule, processes=tuple(range(len(schedule.actors))))
    for actor, ops in enumerate(schedule.actors):
        for number, op in enumerate(ops):
            for other in ("load", "save"):
                if op.kind not in ("load", "save", "begin", "commit", "rollback"):
                    actors = list(schedule.actors)
                    actors[actor] = (*ops[:number], op._replace(kind=other), *ops[number + 1 :])
                    yield replace(schedule, actors=tuple(actors))
