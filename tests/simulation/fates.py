"""What becomes of one exchange: done, refused, its reply lost, held up, its process killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from . import adapter
from .transactions import Begin, Commit

if TYPE_CHECKING:
    from .schedule import Fault
    from .world import Actor, World

STEP_SECONDS = 0.002


class Blocked(Exception):
    """Another actor's transaction holds what the statement needs."""


class Killed(Exception):
    """Nobody goes on with the operation; of a cancelled one, the process lives on."""

    def __init__(self, *, is_process: bool) -> None:
        """Tell whether the process was killed."""
        self.is_process = is_process


def answer(world: World, actor: Actor, kind: adapter.Kind, fate: Fault | None) -> Any:
    """Return what an exchange comes to, or raise what its operation is told."""
    world.tick += 1
    world.clock.seconds += STEP_SECONDS
    world._enter(actor)
    if kind == "other":
        return adapter.run(actor.process, actor.step)
    if world.is_away(kind, actor):
        world.note_trouble(kind)
        raise _failed(world, actor, kind, "away")
    if kind == "database" and actor.has_lost_connection:
        text = "the connection was lost in a transaction"
        raise adapter.problem(kind, text, in_transaction=True)
    name = fate.kind if fate else ""
    world.log.append(f"{actor.at} {actor.request.op.kind}: {shown(actor.step)} {name}".rstrip())
    if not fate or name == "slow":
        result = _done(world, actor, kind)
        world.pass_time(fate.value / 1000 if fate else 0)
        return result
    if name in ("killed", "cancelled"):
        raise Killed(is_process=name == "killed")
    if name in ("killed after", "cancelled after"):
        _done_unheard(world, actor, kind)
        raise Killed(is_process=name == "killed after")
    world.note_trouble(kind)
    is_waited_for = _is_in_transaction(actor, kind) or isinstance(actor.step, adapter.Call)
    if name == "lost" or (name == "held" and is_waited_for):
        _done_unheard(world, actor, kind)
    elif name == "held":
        world.held.append((fate.value, actor.process.server, actor.step, world.clock.seconds))
        world.pass_time(adapter.PATIENCE_SECONDS * 1.1)
    raise _failed(world, actor, kind, name)


def shown(step: Any) -> str:
    """Return a short text for a step."""
    if isinstance(step, tuple):
        return "cache " + " ".join(_word(command) for command in step)
    function = getattr(step, "function", None)
    function = getattr(function, "func", function)
    return f"{adapter.kind_of(step)} {getattr(function, '__name__', type(step).__name__)}"


def _word(command: Any) -> str:
    if command[0] != b"EVALSHA":
        return str(command[0])
    script = adapter.BY_SHA.get(bytes(command[1]))
    return script.name if script else "?"


def _is_in_transaction(actor: Actor, kind: adapter.Kind) -> bool:
    is_inside = actor.transaction is not None and not actor.is_committed
    return kind == "database" and (is_inside or isinstance(actor.step, Begin))


def _failed(world: World, actor: Actor, kind: adapter.Kind, text: str) -> Exception:
    """Return what an operation is told; a transaction does not survive its connection."""
    actor.process.is_without_database |= kind == "database"
    in_transaction = _is_in_transaction(actor, kind)
    if in_transaction:
        actor.has_lost_connection = actor.transaction is not None
        actor.around = None
        if actor.transaction is None:
            world.stage.hang_up(actor.index)
        else:
            world.stage.lose_connection(actor.index)
    is_held = text == "held"
    return adapter.problem(kind, text, in_transaction=in_transaction, is_held=is_held)


def _done(world: World, actor: Actor, kind: adapter.Kind) -> Any:
    if kind == "cache":
        assert actor.request is not None
        if actor.process.server is not world.primary:
            # Whatever it tells that one, the cache does not learn of it.
            world.note_trouble(kind)
        result = adapter.run(actor.process, actor.step)
        actor.request.cache_exchanges += adapter.is_read(actor.step)
        return result
    others = [other for other in world.actors if other is not actor and other.around]
    try:
        result = _stated(world, actor)
        actor.process.is_without_database &= kind != "database"
        return result
    except Exception as problem:
        if others and adapter.is_database_problem(problem):
            world.tick -= 1
            raise Blocked from None
        raise


def _stated(world: World, actor: Actor) -> Any:
    """Run a statement; in a transaction of PostgreSQL, so that it may be tried again."""
    if world.stage.vendor != "postgresql" or actor.around is None or isinstance(actor.step, Commit):
        return adapter.run(actor.process, actor.step)
    if not hasattr(actor.step, "function"):
        return adapter.run(actor.process, actor.step)
    point = transaction.savepoint(using=world.alias)
    try:
        return adapter.run(actor.process, actor.step)
    except Exception:
        transaction.savepoint_rollback(point, using=world.alias)
        raise


def _done_unheard(world: World, actor: Actor, kind: adapter.Kind) -> None:
    if isinstance(actor.step, Commit):
        actor.step.run_and_lose_reply()
        return
    assert actor.request is not None
    heard = actor.request.cache_exchanges
    _done(world, actor, kind)
    actor.request.cache_exchanges = heard
