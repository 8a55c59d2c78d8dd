"""CloudWatch's readings as text, as JSON and in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.template.defaultfilters import filesizeformat

from .metrics import Metric
from .reading import Readings, Series

_METRIC = "django_elasticache_sessions_cloudwatch"


def lines(readings: Readings) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the latest values, node by node."""
    yield "CloudWatch", f"{readings.target.kind} {readings.target.name}"
    if not readings.series:
        yield "  no data", "for the last hour"
    for node in readings.target.nodes:
        series = readings.of(node)
        if series:
            yield f"  {node.name}", f"{series[0].latest.at:%Y-%m-%d %H:%M} UTC"
        for one in series:
            yield f"    {one.metric.title}".lower(), show(one.metric, one.latest.value)


def show(metric: Metric, value: float) -> str:
    """Return a value with its unit."""
    if metric.unit == "Bytes":
        return str(filesizeformat(value))
    if metric.unit == "Microseconds":
        return f"{value / 1000:.2f} ms"
    if metric.unit == "Percent":
        return f"{value:.1f}%"
    if metric.unit == "Seconds":
        return f"{value:.3f} s"
    if metric.unit == "None":
        return "yes" if value else "no"
    return f"{value:.0f}" + (" in the minute" if metric.statistic == "Sum" else "")


def as_json(readings: Readings) -> dict[str, Any]:
    """Return all series, times in ISO 8601."""
    return {
        "kind": readings.target.kind,
        "name": readings.target.name,
        "region": readings.region,
        "begin": readings.begin.isoformat(),
        "end": readings.end.isoformat(),
        "period_seconds": readings.period_seconds,
        "series": [_series(series) for series in readings.series],
    }


def as_prometheus(readings: Readings) -> str:
    """Return the latest values as one gauge."""
    if not readings.series:
        return ""
    found = [
        f"# HELP {_METRIC} The latest value that CloudWatch has of a metric in AWS/ElastiCache.",
        f"# TYPE {_METRIC} gauge",
    ]
    for series in readings.series:
        metric = series.metric
        labels = (
            f'metric="{metric.name}",node="{series.node.name}",statistic="{metric.statistic}",'
            f'unit="{metric.unit}"'
        )
        found.append(f"{_METRIC}{{{labels}}} {series.latest.value}")
    return "\n".join(found) + "\n"


def _series(series: Series) -> dict[str, Any]:
    return {
        "metric": series.metric.name,
        "statistic": series.metric.statistic,
        "unit": series.metric.unit,
        "node": series.node.name,
        "points": [[point.at.isoformat(), point.value] for point in series.points],
    }
