"""A run's results as text tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .engines import OURS
from .verdicts import KINDS, fastest_peer, judge, kind_of

NOTES = """\
Medians over rounds in which the engines take turns. "x" is ours to the fastest peer's, marked *.
Costs are microseconds per operation, by the clock (wall) and of the process's own processor time
(CPU). db keeps its sessions in a SQLite file on this machine, without a server or a network.
The floor is our read's or change's own bytes over a bare socket, the replies parsed by hiredis: no
cryptography, no Django. Where the floor itself is above a bound, the bound is out of reach.
All but ours keep sessions unencrypted; the caches' values are pickles.
Round trips and bytes are counted in front of Valkey; what cached_db and db ask of SQLite is not.
The change of 20 x 1 KB replaces one of the twenty values by a short one."""


def render(results: dict[str, Any]) -> str:
    """Return all tables of a run."""
    return "\n\n".join([*_sections(results), NOTES]) + "\n"


def _sections(results: dict[str, Any]) -> Iterator[str]:
    yield ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    yield "\n".join(_engine_line(*item) for item in results["engines"].items())
    if results["problems"]:
        yield "\n".join(["Not measured", *results["problems"]])
    for kind, word in KINDS.items():
        yield _costs(results["timings"], kind, word)
    yield _floors(results["timings"])
    yield _traffic(results["traffic"])
    yield _values("Memory per session at the server, bytes", results["memory"])
    delayed = kind_of(results["delayed"], "wall_us")
    yield _values("Change, 0.6 KB, 0.5 ms added per round trip, us", {"wall": delayed})
    yield _values("Requests a second, each with one change", results["http"], most=True)
    yield _verdicts(results)


def _engine_line(name: str, engine: dict[str, Any]) -> str:
    line = f"{name}: {engine['title']}"
    return f"{line} - not measured: {engine['reason']}" if engine["reason"] else line


def _costs(timings: dict[str, Any], kind: str, word: str) -> str:
    rows = {
        f"{scenario}, {size}": kind_of(costs, kind)
        for size, scenarios in timings.items()
        for scenario, costs in scenarios.items()
    }
    return _values(f"Cost of one operation, {word}, us", rows)


def _floors(timings: dict[str, Any]) -> str:
    table = [["", *KINDS.values()]]
    for size, scenarios in timings.items():
        for scenario, costs in scenarios.items():
            if "floor" in costs:
                shares = (_floor_share(kind_of(costs, kind)) for kind in KINDS)
                table.append([f"{scenario}, {size}", *shares])
    return f"The floor to the fastest peer\n{layout(table)}"


def _floor_share(values: dict[str, float]) -> str:
    return f"{values['floor'] / fastest_peer(values)[1]:.2f}"


def _values(title: str, rows: dict[str, dict[str, float]], *, most: bool = False) -> str:
    """Lay out one row per measurement and one column per engine, and compare ours."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = [["", *names, "x"]]
    for label, row in rows.items():
        peer, best = fastest_peer(row, most=most)
        cells = [_number(row.get(name), is_best=name == peer) for name in names]
        table.append([label, *cells, f"{row[OURS.name] / best:.2f}" if OURS.name in row else "-"])
    return f"{title}\n{layout(table)}"


def _number(value: float | None, *, is_best: bool = False) -> str:
    return "-" if value is None else f"{value:.0f}{'*' if is_best else ''}"


def _traffic(traffic: dict[str, Any]) -> str:
    names = list(next(iter(next(iter(traffic.values())).values())))
    table = [["", *names]]
    for size, scenarios in traffic.items():
        for scenario, crossed in scenarios.items():
            table.append([f"{scenario}, {size}", *(_crossed(crossed[name]) for name in names)])
    return f"Round trips : bytes sent / received, per operation\n{layout(table)}"


def _crossed(crossed: dict[str, float]) -> str:
    if not crossed["round_trips"]:
        return "-"
    trips, sent, received = crossed.values()
    return f"{trips:g}: {sent:.0f} / {received:.0f}"


def _verdicts(results: dict[str, Any]) -> str:
    table = [["Number to reach", "found", "reach", ""]]
    for verdict in judge(results):
        found = f"{verdict.value:.4g} {verdict.unit}".strip()
        table.append([verdict.what, found, verdict.reach.strip(), verdict.word])
    return layout(table)


def layout(table: Sequence[Sequence[str]]) -> str:
    """Align a table's columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(_line(row, widths) for row in table)


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
