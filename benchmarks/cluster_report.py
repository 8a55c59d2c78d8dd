"""The results of `benchmarks.cluster` as text tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .report import layout
from .spread import shares
from .verdicts import KINDS

NOTES = """\
Medians over rounds in which the two sides take turns, and the least of all rounds, of sessions of
0.6 KB. Costs are microseconds per operation, by the clock (wall) and of the process's own processor
time (CPU); "x" is the cluster to the single server. All servers run on this machine: a network
would cost both sides the same. Round trips are counted in front of each node and added up; those to
several nodes at once are one wait. Bytes are what the server says it takes beyond what it took
empty, replicas not counted. Commands are those that a client sends; what a script calls is not
counted."""


def render(results: dict[str, Any]) -> str:
    """Return all tables of a run."""
    return "\n\n".join([*_sections(results), NOTES]) + "\n"


def _sections(results: dict[str, Any]) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    yield _nodes(results["spread"], results["amounts"]["sessions"])
    yield _slots(results["spread"]["slots"])
    yield _commands(results["commands"])
    for kind, word in KINDS.items():
        yield _costs(results["timings"], kind, word)
    yield _traffic(results["traffic"])


def _nodes(spread: dict[str, Any], sessions: int) -> str:
    by_node: dict[str, dict[str, int]] = spread["nodes"]
    columns = {
        "sessions": {node: counted["sessions"] for node, counted in by_node.items()},
        "indexes": {
            node: sum(counted.values()) - counted["sessions"] for node, counted in by_node.items()
        },
        "bytes": {node: spread["bytes"][node] for node in by_node},
    }
    table = [["", *(cell for name in columns for cell in (name, "share"))]]
    for node in by_node:
        cells = [
            cell
            for values in columns.values()
            for cell in (f"{values[node]:,}", f"{shares(values)[node]:.1%}")
        ]
        table.append([node, *cells])
    table.append(["most to least", *(cell for v in columns.values() for cell in ("", _ratio(v)))])
    totals = (cell for values in columns.values() for cell in (f"{sum(values.values()):,}", ""))
    table.append(["together", *totals])
    alone = spread["bytes"]["standalone"]
    table.append(["single server", "", "", "", "", f"{alone:,}", ""])
    return f"Where {sessions:,} sessions lie\n{layout(table)}"


def _ratio(values: Mapping[str, int]) -> str:
    least = min(values.values())
    return f"{max(values.values()) / least:.2f}" if least else "-"


def _slots(slots: dict[str, dict[str, int]]) -> str:
    table = [["", "slots", "most in a slot", "least"]]
    for kind, found in slots.items():
        table.append([kind, *(f"{found[name]:,}" for name in ("slots", "most", "least"))])
    return f"Keys in slots, of 16,384, that have any\n{layout(table)}"


def _commands(commands: dict[str, dict[str, dict[str, int]]]) -> str:
    nodes = list(next(iter(commands.values())))
    table = [["", *nodes, "sent"]]
    for scenario, by_node in commands.items():
        sums = {node: sum(counted.values()) for node, counted in by_node.items()}
        cells = [f"{share:.1%}" for share in shares(sums).values()]
        table.append([scenario, *cells, f"{sum(sums.values()):,}"])
    return f"Commands that each node is sent\n{layout(table)}"


def _costs(timings: dict[str, Any], kind: str, word: str) -> str:
    table = [["", "standalone", "cluster", "x", "at least", "at least", "x"]]
    for scenario, costs in timings.items():
        row = [scenario]
        for name in (kind, f"least_{kind}"):
            alone, cluster = (costs[side][name] for side in ("standalone", "cluster"))
            row += [f"{alone:.0f}", f"{cluster:.0f}", f"{cluster / alone:.2f}"]
        table.append(row)
    return f"Cost of one operation, {word}, us\n{layout(table)}"


def _traffic(traffic: dict[str, Any]) -> str:
    table = [["", "standalone", "cluster", "waits", "x", "bytes, x"]]
    for scenario, sides in traffic.items():
        alone, cluster = sides["standalone"], sides["cluster"]
        sent = sum(cluster[name] for name in ("sent_bytes", "received_bytes"))
        table.append(
            [
                scenario,
                f"{alone['round_trips']:.2f}",
                f"{cluster['round_trips']:.2f}",
                f"{cluster['waits']:.2f}",
                f"{cluster['round_trips'] / alone['round_trips']:.2f}",
                f"{sent / sum(alone[name] for name in ('sent_bytes', 'received_bytes')):.2f}",
            ]
        )
    return f"Round trips of one operation\n{layout(table)}"
