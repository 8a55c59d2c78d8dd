"""Statistics in Prometheus's text exposition format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Literal

from .events import total
from .ranges import Ages, Range
from .stats import Stats

_PREFIX = "django_elasticache_sessions"


def render(stats: Stats) -> str:
    """Return the metrics, each with its help and type; what is not known is left out."""
    lines: list[str] = []
    for name, kind, text, samples in _metrics(stats):
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines.append(f"# HELP {_PREFIX}_{name} {text}")
            lines.append(f"# TYPE {_PREFIX}_{name} {kind}")
            lines += [f"{_PREFIX}_{name}{labels} {value}" for labels, value in known]
    return "\n".join(lines) + "\n"


_KINDS: tuple[Literal["created", "ended"], ...] = ("created", "ended")
_Metric = tuple[str, str, str, list[tuple[str, int | float | None]]]


def _metrics(stats: Stats) -> Iterator[_Metric]:
    live, cache, database = stats.live, stats.cache, stats.database
    up: list[tuple[str, int | float | None]] = [('{store="cache"}', int(cache is not None))]
    if database or "database" in stats.problems:
        up.append(('{store="database"}', int(database is not None)))
    yield "store_up", "gauge", "Whether the store answers.", up
    if live:
        kinds: list[tuple[str, int | float | None]] = [
            ('{kind="signed_in"}', live.signed_in),
            ('{kind="anonymous"}', live.anonymous),
        ]
        yield "live", "gauge", "Sessions that live.", kinds
    if stats.time_left is not None:
        counts = _within(stats.time_left)
        yield "expiring", "gauge", "Live sessions that expire within seconds.", counts
    if stats.ages is not None:
        text = "Sessions that the shares by age are of: all that live, or a random sample of them."
        yield "age_sampled", "gauge", text, [("", stats.ages.sampled)]
        text = "Share of the live sessions that was created within seconds."
        yield "age_share", "gauge", text, _shares(stats.ages)
    yield (
        "breaker_open",
        "gauge",
        "Whether this process leaves the store alone.",
        [(f'{{store="{store}"}}', int(state == "open")) for store, state in stats.breakers.items()],
    )
    yield (
        "latency_seconds",
        "gauge",
        "How long the store took to answer.",
        [
            ('{store="cache"}', cache.latency_seconds if cache else None),
            ('{store="database"}', database.latency_seconds if database else None),
        ],
    )
    if database:
        yield (
            "stale",
            "gauge",
            "Sessions older in the cache than in the database.",
            [("", database.stale)],
        )
        yield "ended_rows", "gauge", "Marks of sessions that have ended.", [("", database.ended)]
    if cache:
        yield "pending", "gauge", "Sessions that wait for the database.", [("", cache.pending)]
        for kind in _KINDS:
            yield (
                f"{kind}_lately",
                "gauge",
                f"Sessions {kind} in the last hour and the last day.",
                [
                    ('{within="1h"}', total(cache.events.minutes, kind)),
                    ('{within="24h"}', total(cache.events.hours, kind)),
                ],
            )
        if "database" in stats.breakers:
            yield (
                "lost_lately",
                "gauge",
                "Sessions that lost changes waiting for the database in the last hour and day.",
                [
                    ('{within="1h"}', total(cache.events.minutes, "lost")),
                    ('{within="24h"}', total(cache.events.hours, "lost")),
                ],
            )
        yield (
            "memory_used_bytes",
            "gauge",
            "The server's memory in use.",
            [("", cache.used_memory_bytes)],
        )
        yield (
            "memory_max_bytes",
            "gauge",
            "The server's memory limit.",
            [("", cache.max_memory_bytes)],
        )
        yield (
            "memory_fragmentation_ratio",
            "gauge",
            "Resident over used memory.",
            [("", cache.fragmentation_ratio)],
        )
        yield "clients", "gauge", "Connections to the server.", [("", cache.connected_clients)]
        yield (
            "evicted_keys_total",
            "counter",
            "Keys that the server evicted.",
            [("", cache.evicted_keys)],
        )
        yield (
            "keyspace_hits_total",
            "counter",
            "Reads of keys that were there.",
            [("", cache.keyspace_hits)],
        )
        yield (
            "keyspace_misses_total",
            "counter",
            "Reads of keys that were not there.",
            [("", cache.keyspace_misses)],
        )


def _within(ranges: Sequence[Range]) -> list[tuple[str, int | float | None]]:
    sums = accumulate(found.signed_in + found.anonymous for found in ranges)
    return [
        (f'{{within_seconds="{found.within_seconds}"}}', count)
        for found, count in zip(ranges, sums, strict=True)
        if found.within_seconds is not None
    ]


def _shares(ages: Ages) -> list[tuple[str, int | float | None]]:
    if not ages.sampled:
        return []
    return [(labels, (count or 0) / ages.sampled) for labels, count in _within(ages.ranges)]
