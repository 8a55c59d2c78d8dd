"""What CloudWatch measured in the last hour, asked for at most once a minute in each process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..cloudwatch_options import CloudWatchOptions
from ..conf import SETTING, get_configuration
from ..elasticache.aws import ask
from ..exceptions import AWSUnavailable
from ..forks import after_fork
from ..texts import Text, text_of
from .metrics import NAMESPACE, Metric
from .targets import Node, Target, find

#: ElastiCache sends its metrics once a minute.
PERIOD_SECONDS = 60
WINDOW = timedelta(hours=1)
KEEP_SECONDS = 60.0
#: How long a page waits for Amazon. What comes later is there for the next one.
PATIENCE_SECONDS = 3.0
# GetMetricData, CloudWatch API Reference.
_MOST_QUERIES = 500
_MOST_PAGES = 10


class Point(NamedTuple):
    """What was measured in the minute from `at` (UTC), in the metric's unit."""

    at: datetime
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric of one node, oldest point first; there is always one."""

    metric: Metric
    node: Node
    points: tuple[Point, ...]

    @property
    def latest(self) -> Point:
        """The newest point; Amazon's are a minute or two old."""
        return self.points[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The series of a cache. Those that do not exist, or had no data in the window, are not there.

    `begin` and `end` are those of the window; `period_seconds` lie between two points.
    """

    target: Target
    region: str | None
    begin: datetime
    end: datetime
    period_seconds: int
    series: tuple[Series, ...]

    def of(self, node: Node) -> tuple[Series, ...]:
        """Return the series of one node, in the order of the target's metrics."""
        return tuple(series for series in self.series if series.node == node)


def get_options() -> CloudWatchOptions:
    """Return `CLOUDWATCH`. Raises `ImproperlyConfigured` where it is not set."""
    options = get_configuration().options.cloudwatch
    if options is None:
        raise ImproperlyConfigured(
            f"{SETTING} has no 'CLOUDWATCH'. Write {SETTING} = {{..., \"CLOUDWATCH\": "
            '{"REPLICATION_GROUP_ID": "<id>", "REGION": "<region>"}}, or name a '
            '"SERVERLESS_CACHE_NAME" instead.'
        )
    return options


def read(*, patience_seconds: float = PATIENCE_SECONDS) -> Readings:
    """Return what CloudWatch measured; a minute old at most.

    Asks ElastiCache what the cache is made of and CloudWatch once for everything, in a thread that
    one caller starts and all wait for. Raises `AWSUnavailable`, which is kept for a minute too, and
    `ImproperlyConfigured`.
    """
    options = get_options()
    memory = _memories.get(options)
    if memory is None:
        memory = _memories.setdefault(options, _Memory(options))
    return memory.get(patience_seconds)


class _Memory:
    """The last readings of one cache, or why there are none."""

    def __init__(self, options: CloudWatchOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._asked: Future[Readings] | None = None
        self._fresh_until = 0.0
        self._pid = os.getpid()

    def get(self, patience_seconds: float) -> Readings:
        with self._lock:
            asked = self._asked
            if asked is None or self._is_over(asked):
                asked = self._asked = self._start()
        try:
            return asked.result(patience_seconds)
        except TimeoutError:
            raise AWSUnavailable(
                Text(
                    "Amazon has not answered within %(seconds)s seconds. Its answer will be there "
                    "for the next who ask.",
                    seconds=f"{patience_seconds:g}",
                )
            ) from None
        except AWSUnavailable as problem:
            # Raised to many: each has a traceback of its own.
            raise AWSUnavailable(text_of(problem)) from None

    def _is_over(self, asked: Future[Readings]) -> bool:
        # Threads stay behind when a process forks.
        if self._pid != os.getpid():
            return True
        return asked.done() and time.monotonic() >= self._fresh_until

    def _start(self) -> Future[Readings]:
        asked: Future[Readings] = Future()
        self._pid = os.getpid()
        threading.Thread(target=self._fetch, args=(asked,), name="cloudwatch", daemon=True).start()
        return asked

    def _fetch(self, asked: Future[Readings]) -> None:
        result: Readings | BaseException
        try:
            result = fetch(self._options)
        except BaseException as problem:
            result = problem
        self._fresh_until = time.monotonic() + KEEP_SECONDS
        if isinstance(result, BaseException):
            asked.set_exception(result)
        else:
            asked.set_result(result)


def fetch(options: CloudWatchOptions) -> Readings:
    """Ask Amazon now. Raises `AWSUnavailable`."""
    target = find(options)
    end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    begin = end - WINDOW
    wanted = [(metric, node) for node in target.nodes for metric in target.metrics]
    series: list[Series] = []
    # One call for up to 25 nodes.
    for start in range(0, len(wanted), _MOST_QUERIES):
        part = wanted[start : start + _MOST_QUERIES]
        answers = _ask(options.region, part, begin, end)
        series += [
            Series(metric=metric, node=node, points=points)
            for (metric, node), points in zip(part, answers, strict=True)
            if points
        ]
    return Readings(
        target=target,
        region=options.region,
        begin=begin,
        end=end,
        period_seconds=PERIOD_SECONDS,
        series=tuple(series),
    )


def _ask(
    region: str | None, wanted: list[tuple[Metric, Node]], begin: datetime, end: datetime
) -> list[tuple[Point, ...]]:
    found: dict[str, dict[datetime, float]] = {}
    more: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        answer = ask(
            "cloudwatch",
            "GetMetricData",
            region=region,
            MetricDataQueries=[_query(place, *pair) for place, pair in enumerate(wanted)],
            StartTime=begin,
            EndTime=end,
            ScanBy="TimestampAscending",
            **more,
        )
        for result in answer.get("MetricDataResults") or ():
            found.setdefault(str(result.get("Id")), {}).update(_points(result))
        if not answer.get("NextToken"):
            break
        more = {"NextToken": str(answer["NextToken"])}
    return [
        tuple(Point(at, value) for at, value in sorted(found.get(_name(place), {}).items()))
        for place in range(len(wanted))
    ]


def _query(place: int, metric: Metric, node: Node) -> dict[str, Any]:
    return {
        "Id": _name(place),
        "MetricStat": {
            "Metric": {
                "Namespace": NAMESPACE,
                "MetricName": metric.name,
                "Dimensions": [{"Name": name, "Value": value} for name, value in node.dimensions],
            },
            "Period": PERIOD_SECONDS,
            "Stat": metric.statistic,
        },
    }


def _name(place: int) -> str:
    return f"m{place}"


def _points(result: dict[str, Any]) -> Iterator[tuple[datetime, float]]:
    pairs = zip(result.get("Timestamps") or (), result.get("Values") or (), strict=False)
    for at, value in pairs:
        if isinstance(at, datetime) and isinstance(value, (int, float)):
            # boto3 tells local times.
            yield at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC), float(value)


_memories: dict[CloudWatchOptions, _Memory] = {}
after_fork(_memories.clear)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == SETTING:
        _memories.clear()


setting_changed.connect(_forget, dispatch_uid="django_elasticache_sessions.cloudwatch")
