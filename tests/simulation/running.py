"""Running a schedule to its end, and asking everybody what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from . import adapter, events
from .ledger import Violation
from .promises import Key, State
from .schedule import EVERYBODY, FATES, At, Fault, Op, Schedule
from .stage import Stage
from .world import Actor, World

_MOST_STEPS = 2000


class Chooser(Protocol):
    """Decides who continues, and what happens."""

    def events(self, world: World, at: At) -> list[Fault]:
        """Return what happens before an exchange."""

    def switch(self, world: World, at: At, others: list[int]) -> int | None:
        """Return who continues in the actor's place, if anybody."""

    def fate(self, world: World, at: At, kind: str) -> Fault | None:
        """Return what becomes of an exchange, if it is not just done."""


class Given:
    """Decides as a schedule says."""

    def __init__(self, schedule: Schedule) -> None:
        """Take the schedule."""
        self._switches = {switch.at: switch.to for switch in schedule.switches}
        self._faults = schedule.faults

    def events(self, world: World, at: At) -> list[Fault]:
        """See Chooser."""
        return [fault for fault in self._faults if fault.at == at and fault.kind not in FATES]

    def switch(self, world: World, at: At, others: list[int]) -> int | None:
        """See Chooser."""
        target = self._switches.get(at)
        return target if target in others else None

    def fate(self, world: World, at: At, kind: str) -> Fault | None:
        """See Chooser."""
        return next((f for f in self._faults if f.at == at and f.kind in FATES), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a simulation."""

    violations: list[Violation]
    log: list[str]
    used: Counter[str]
    #: Each exchange in its order, its kind, and who else could have continued.
    trace: list[tuple[At, str, tuple[int, ...]]]


def run(
    stage: Stage, schedule: Schedule, chooser: Chooser | None = None, without: Collection[str] = ()
) -> Outcome:
    """Run a schedule; what a chooser decides comes in the place of its own decisions."""
    with stage.in_force():
        world = World(stage, schedule, without)
        trace = _go(world, chooser or Given(schedule))
        if not world.ledger.violations:
            _settle(world)
        for actor in world.actors:
            if actor.around is not None or actor.has_lost_connection:
                stage.hang_up(actor.index)
        return Outcome(world.ledger.violations, world.log, world.ledger.used, trace)


def _go(world: World, chooser: Chooser) -> list[tuple[At, str, tuple[int, ...]]]:
    trace: list[tuple[At, str, tuple[int, ...]]] = []
    decided: set[At] = set()
    current = 0
    for _ in range(_MOST_STEPS):
        if world.ledger.violations:
            break
        actor = _next(world, current)
        if actor is None:
            break
        current = actor.index
        at = actor.at
        fate = None
        if at not in decided:
            decided.add(at)
            for event in chooser.events(world, at):
                events.happen(world, event)
            others = [o.index for o in world.actors if not o.is_done and o is not actor]
            target = chooser.switch(world, at, others)
            if target is not None:
                current = target
                continue
            if not world.prime(actor):
                continue
            kind = adapter.kind_of(actor.step)
            fate = chooser.fate(world, actor.at, kind)
            decided.add(actor.at)
            shown = f"{kind} question" if adapter.is_question(actor.step) else kind
            trace.append((actor.at, shown, tuple(others)))
        world.advance(actor, fate)
    else:
        world.ledger.violated("it never ends", "")
    return trace


def _next(world: World, current: int) -> Actor | None:
    """Return who continues: the same as before, or else the first who can."""
    actors = [actor for actor in world.actors if not actor.is_done]
    actors.sort(key=lambda actor: actor.index != current)
    free = [actor for actor in actors if not actor.is_blocked]
    if free:
        chosen = free[0]
    elif actors:
        # Each waits for another's lock: the database refuses one of them, or its view gives up.
        chosen = next((actor for actor in actors if actor.around is not None), actors[0])
    else:
        return None
    if not free:
        _break_deadlock(world, chosen)
    return chosen if not chosen.is_done else _next(world, current)


def _break_deadlock(world: World, actor: Actor) -> None:
    problem = adapter.problem("database", "deadlock")
    world.note_trouble("database")
    world._resume(actor, problem=problem)
    for other in world.actors:
        other.is_blocked = False


def _settle(world: World) -> None:
    """Have everything be whole again, and look at it from every side."""
    for actor in world.actors:
        if actor.transaction is not None:
            world.undo(actor)
    events.release(world)
    events.EVENTS["join"](world, 0)
    world.away.clear()
    world.pass_time(adapter.CALM_SECONDS)
    if world.mover:
        # Another process of its release begins.
        world.restart(world.mover, world.primary)
        world.do(world.mover, Op("load"))
    world.is_settled = True
    _look(world, " afterwards", world.ours)
    if world.stage.engine == "cached_db" and world.stage.writes == "through":
        # Whoever reads a session brings what waits into the database: no command is needed.
        world.ledger.note_synchronized(world.tick)
        world.away.add(("cache", EVERYBODY))
        phase, last = " in the row, before syncsessions", world.ours[-1:]
        _look(world, phase, last, may_be_unavailable=True)
        world.away.clear()
        world.pass_time(adapter.CALM_SECONDS)
    if world.stage.engine == "cached_db":
        _bring_together(world)
        if world.stage.writes == "behind":
            _look(world, " after syncsessions", world.ours[::-1])
    if world.held:
        events.release(world, is_end=True)
        world.pass_time(adapter.CALM_SECONDS)
        _look(world, " after a late delivery", world.ours[:1])
        if world.stage.engine == "cached_db":
            _bring_together(world)
    if world.stage.engine == "cached_db" and not world.ledger.violations:
        world.away.add(("database", EVERYBODY))
        _look(world, " in the cache alone", world.ours[-1:], may_be_unavailable=True)
        world.away.clear()
        world.pass_time(adapter.CALM_SECONDS)
        for server in world.stage.servers:
            server.client.flushall()
        _look(world, " in the row alone", world.ours[:1])
    if world.previous:
        first = world.ours[0]
        first.is_old = True
        _look(world, " back at the engine of before", [first])


def _bring_together(world: World) -> None:
    _do(world, world.ours[0], Op("synchronize"), " in the end")


def _look(
    world: World, phase: str, processes: list[adapter.Process], *, may_be_unavailable: bool = False
) -> None:
    """Read every session under all its keys, each by one of the processes."""
    for number, key in enumerate(list(world.ledger.keys)):
        if key.made.state is not State.UNKNOWN and not world.ledger.violations:
            process = processes[number % len(processes)]
            _do(world, process, Op("load"), phase, key=key, is_calm=not may_be_unavailable)


def _do(
    world: World,
    process: adapter.Process,
    op: Op,
    phase: str,
    *,
    key: Key | None = None,
    is_calm: bool = True,
) -> None:
    world.ledger.phase, world.is_calm = phase, is_calm
    world.do(process, op, key)
