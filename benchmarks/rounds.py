"""What is measured, and the turns that the engines take: one round asks each of them once."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import redis

from . import memory
from .child import Child, EngineFailed
from .engines import ENGINES, OURS, Place
from .floor import Floor
from .http_load import ARGUMENTS, Site, SiteFailed
from .relay import Relay
from .scenarios import SCENARIOS, SIZES, Cost

DELAY_SECONDS = 0.0005
COUNTED_OPERATIONS = 10
#: The first operations on a connection carry its handshake, and scripts.
UNCOUNTED_OPERATIONS = 3
FLOOR = "floor"

Measurement = Callable[[], Cost]
Table = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much is measured."""

    rounds: int = 9
    operations: int = 60
    memory_sessions: int = 5000
    requests: int = 300


QUICK = Amounts(rounds=3, operations=20, memory_sessions=1000, requests=200)


def say(text: str) -> None:
    """Tell the terminal how far the run is."""
    print(text, file=sys.stderr, flush=True)


def start(stack: ExitStack, place: Place) -> tuple[list[Child], dict[str, str]]:
    """Start a child per engine; return those that work, and why the others do not, by name."""
    children: list[Child] = []
    reasons: dict[str, str] = {}
    for engine in ENGINES:
        try:
            children.append(stack.enter_context(Child(engine, place)))
        except EngineFailed as problem:
            reasons[engine.name] = str(problem)
    return children, reasons


def take_turns(turns: dict[str, Measurement], rounds: int) -> dict[str, dict[str, float]]:
    """Measure each in every round; return by name, then by kind of cost, the medians.

    And what it took at least: whatever else the machine does can only add to that.
    """
    costs: dict[str, list[Cost]] = defaultdict(list)
    for number in range(rounds):
        names = list(turns)
        # Nobody always comes after the same neighbour's garbage.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            costs[name].append(turns[name]())
    return {
        name: {
            "wall_us": statistics.median(cost.wall_us for cost in found),
            "cpu_us": statistics.median(cost.cpu_us for cost in found),
            "least_wall_us": min(cost.wall_us for cost in found),
            "least_cpu_us": min(cost.cpu_us for cost in found),
        }
        for name, found in costs.items()
    }


def timings(children: list[Child], place: Place, amounts: Amounts) -> Table:
    """Time every scenario on every size; the floors take their turns among the engines."""
    found: Table = {}
    for size in SIZES:
        recorded = record(place, size)
        found[size] = {}
        for scenario in SCENARIOS:
            say(f"  {scenario}, {size}")
            turns = _turns(children, scenario, size, amounts.operations)
            with ExitStack() as stack:
                if scenario in recorded:
                    floor = Floor(place.host, place.port, recorded[scenario])
                    turns[FLOOR] = partial(stack.enter_context(floor).measure, amounts.operations)
                found[size][scenario] = take_turns(turns, amounts.rounds)
    return found


def record(place: Place, size: str) -> dict[str, tuple[bytes, ...]]:
    """Return what our engine sends in each round trip of a read, and of a change.

    The session stays in place. A change begins with a read.
    """
    with Relay(place.host, place.port) as relay, Child(OURS, _behind(relay, place)) as child:
        read, change = (_record(relay, child, scenario, size) for scenario in ("read", "change"))
    return {"read": (read,), "change": (read, change.removeprefix(read))}


def _record(relay: Relay, child: Child, scenario: str, size: str) -> bytes:
    child.prepare(scenario, size, 1)
    child.run(scenario)
    relay.reset()
    child.run(scenario)
    return relay.requests()


def traffic(relay: Relay, children: Iterable[Child]) -> Table:
    """Count round trips and bytes per operation."""
    found: Table = {}
    for child in children:
        for size in SIZES:
            for scenario in SCENARIOS:
                crossed = _count(relay, child, scenario, size)
                found.setdefault(size, {}).setdefault(scenario, {})[child.engine.name] = crossed
    return found


def _count(relay: Relay, child: Child, scenario: str, size: str) -> dict[str, float]:
    child.prepare(scenario, size, UNCOUNTED_OPERATIONS)
    child.run(scenario)
    child.prepare(scenario, size, COUNTED_OPERATIONS)
    relay.reset()
    child.run(scenario)
    return asdict(relay.traffic().per(COUNTED_OPERATIONS))


def delayed(relay: Relay, children: list[Child], amounts: Amounts) -> Table:
    """Time a change with the delay added to each round trip; `db` has none to delay."""
    relay.delay_seconds = DELAY_SECONDS
    remote = [child for child in children if child.engine.uses_server]
    found = take_turns(_turns(remote, "change", "0.6 KB", amounts.operations), amounts.rounds)
    relay.delay_seconds = 0.0
    return found


def behind_relay(place: Place, amounts: Amounts) -> tuple[Table, Table]:
    """Return the traffic and the delayed changes, of children that go through a relay."""
    with Relay(place.host, place.port) as relay, ExitStack() as stack:
        children, _ = start(stack, _behind(relay, place))
        say("  round trips and bytes")
        counted = traffic(relay, children)
        say(f"  change, {DELAY_SECONDS * 1000} ms added per round trip")
        return counted, delayed(relay, children, amounts)


def memory_taken(children: list[Child], place: Place, amounts: Amounts) -> Table:
    """Weigh the sessions of each engine at the server; empties it."""
    found: Table = {}
    with redis.Redis(host=place.host, port=place.port) as server:
        for size in memory.MEASURED_SIZES:
            say(f"  {size}")
            found[size] = {
                child.engine.name: memory.bytes_per_session(
                    server, child, size, amounts.memory_sessions
                )
                for child in children
                if child.engine.uses_server
            }
    return found


def requests_per_second(
    children: list[Child], place: Place, amounts: Amounts
) -> tuple[Table, list[str]]:
    """Ask the site under each server, every engine's by turns.

    Returns the medians by server and engine, and why engines are missing there.
    """
    problems: list[str] = []
    rates = {
        server: _requests_of(server, children, place, amounts, problems) for server in ARGUMENTS
    }
    return rates, problems


def _requests_of(
    server: str, children: list[Child], place: Place, amounts: Amounts, problems: list[str]
) -> dict[str, float]:
    say(f"  {server}")
    rates: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        sites = _sites(stack, server, children, place, problems)
        # One round more: the first fills caches and opens connections.
        for _ in range(amounts.rounds + 1):
            for site in list(sites):
                try:
                    rates[site.name].append(site.requests_per_second(amounts.requests))
                except SiteFailed as problem:
                    problems.append(f"{site.name} under {server}: {problem}")
                    sites.remove(site)
    return {site.name: statistics.median(rates[site.name][1:]) for site in sites}


def _sites(
    stack: ExitStack, server: str, children: list[Child], place: Place, problems: list[str]
) -> list[Site]:
    sites = []
    for child in children:
        try:
            sites.append(stack.enter_context(Site(server, child, place)))
        except SiteFailed as problem:
            problems.append(f"{child.engine.name} under {server}: {problem}")
    return sites


def _turns(children: list[Child], scenario: str, size: str, count: int) -> dict[str, Measurement]:
    return {child.engine.name: partial(child.measure, scenario, size, count) for child in children}


def _behind(relay: Relay, place: Place) -> Place:
    return Place(host=relay.host, port=relay.port, folder=place.folder)
