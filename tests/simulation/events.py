"""What happens to stores and to time, beside the exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import adapter, calls
from .ledger import CREATED_LATE_SECONDS

if TYPE_CHECKING:
    from .schedule import Fault
    from .world import World


#: After so long a row that has expired may be gone.
DAYS_SECONDS = 100_000
#: So far apart are the clocks of two processes.
AHEAD_SECONDS = 5.0


def happen(world: World, fault: Fault) -> None:
    """Have an event happen."""
    world.log.append(f"{fault.at} -- {fault.kind} {fault.value}")
    EVENTS[fault.kind](world, fault.value)


def _away(kind: str) -> Callable[[World, int], None]:
    def go_away(world: World, process: int) -> None:
        world.away.add((kind, process))
        world.note_trouble(kind)

    return go_away


def _back(kind: str) -> Callable[[World, int], None]:
    def come_back(world: World, process: int) -> None:
        if (kind, process) in world.away:
            world.note_trouble(kind)
            world.away.discard((kind, process))

    return come_back


def _jump(world: World, seconds: int) -> None:
    world.pass_time(max(0, seconds))
    if seconds >= DAYS_SECONDS:
        world.ledger.note_days()


def _empty(world: World, value: int) -> None:
    world.primary.client.flushall()
    world.ledger.note_loss(world.tick)


def _evict(world: World, visitor: int) -> None:
    key = world.cookie_of(max(0, visitor))
    if key:
        world.primary.client.delete(calls.hash_key_of(key.text))
        world.ledger.note_loss(world.tick)


def _snapshot(world: World, value: int) -> None:
    world.snapshot = world.primary.take_snapshot()


def _restore(world: World, value: int) -> None:
    """Have the cache begin with what it had once: restarted, or made from a backup."""
    _become(world, after="0" * 40)


def _promote(world: World, value: int) -> None:
    """Have a replica be promoted that has missed what came since the snapshot."""
    _become(world, after=world.primary.id)


def _become(world: World, *, after: str) -> None:
    if world.snapshot is None:
        return
    world.primary.become(world.snapshot, after=after)
    world.ledger.note_loss(world.tick)
    world.note_trouble("cache")


def _split(world: World, process: int) -> None:
    """Have a replica be promoted while one process still reaches the old primary."""
    old, new = world.primary, world.other(world.primary)
    world.demoted = old
    new.become(old.take_snapshot(), after=old.id)
    world.primary = new
    for number, one in enumerate(world.processes):
        one.reconnect()
        if number != process:
            one.server = new
    world.ledger.note_loss(world.tick)
    world.note_trouble("cache")


def _move(world: World, process: int) -> None:
    """Have a process be restarted with another LOCATION, or with the one before again."""
    one = world.processes[process % len(world.processes)]
    if world.other(one.server) is world.demoted:
        # Nobody moves to a primary of before a failover.
        return
    world.primary = world.other(one.server)
    world.restart(one, world.primary)
    world.mover = one
    world.ledger.note_loss(world.tick)
    world.note_trouble("cache")


def _join(world: World, value: int) -> None:
    """Have everybody reach the new primary."""
    if any(process.server is not world.primary for process in world.processes):
        world.note_trouble("cache")
        world.ledger.note_loss(world.tick)
    for process in world.processes:
        if world.mover and process.server is not world.primary:
            world.restart(process, world.primary)
        process.server = world.primary


def _ahead(world: World, process: int) -> None:
    """Have a process's clock be ahead of all others."""
    world.processes[process % len(world.processes)].ahead_seconds = AHEAD_SECONDS


def release(world: World, *, is_end: bool = False) -> None:
    """Have exchanges be delivered that were held up; the last of all only at the end."""
    left = []
    for held in world.held:
        value, server, step, since = held
        if value == 1 and not is_end:
            left.append(held)
        elif not (adapter.is_creation(step) and world.clock.seconds - since > CREATED_LATE_SECONDS):
            _deliver(world, server, step)
    world.held = left


def _deliver(world: World, server: object, step: object) -> None:
    world.log.append(f"-- delivered late: {step!r:.80}")
    try:
        world.stage.tick_database()
        world.stage.run_late(server, step)  # type: ignore[arg-type]
    except Exception as problem:
        # Nobody hears it; a lock of SQLite may refuse it.
        world.log.append(f"-- refused late: {problem}")


EVENTS: dict[str, Callable[[World, int], None]] = {
    "cache away": _away("cache"),
    "cache back": _back("cache"),
    "database away": _away("database"),
    "database back": _back("database"),
    "jump": _jump,
    "empty": _empty,
    "evict": _evict,
    "snapshot": _snapshot,
    "restore": _restore,
    "promote": _promote,
    "split": _split,
    "move": _move,
    "join": _join,
    "release": lambda world, value: release(world),
    "ahead": _ahead,
}
