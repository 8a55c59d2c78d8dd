"""The cache as ElastiCache and CloudWatch describe it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings

from ..cloudwatch.metrics import NAMESPACE
from ..cloudwatch.targets import Target, find
from ..cloudwatch_options import CloudWatchOptions
from ..conf import Outline
from ..elasticache.aws import ask
from ..exceptions import AWSUnavailable
from .findings import Finding, advice, ok, problem, unknown

#: An alarm on each is the least: full memory, lost keys, an engine or a cache at its limit. One of
#: two names is enough: up to two vCPUs Amazon advises to watch CPUUtilization, the engine's beyond.
_WATCHED_ON_NODES = (
    ("DatabaseMemoryUsagePercentage",),
    ("Evictions",),
    ("EngineCPUUtilization", "CPUUtilization"),
)
_WATCHED_ON_SERVERLESS = (("BytesUsedForCache",), ("Evictions",), ("ThrottledCmds",))
#: The metrics that have an alarm, the nodes that it looks at, and whether it tells anybody.
Watched = dict[str, dict[str, bool]]
_MOST_PAGES = 20


def get_target(outline: Outline) -> CloudWatchOptions | None:
    """Return which cache to ask about: `CLOUDWATCH`'s, or else the one signed in to by IAM."""
    if outline.options.cloudwatch:
        return outline.options.cloudwatch
    options: Any = settings.CACHES[outline.alias].get("OPTIONS", {})
    iam = options.get("IAM") if isinstance(options, Mapping) else None
    if not isinstance(iam, Mapping) or not iam.get("CACHE_NAME"):
        return None
    name = str(iam["CACHE_NAME"])
    return CloudWatchOptions(
        serverless_cache_name=name if iam.get("SERVERLESS") else None,
        replication_group_id=None if iam.get("SERVERLESS") else name,
        region=iam.get("REGION"),
    )


def examine(options: CloudWatchOptions, *, is_named: bool, is_durable: bool) -> Iterator[Finding]:
    """Yield what there is to say about a cache of Amazon's; is it named in `CLOUDWATCH`?"""
    try:
        target = find(options)
    except AWSUnavailable as refusal:
        # Whoever named the cache in the settings wants it to be found.
        tell = problem if is_named else unknown
        yield tell("ElastiCache", "not told", str(refusal))
        return
    if target.kind == "replication group":
        yield from judge_group(target.description, is_durable=is_durable)
    else:
        yield from judge_serverless(target.description, is_durable=is_durable)
    try:
        watched = _watched(options.region, target)
    except AWSUnavailable as refusal:
        yield unknown("alarms", "not told", str(refusal))
    else:
        yield judge_alarms(target, watched)


def judge_group(group: Mapping[str, Any], *, is_durable: bool) -> Iterator[Finding]:
    """Judge a replication group by DescribeReplicationGroups."""
    yield _status(group)
    at_rest = group.get("AtRestEncryptionEnabled")
    yield _expect(
        at_rest,
        "encryption at rest",
        "Snapshots and swap are readable without it; it can only be set when the group is made: "
        "make a new one and migrate.",
    )
    yield _in_transit(group)
    yield _expect(
        group.get("AutomaticFailover") in ("enabled", "enabling"),
        "automatic failover",
        "Add a replica and modify the group: AutomaticFailoverEnabled.",
    )
    multi_az = group.get("MultiAZ") == "enabled"
    yield (
        ok("Multi-AZ", "on")
        if multi_az
        else advice("Multi-AZ", "off", "Modify the group: MultiAZEnabled.")
    )
    yield _backups(group.get("SnapshotRetentionLimit"), is_durable=is_durable)


def judge_serverless(cache: Mapping[str, Any], *, is_durable: bool) -> Iterator[Finding]:
    """Judge a serverless cache by DescribeServerlessCaches."""
    yield _status(cache)
    # Whatever was asked for when it was made: ElastiCache User Guide, "Data security".
    yield ok("encryption", "at rest and in transit, as every serverless cache")
    yield ok("Multi-AZ", "with automatic failover, as every serverless cache")
    yield _backups(cache.get("SnapshotRetentionLimit"), is_durable=is_durable)


