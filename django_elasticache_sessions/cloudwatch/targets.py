"""What the metrics of a cache are kept under, found by asking ElastiCache what it is made of.

Each node of a replication group has metrics of its own; a serverless cache has one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..cloudwatch_options import CloudWatchOptions
from ..elasticache.aws import ask
from ..exceptions import AWSUnavailable
from ..texts import Text
from .metrics import OF_NODES, OF_SERVERLESS, Metric

Kind = Literal["replication group", "serverless cache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node, or a serverless cache as a whole: its name and the dimensions of its metrics.

    `shard` is empty where there is none.
    """

    name: str
    shard: str
    dimensions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cache that has metrics. `description` is ElastiCache's own answer about it."""

    kind: Kind
    name: str
    nodes: tuple[Node, ...]
    metrics: tuple[Metric, ...]
    description: Mapping[str, Any]


def find(options: CloudWatchOptions) -> Target:
    """Ask ElastiCache. Raises `AWSUnavailable`."""
    if options.replication_group_id:
        return _replication_group(options)
    return _serverless_cache(options)


def _replication_group(options: CloudWatchOptions) -> Target:
    operation = "DescribeReplicationGroups"
    answer = ask(
        "elasticache",
        operation,
        region=options.region,
        ReplicationGroupId=options.replication_group_id,
    )
    group = _only(answer.get("ReplicationGroups"), operation)
    nodes = tuple(
        Node(
            name=member["CacheClusterId"],
            shard=str(shard.get("NodeGroupId", "")),
            dimensions=(
                ("CacheClusterId", member["CacheClusterId"]),
                ("CacheNodeId", member.get("CacheNodeId") or "0001"),
            ),
        )
        for shard in group.get("NodeGroups", ())
        for member in shard.get("NodeGroupMembers", ())
        if member.get("CacheClusterId")
    )
    return Target(
        kind="replication group",
        name=group.get("ReplicationGroupId", options.name),
        nodes=nodes,
        metrics=OF_NODES,
        description=group,
    )


def _serverless_cache(options: CloudWatchOptions) -> Target:
    operation = "DescribeServerlessCaches"
    answer = ask(
        "elasticache",
        operation,
        region=options.region,
        ServerlessCacheName=options.serverless_cache_name,
    )
    cache = _only(answer.get("ServerlessCaches"), operation)
    name = cache.get("ServerlessCacheName", options.name)
    # With a small letter, unlike those of nodes.
    node = Node(name=name, shard="", dimensions=(("clusterId", name),))
    return Target(
        kind="serverless cache",
        name=name,
        nodes=(node,),
        metrics=OF_SERVERLESS,
        description=cache,
    )


def _only(found: Any, operation: str) -> Mapping[str, Any]:
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise AWSUnavailable(
            Text(
                "%(action)s told of no such cache. Correct REGION and the cache's name in "
                "CLOUDWATCH.",
                action=f"elasticache:{operation}",
            )
        )
    return found[0]
