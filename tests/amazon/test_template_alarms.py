"""The alarms of the CloudFormation template: what they look at, and that the doctor is content.

moto makes no alarms from a template; they are sent to CloudWatch's own operation there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_elasticache_sessions.cloudwatch.metrics import OF_NODES, OF_SERVERLESS
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.doctor import Finding, cloud
from tests import template

from .conftest import name_cache

NAME = "shop"
TOPIC = template.TOPIC


@pytest.fixture
def alarms(ask) -> Callable[..., dict[str, dict[str, Any]]]:
    """Make the alarms; what CloudWatch then has, by name."""

    def put(kind: str, **parameters: str) -> dict[str, dict[str, Any]]:
        given = {"CacheName": NAME, "CacheKind": kind, **parameters}
        for alarm in template.resources("AWS::CloudWatch::Alarm", **given).values():
            ask("cloudwatch").put_metric_alarm(**alarm)
        found = ask("cloudwatch").describe_alarms()["MetricAlarms"]
        return {alarm["AlarmName"]: alarm for alarm in found}

    return put


def test_a_group_has_the_alarms_of_nodes(alarms):
    assert alarms("ReplicationGroup").keys() == {
        "shop-memory",
        "shop-evictions",
        "shop-load",
        "shop-credits",
        "shop-replication",
        "shop-breaker",
        "shop-fallback",
    }


def test_a_serverless_cache_has_alarms_of_its_own(alarms):
    assert alarms("Serverless").keys() == {
        "shop-storage",
        "shop-evictions",
        "shop-throttling",
        "shop-breaker",
        "shop-fallback",
    }


@pytest.mark.parametrize("topic", ["", TOPIC])
def test_alarms_go_to_the_topic_that_is_given(alarms, topic):
    for alarm in alarms("ReplicationGroup", AlarmTopicArn=topic).values():
        assert alarm.get("AlarmActions", []) == ([topic] if topic else [])
        assert alarm.get("OKActions", []) == ([topic] if topic else [])


@pytest.mark.parametrize(
    ("node", "metric", "threshold"),
    [
        ("cache.t4g.micro", "CPUUtilization", 45),
        ("cache.m7g.large", "CPUUtilization", 45),
        ("cache.m7g.xlarge", "EngineCPUUtilization", 80),
        ("cache.r7g.12xlarge", "EngineCPUUtilization", 80),
    ],
)
def test_the_load_is_that_of_the_engine_from_four_vcpus_on(alarms, node, metric, threshold):
    alarm = alarms("ReplicationGroup", NodeType=node)["shop-load"]
    assert {one["MetricName"] for one in metrics_of(alarm)} == {metric}
    assert alarm["Threshold"] == threshold


@pytest.mark.parametrize(
    ("node", "is_watched"),
    [("cache.t3.medium", True), ("cache.t4g.small", True), ("cache.m7g.large", False)],
)
def test_the_credits_of_nodes_that_live_on_them_are_watched(alarms, node, is_watched):
    assert ("shop-credits" in alarms("ReplicationGroup", NodeType=node)) is is_watched


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_node_is_watched_whichever_is_the_primary(replicas):
    nodes = {f"shop-00{number + 1}" for number in range(replicas + 1)}
    watched = template.resources("AWS::CloudWatch::Alarm", CacheName=NAME, Replicas=replicas)
    of_nodes = [alarm for alarm in watched.values() if "Metrics" in alarm]
    assert len(of_nodes) == 5
    for alarm in of_nodes:
        dimensions = [
            {one["Name"]: one["Value"] for one in metric["Dimensions"]}
            for metric in metrics_of(alarm)
        ]
        assert {one["CacheClusterId"] for one in dimensions} == nodes
        assert {one["CacheNodeId"] for one in dimensions} == {"0001"}


def test_there_are_no_more_replicas_than_are_watched():
    assert template.load()["Parameters"]["Replicas"]["AllowedValues"] == [1, 2]


def test_the_doctor_finds_nothing_to_mend_in_the_group(alarms, ask, settings):
    alarms("ReplicationGroup", AlarmTopicArn=TOPIC)
    [wanted] = template.resources("AWS::ElastiCache::ReplicationGroup", CacheName=NAME).values()
    ask("elasticache").create_replication_group(**wanted)
    name_cache(settings, REPLICATION_GROUP_ID=NAME)
    assert levels() == {"ok"}


def test_the_doctor_finds_nothing_to_mend_in_the_serverless_cache(alarms, settings, amazon):
    alarms("Serverless", AlarmTopicArn=TOPIC)
    [wanted] = template.resources(
        "AWS::ElastiCache::ServerlessCache", CacheName=NAME, CacheKind="Serverless"
    ).values()
    amazon.describe_serverless(
        wanted["ServerlessCacheName"], SnapshotRetentionLimit=str(wanted["SnapshotRetentionLimit"])
    )
    name_cache(settings, SERVERLESS_CACHE_NAME=NAME)
    assert levels() == {"ok"}


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_the_doctor_misses_whatever_alarm_it_asks_for(alarms, ask, settings, amazon, kind):
    if kind == "Serverless":
        amazon.describe_serverless(NAME)
        name_cache(settings, SERVERLESS_CACHE_NAME=NAME)
        wanted = {"shop-storage", "shop-evictions", "shop-throttling"}
    else:
        [group] = template.resources("AWS::ElastiCache::ReplicationGroup", CacheName=NAME).values()
        ask("elasticache").create_replication_group(**group)
        name_cache(settings, REPLICATION_GROUP_ID=NAME)
        wanted = {"shop-memory", "shop-evictions", "shop-load"}
    missed = set()
    for name in alarms(kind, AlarmTopicArn=TOPIC):
        ask("cloudwatch").delete_alarms(AlarmNames=[name])
        if "alarms" in {finding.subject for finding in findings() if finding.level == "advice"}:
            missed.add(name)
        alarms(kind, AlarmTopicArn=TOPIC)
    assert missed == wanted


def test_every_metric_of_amazons_that_is_watched_is_one_that_is_read():
    read = {metric.name for metric in (*OF_NODES, *OF_SERVERLESS)}
    watched = {
        metric["MetricName"]
        for variant in template.VARIANTS.values()
        for alarm in template.resources("AWS::CloudWatch::Alarm", **variant).values()
        for metric in metrics_of(alarm)
        if metric["Namespace"] == "AWS/ElastiCache"
    }
    assert len(watched) == 8
    assert watched <= read


@pytest.mark.parametrize("kind", ["ReplicationGroup", "Serverless"])
def test_every_alarm_says_why(kind):
    for alarm in template.resources("AWS::CloudWatch::Alarm", CacheKind=kind).values():
        assert len(alarm["AlarmDescription"]) > 80


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    queries = alarm.get("Metrics", ())
    return [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query] or [alarm]


def levels() -> set[str]:
    return {finding.level for finding in findings()}


def findings() -> list[Finding]:
    options = cloud.get_target(get_configuration())
    assert options
    return list(cloud.examine(options, is_named=True, is_durable=True))