def judge_alarms(target: Target, watched: Watched) -> Finding:
    """Tell which of the metrics that matter most have no alarm, or none that tells anybody."""
    wanted = _WATCHED_ON_NODES if target.kind == "replication group" else _WATCHED_ON_SERVERLESS
    missing = [names for names in wanted if not _nodes(watched, names)]
    if missing:
        return advice(
            "alarms",
            f"none on {', '.join(' or '.join(names) for names in missing)}",
            "The template in example_project/aws/ has them, with thresholds.",
        )
    found = {
        next(name for name in names if name in watched): _nodes(watched, names) for names in wanted
    }
    gaps = [
        f"{name} not of {', '.join(gap)}"
        for name, nodes in found.items()
        if (gap := [node.name for node in target.nodes if node.name not in nodes])
    ]
    if gaps:
        return advice(
            "alarms",
            "; ".join(gaps),
            "Any node may become the primary: let the alarms look at all of them.",
        )
    mute = [name for name, nodes in found.items() if not all(nodes.values())]
    if mute:
        return advice(
            "alarms",
            f"{', '.join(mute)}: nobody is told",
            "Give the alarms AlarmActions (AlarmTopicArn of the template) and set ActionsEnabled.",
        )
    return ok("alarms", f"on {', '.join(found)}")


def _nodes(watched: Watched, names: tuple[str, ...]) -> dict[str, bool]:
    """Return the nodes that an alarm on one of these metrics looks at."""
    found: dict[str, bool] = {}
    for name in names:
        _add(found, watched.get(name, {}))
    return found


def _add(nodes: dict[str, bool], more: Mapping[str, bool]) -> None:
    for node, tells in more.items():
        nodes[node] = nodes.get(node, False) or tells


def _watched(region: str | None, target: Target) -> Watched:
    """Return what of the cache has an alarm."""
    # The first dimension names the node; the id within its cluster is the same for many.
    of_cache = {node.dimensions[0]: [node.name] for node in target.nodes}
    of_cache["ReplicationGroupId", target.name] = [node.name for node in target.nodes]
    watched: Watched = {}
    more: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        answer = ask(
            "cloudwatch", "DescribeAlarms", region=region, AlarmTypes=["MetricAlarm"], **more
        )
        for alarm in answer.get("MetricAlarms") or ():
            tells = bool(alarm.get("ActionsEnabled", True) and alarm.get("AlarmActions"))
            for metric, node in _looks_at(alarm, of_cache):
                _add(watched.setdefault(metric, {}), {node: tells})
        if not answer.get("NextToken"):
            break
        more = {"NextToken": str(answer["NextToken"])}
    return watched


def _looks_at(
    alarm: Mapping[str, Any], of_cache: Mapping[tuple[str, str], list[str]]
) -> Iterator[tuple[str, str]]:
    """Yield the metrics of an alarm, with each node that they are of."""
    queries = [query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", ())]
    for metric in (alarm, *queries):
        if metric.get("Namespace") != NAMESPACE:
            continue
        for dimension in metric.get("Dimensions", ()):
            for node in of_cache.get((dimension.get("Name"), dimension.get("Value")), ()):
                yield str(metric.get("MetricName")), node


def _status(description: Mapping[str, Any]) -> Finding:
    status = str(description.get("Status", "not told"))
    if status in ("available", "modifying", "snapshotting"):
        return ok("ElastiCache", f"{status}, engine {description.get('Engine', 'not told')}")
    return problem("ElastiCache", f"the cache is {status}", "Look at its events in the console.")


def _in_transit(group: Mapping[str, Any]) -> Finding:
    subject = "encryption in transit"
    if group.get("TransitEncryptionMode") == "preferred" and group.get("TransitEncryptionEnabled"):
        return advice(
            subject,
            "preferred: who connects without TLS is served, too",
            "Once every client uses TLS, modify the group: TransitEncryptionMode 'required'.",
        )
    return _expect(
        group.get("TransitEncryptionEnabled"),
        subject,
        "Modify the group: TransitEncryptionEnabled with TransitEncryptionMode 'preferred', then "
        "'required'.",
    )


def _expect(is_on: object, subject: str, mend: str) -> Finding:
    return ok(subject, "on") if is_on else problem(subject, "off", mend)


def _backups(days: object, *, is_durable: bool) -> Finding:
    if isinstance(days, int) and days > 0:
        return ok("backups", f"kept for {days} day{'s' * (days != 1)}")
    if is_durable:
        return ok("backups", "none; the database has every session")
    return advice(
        "backups",
        "none: sessions that are lost stay lost",
        "Modify the cache: SnapshotRetentionLimit; or use the engine cached_db.",
    )
