"""What of a round trip goes to which node, and what is sent once more.

No input or output here: `route` yields what is to be sent to which nodes, all at once, and receives
what they answered; or it yields seconds to wait. Both drivers do so.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, TypeAlias

from ...exceptions import PartUnavailable, SessionStoreUnavailable
from ...operations import CLOCK, INFO, ORIGIN, Command, Dispensable
from ...texts import A_MOMENT_AGO, text_of
from ..replies import ErrorReply, classify, is_code, settled, with_source
from . import problems, walk
from .slots import slot_of
from .state import Cluster
from .topology import CLUSTER_SLOTS, Address, Redirection, Topology

#: By node, what to send; and what came back: replies, errors among them, or why there are none.
Batches: TypeAlias = dict[Address, tuple[Command, ...]]
Answers: TypeAlias = Mapping[Address, list[Any] | Exception]
Routing: TypeAlias = Generator[Batches | float, Any, list[Any]]

#: How often a command is sent before its reply has to do.
_MOST_HOPS = 12
#: While a slot's keys are on their way to another node; together about half a second.
_FIRST_PAUSE_SECONDS, _MOST_PAUSES = 0.01, 6
#: After a cluster that was down was asked for its topology.
_DOWN_PAUSE_SECONDS = 0.05
#: Seeded by nobody: processes forked from one must not wait alike.
_chance = SystemRandom()
_ASKING: Command = ("ASKING",)
_PASSING = ("MOVED", "ASK", "NOSCRIPT", "TRYAGAIN", "CLUSTERDOWN", "READONLY")


@dataclass(slots=True, eq=False)
class Unit:
    """Commands that stay together: one with a key, and those without one that follow it."""

    slot: int | None
    places: list[int]
    commands: list[Command]
    address: Address | None = None
    is_asking: bool = False
    pauses: int = 0
    failure: Exception | None = None
    is_dispensable: bool = False

    def words(self) -> Iterable[Command]:
        """Return what is to be sent, without `ORIGIN`."""
        for command in self.commands:
            if command is ORIGIN:
                continue
            if self.is_asking and slot_of(command) is not None:
                yield _ASKING
            yield command


def route(cluster: Cluster, commands: tuple[Command, ...]) -> Routing:
    """Have commands answered, in their order, each by the primary that owns its key's slot.

    A command without a key goes where the one before it goes, or the one after it. Alone, `INFO`
    and `CLOCK` go to every primary and have a list of replies for a reply, `SCAN` goes over all.
    Raises `PartUnavailable` for what cannot be answered, once all else was;
    `SessionStoreUnavailable` where nobody tells what the cluster looks like.
    """
    if cluster.topology is None:
        yield from refresh(cluster)
    if any(commands[0] is everywhere for everywhere in (INFO, CLOCK)):
        asked = list(commands)
        units = [Unit(None, [place], asked[:], at) for place, at in enumerate(cluster.primaries)]
        return [(yield from _answered(cluster, units, len(units)))]
    if commands[0][0] == "SCAN":
        return (yield from _scan(cluster, commands[0]))
    return (yield from _answered(cluster, _units(commands), len(commands)))


def refresh(cluster: Cluster) -> Generator[Batches, Answers, None]:
    """Ask for the topology. Raises `SessionStoreUnavailable` where none is known and none told."""
    failure: Exception = SessionStoreUnavailable(A_MOMENT_AGO)
    for address in cluster.sources():
        if not cluster.admits(address):
            failure = cluster.problem_of(address)
            continue
        answer = (yield {address: (CLUSTER_SLOTS,)})[address]
        if isinstance(answer, Exception):
            cluster.failed(address, answer)
            failure = cluster.problem_of(address)
            continue
        cluster.served(address)
        if isinstance(answer[0], ErrorReply):
            failure = classify(answer[0])
        elif topology := Topology.parse(answer[0], asked=address):
            cluster.take(topology)
            return
        else:
            failure = SessionStoreUnavailable(problems.NO_TOPOLOGY)
    if cluster.topology is None:
        raise failure


def _scan(cluster: Cluster, command: Command) -> Routing:
    position = walk.Position.parse(command[1], cluster.primaries)
    if position is None:
        return [[b"0", []]]
    scanning = Unit(None, [0], [("SCAN", position.cursor, *command[2:])], position.address)
    [[cursor, keys]] = yield from _answered(cluster, [scanning], 1)
    return [[position.following(cursor, cluster.primaries), keys]]


def _units(commands: Sequence[Command]) -> list[Unit]:
    units: list[Unit] = []
    for place, command in enumerate(commands):
        slot = slot_of(command)
        if isinstance(command, Dispensable):
            units.append(Unit(slot, [place], [command], is_dispensable=True))
        elif _belong_together(units, slot):
            units[-1].places.append(place)
            units[-1].commands.append(command)
            units[-1].slot = slot if units[-1].slot is None else units[-1].slot
        else:
            units.append(Unit(slot, [place], [command]))
    return units


def _belong_together(units: Sequence[Unit], slot: int | None) -> bool:
    if not units or units[-1].is_dispensable:
        return False
    return slot is None or units[-1].slot in (slot, None)


def _answered(cluster: Cluster, units: list[Unit], count: int) -> Routing:
    replies: list[Any] = [None] * count
    todo = units
    for _ in range(_MOST_HOPS):
        todo = yield from _round(cluster, todo, replies)
        if not todo:
            break
    _dispense(units, replies)
    for unit in units:
        if isinstance(unit.failure, SessionStoreUnavailable):
            raise PartUnavailable(text_of(unit.failure), replies) from None
        if unit.failure:
            raise unit.failure
    try:
        return [_settled(reply) for reply in replies]
    except SessionStoreUnavailable as problem:
        raise PartUnavailable(text_of(problem), replies) from None


def _dispense(units: Iterable[Unit], replies: list[Any]) -> None:
    """Do without the replies that may be missing."""
    for unit in units:
        for place in unit.places if unit.is_dispensable else ():
            if unit.failure or type(replies[place]) is ErrorReply:
                replies[place] = unit.failure = None


def _round(
    cluster: Cluster, units: list[Unit], replies: list[Any]
) -> Generator[Batches | float, Any, list[Unit]]:
    """Send each once; return those to be sent again."""
    by_address, lost = _placed(cluster, units)
    sent = {address: _batch(units) for address, units in by_address.items()}
    answers: Answers = (yield sent) if sent else {}
    pause, again = 0.0, []
    is_moved = is_down = False
    for address, asked in by_address.items():
        answer = answers[address]
        if isinstance(answer, SessionStoreUnavailable):
            cluster.failed(address, answer)
            lost += _with_failure(asked, cluster.problem_of(address))
            continue
        if isinstance(answer, Exception):
            _with_failure(asked, answer)
            continue
        cluster.served(address)
        for unit in _distributed(asked, answer, replies):
            error = _first_error(unit, replies)
            if error is None:
                _note_served(cluster, unit)
                continue
            _keep_unanswered(unit, replies)
            if redirection := Redirection.parse(str(error), asked=address):
                is_moved |= _redirected(cluster, unit, redirection)
                again.append(unit)
            elif is_code(error, "NOSCRIPT"):
                again.append(_with_sources(unit))
            elif is_code(error, "TRYAGAIN") and unit.pauses < _MOST_PAUSES:
                pause = max(pause, _FIRST_PAUSE_SECONDS * 2**unit.pauses)
                unit.pauses += 1
                again.append(unit)
            else:
                is_down = True
                lost += _unserved(cluster, unit, problems.of_reply(error))
    if (lost or is_moved) and cluster.claims_refresh():
        yield from refresh(cluster)
        if is_down:
            yield _DOWN_PAUSE_SECONDS
        again += [unit for unit in lost if _is_worth_another(cluster, unit, is_down=is_down)]
    if pause:
        yield pause * _chance.uniform(0.5, 1.5)
    return again


def _placed(
    cluster: Cluster, units: Iterable[Unit]
) -> tuple[dict[Address, list[Unit]], list[Unit]]:
    """Return who is to be asked, and the units that nobody can be asked for."""
    wanted: dict[Address, list[Unit]] = {}
    lost: list[Unit] = []
    for unit in units:
        if not unit.is_asking and unit.slot is not None:
            unit.address = cluster.owner(unit.slot)
        address = unit.address or (cluster.any_primary() if unit.slot is None else None)
        if address is None:
            lost += _unserved(cluster, unit, problems.without_owner(cluster.topology))
        else:
            unit.address = address
            wanted.setdefault(address, []).append(unit)
    refused = [address for address in wanted if not _may_ask(cluster, address, wanted[address])]
    for address in refused:
        lost += _with_failure(wanted.pop(address), cluster.problem_of(address))
    return wanted, lost


def _may_ask(cluster: Cluster, address: Address, units: Iterable[Unit]) -> bool:
    if all(unit.is_dispensable for unit in units) and cluster.leaves_alone(address):
        # Whether it serves again is for others to find out, who would have to wait for it anyway.
        return False
    return cluster.admits(address)


def _batch(units: Sequence[Unit]) -> tuple[Command, ...]:
    words = [command for unit in units for command in unit.words()]
    if any(command is ORIGIN for unit in units for command in unit.commands):
        words.append(ORIGIN)
    return tuple(words)


def _distributed(units: Sequence[Unit], answer: list[Any], replies: list[Any]) -> Sequence[Unit]:
    """Put what a node answered where it belongs."""
    following = iter(answer)
    for unit in units:
        for place, command in zip(unit.places, unit.commands, strict=True):
            if command is ORIGIN:
                replies[place] = answer[-1]
                continue
            if unit.is_asking and slot_of(command) is not None:
                next(following)
            replies[place] = next(following)
        unit.is_asking = False
    return units


def _first_error(unit: Unit, replies: list[Any]) -> ErrorReply | None:
    """Return an error that another node, or the same one later, may not answer with."""
    errors = (replies[place] for place in unit.places)
    return next((error for error in errors if _is_passing(error)), None)


def _is_passing(reply: Any) -> bool:
    return type(reply) is ErrorReply and any(is_code(reply, code) for code in _PASSING)


def _keep_unanswered(unit: Unit, replies: list[Any]) -> None:
    """Leave in a unit what is to be sent again; what says where it was answered goes along."""
    left = [
        (place, command)
        for place, command in zip(unit.places, unit.commands, strict=True)
        if _is_passing(replies[place]) or slot_of(command) is None
    ]
    unit.places = [place for place, _ in left]
    unit.commands = [command for _, command in left]


def _redirected(cluster: Cluster, unit: Unit, redirection: Redirection) -> bool:
    """Send a unit elsewhere next time; tell whether the topology is another."""
    unit.address = redirection.address
    unit.is_asking = not redirection.is_for_good
    if redirection.is_for_good:
        cluster.moved(redirection.slot, redirection.address)
    return redirection.is_for_good


def _with_sources(unit: Unit) -> Unit:
    unit.commands = [
        with_source(command) if command[0] == b"EVALSHA" else command for command in unit.commands
    ]
    return unit


def _with_failure(units: list[Unit], failure: Exception) -> list[Unit]:
    for unit in units:
        unit.failure = failure
        # Only the owner of its slot may be asked for it next.
        unit.is_asking = False
    return units


def _settled(reply: Any) -> Any:
    if problems.is_redirection(reply):
        raise SessionStoreUnavailable(problems.DISPUTED)
    return settled(reply)


def _unserved(cluster: Cluster, unit: Unit, problem: SessionStoreUnavailable) -> list[Unit]:
    if unit.slot is not None:
        cluster.lacks(unit.slot, problem)
    return _with_failure([unit], problem)


def _note_served(cluster: Cluster, unit: Unit) -> None:
    unit.failure = None
    if unit.slot is not None:
        cluster.serves(unit.slot)


def _is_worth_another(cluster: Cluster, unit: Unit, *, is_down: bool) -> bool:
    """Tell whether somebody else serves a unit by now."""
    if unit.slot is None:
        return False
    owner = cluster.owner(unit.slot)
    return owner is not None and (is_down or owner != unit.address)
