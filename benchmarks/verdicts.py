"""The numbers to reach, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .engines import CACHED_DB, DJANGO_CACHE, OURS

READ_SHARE, CHANGE_SHARE, FLOOR_SHARE = 0.8, 0.5, 1.4
BYTES_SHARE, DELAY_SHARE, CACHED_DB_SHARE = 0.02, 0.7, 1.5
LOGIN_ROUND_TRIPS = 3
MEMORY_SHARES = {"0.6 KB": 1.3, "10 KB": 0.7}
KINDS = {"wall_us": "wall", "cpu_us": "CPU"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A value, and the limit that it has to stay under, or over."""

    what: str
    value: float
    limit: float
    is_at_least: bool = False
    unit: str = "x"

    @property
    def is_reached(self) -> bool:
        """Whether the value keeps to the limit."""
        return self.value >= self.limit if self.is_at_least else self.value <= self.limit

    @property
    def word(self) -> str:
        """The same in a word."""
        return "reached" if self.is_reached else "missed"

    @property
    def reach(self) -> str:
        """The limit, as one writes it."""
        return f"{'>=' if self.is_at_least else '<='} {self.limit:g} {self.unit}"


def fastest_peer(values: dict[str, float], *, most: bool = False) -> tuple[str, float]:
    """Return the peer with the least value, or the most, and the value.

    Raises `ValueError` when there is no peer.
    """
    peers = {name: value for name, value in values.items() if name not in (OURS.name, "floor")}
    return (max if most else min)(peers.items(), key=lambda item: item[1])


def kind_of(costs: dict[str, dict[str, float]], kind: str) -> dict[str, float]:
    """Return one kind of cost by engine."""
    return {name: cost[kind] for name, cost in costs.items()}


def judge(results: dict[str, Any]) -> list[Verdict]:
    """Compare what a run found with the numbers to reach; what it did not measure is left out."""
    return [
        *_times(results["timings"]),
        *_wire(results["traffic"]),
        *_memory(results["memory"]),
        *_delay(results["delayed"]),
        *_http(results["http"]),
    ]


def _times(timings: dict[str, Any]) -> Iterator[Verdict]:
    for size, scenarios in timings.items():
        for scenario, limit in (("read", READ_SHARE), ("change", CHANGE_SHARE)):
            for kind, word in KINDS.items():
                values = kind_of(scenarios[scenario], kind)
                peer, best = fastest_peer(values)
                what = f"{scenario}, {size}, {word}, to the fastest peer ({peer})"
                yield Verdict(what=what, value=values[OURS.name] / best, limit=limit)
        for scenario in ("read", "change"):
            for kind, word in KINDS.items():
                values = kind_of(scenarios[scenario], kind)
                what = f"{scenario}, {size}, {word}, to the floor"
                value = values[OURS.name] / values["floor"]
                yield Verdict(what=what, value=value, limit=FLOOR_SHARE)


def _wire(traffic: dict[str, Any]) -> Iterator[Verdict]:
    changed = traffic["20 x 1 KB"]["change"]
    sent = {name: crossed["sent_bytes"] for name, crossed in changed.items()}
    yield Verdict(
        what="bytes sent to change 1 key of 20 x 1 KB, to Django's cache",
        value=sent[OURS.name] / sent[DJANGO_CACHE.name],
        limit=BYTES_SHARE,
    )
    yield Verdict(
        what="login, 0.6 KB, round trips",
        value=traffic["0.6 KB"]["login"][OURS.name]["round_trips"],
        limit=LOGIN_ROUND_TRIPS,
        unit="",
    )


def _memory(taken: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    for size, limit in MEMORY_SHARES.items():
        value = taken[size][OURS.name] / taken[size][DJANGO_CACHE.name]
        yield Verdict(what=f"memory, {size}, to Django's cache", value=value, limit=limit)


def _delay(delayed: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    values = kind_of(delayed, "wall_us")
    yield Verdict(
        what="change, 0.5 ms added per round trip, to Django's cache",
        value=values[OURS.name] / values[DJANGO_CACHE.name],
        limit=DELAY_SHARE,
    )


def _http(rates: dict[str, dict[str, float]]) -> Iterator[Verdict]:
    for server, found in rates.items():
        if OURS.name not in found or CACHED_DB.name not in found:
            continue
        ours = found[OURS.name]
        peer, best = fastest_peer(found, most=True)
        yield Verdict(
            what=f"requests a second, {server}, to the fastest peer ({peer})",
            value=ours / best,
            limit=1.0,
            is_at_least=True,
        )
        yield Verdict(
            what=f"requests a second, {server}, to cached_db",
            value=ours / found[CACHED_DB.name],
            limit=CACHED_DB_SHARE,
            is_at_least=True,
        )
