"""Telling CloudWatch of the sessions, under `CLOUDWATCH["NAMESPACE"]`.

The metrics have the dimensions `Cache`, the cache's name, and `KeyPrefix`. `LiveSessions` and
`SignedInSessions` are what there is at the moment (statistic: Average). `CreatedSessions` and
`EndedSessions` count what happened in each whole minute, and the others what happened since they
were last published (statistic: Sum), whichever process of the site it happened in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .. import occurrences
from ..cloudwatch_options import CloudWatchOptions
from ..conf import get_configuration
from ..drivers import sync
from ..elasticache.aws import ask
from ..exceptions import SessionStoreUnavailable
from ..stats import Stats
from .reading import get_options

# PutMetricData, CloudWatch API Reference: 1000 metrics and 1 MB a call, here with some room.
MOST_DATA = 1000
MOST_BYTES = 900_000
_NAMES: dict[occurrences.Name, str] = {
    "fallback_loads": "FallbackLoads",
    "breaker_openings": "BreakerOpenings",
    "lost_waits": "LostSessionChanges",
}
_RARE = frozenset[occurrences.Name](("lost_waits",))
_CREATED, _ENDED = "CreatedSessions", "EndedSessions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Datum:
    """A value of a metric of ours, and when it was measured."""

    name: str
    value: float
    at: datetime
    unit: Literal["Count"] = "Count"


def gather(stats: Stats) -> list[Datum]:
    """Return what can be told now; of what nobody knows, nothing."""
    return [*_sessions(stats), *_counted(stats)]


def publish(data: Sequence[Datum]) -> int:
    """Put data into CloudWatch, in as few calls as it takes; return how many there were.

    Raises `AWSUnavailable` (what was sent before it stays, and what was counted is counted on) and
    `ImproperlyConfigured`.
    """
    options = get_options()
    for batch in _batches([_described(datum, options) for datum in data]):
        ask(
            "cloudwatch",
            "PutMetricData",
            region=options.region,
            Namespace=options.namespace,
            MetricData=batch,
        )
    _settle(data)
    return len(data)


def _sessions(stats: Stats) -> Iterator[Datum]:
    live, now = stats.live, datetime.now(UTC)
    if live:
        yield Datum(name="LiveSessions", value=live.signed_in + live.anonymous, at=now)
        yield Datum(name="SignedInSessions", value=live.signed_in, at=now)


def _counted(stats: Stats) -> Iterator[Datum]:
    configuration = get_configuration()
    driver, now = sync.get_driver(configuration.alias), datetime.now(UTC)
    try:
        collected = driver.run(occurrences.collect(configuration.naming))
    except SessionStoreUnavailable:
        return
    for name, count in collected.counts.items():
        if name in _RARE and not count:
            # A metric is paid for, which most sites never need.
            continue
        yield Datum(name=_NAMES[name], value=count, at=now)
    if stats.cache is not None:
        # The last minute goes on yet.
        for period in stats.cache.events.minutes[:-1]:
            if period.created is not None and _minute_of(period.start) > collected.told_minute:
                yield Datum(name=_CREATED, value=period.created, at=period.start)
                yield Datum(name=_ENDED, value=period.ended or 0, at=period.start)


def _settle(data: Sequence[Datum]) -> None:
    told = {datum.name: int(datum.value) for datum in data}
    counts = {name: told[metric] for name, metric in _NAMES.items() if metric in told}
    minutes = [_minute_of(datum.at) for datum in data if datum.name == _CREATED]
    settling = occurrences.settle(get_configuration().naming, counts, max(minutes, default=None))
    try:
        sync.get_driver(get_configuration().alias).run(settling)
    except SessionStoreUnavailable:
        # Then they are told of once more: too many are better than none of an outage.
        return


def _minute_of(at: datetime) -> int:
    return int(at.timestamp()) // 60


def _described(datum: Datum, options: CloudWatchOptions) -> dict[str, Any]:
    return {
        "MetricName": datum.name,
        "Dimensions": [
            {"Name": "Cache", "Value": options.name},
            {"Name": "KeyPrefix", "Value": get_configuration().options.key_prefix},
        ],
        "Timestamp": datum.at,
        "Value": float(datum.value),
        "Unit": datum.unit,
    }


def _batches(described: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for datum in described:
        its_size = len(json.dumps(datum, default=str))
        if batch and (len(batch) == MOST_DATA or size + its_size > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(datum)
        size += its_size
    if batch:
        yield batch
