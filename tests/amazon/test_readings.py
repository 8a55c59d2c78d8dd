"""Reading CloudWatch: which series there are, and how often Amazon is asked."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_elasticache_sessions import cloudwatch
from django_elasticache_sessions.cloudwatch import reading
from django_elasticache_sessions.exceptions import AWSUnavailable

PATIENCE = 30.0


def read() -> cloudwatch.Readings:
    return cloudwatch.read(patience_seconds=PATIENCE)


def named(readings: cloudwatch.Readings) -> dict[tuple[str, str], list[float]]:
    return {
        (series.node.name, series.metric.name): [point.value for point in series.points]
        for series in readings.series
    }


def test_the_series_of_a_node_are_read(of_node):
    of_node("CacheHitRate", 97.5, minutes=3)
    of_node("CacheHitRate", 98.5, minutes=2)
    of_node("DatabaseMemoryUsagePercentage", 41.0)
    readings = read()
    assert named(readings) == {
        ("shop-001", "CacheHitRate"): [97.5, 98.5],
        ("shop-001", "DatabaseMemoryUsagePercentage"): [41.0],
    }
    assert readings.series[0].latest.value == 98.5
    assert readings.series[0].metric.unit == "Percent"


def test_times_are_in_utc(of_node):
    of_node("CacheHitRate", 97.5)
    at = read().series[0].latest.at
    assert at.utcoffset() == timedelta(0)
    assert datetime.now(UTC) - timedelta(minutes=5) < at < datetime.now(UTC)


def test_each_node_of_a_group_has_its_own_series(of_node, measure):
    of_node("ReplicationLag", 0.0)
    measure("ReplicationLag", 2.5, CacheClusterId="shop-002", CacheNodeId="0001")
    readings = read()
    assert [node.name for node in readings.target.nodes] == ["shop-001", "shop-002"]
    assert named(readings) == {
        ("shop-001", "ReplicationLag"): [0.0],
        ("shop-002", "ReplicationLag"): [2.5],
    }
    assert [series.node.name for series in readings.of(readings.target.nodes[1])] == ["shop-002"]


def test_the_shards_of_a_cluster_are_found(ask, amazon, settings, group):
    ask("elasticache").create_replication_group(
        ReplicationGroupId="wide",
        ReplicationGroupDescription="sessions",
        ClusterMode="enabled",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=1,
    )
    settings.ELASTICACHE_SESSIONS = {
        "CLOUDWATCH": {"REPLICATION_GROUP_ID": "wide", "REGION": "eu-central-1"}
    }
    nodes = read().target.nodes
    assert [(node.shard, node.name) for node in nodes] == [
        ("0001", "wide-0001-001"),
        ("0001", "wide-0001-002"),
        ("0002", "wide-0002-001"),
        ("0002", "wide-0002-002"),
    ]


def test_the_series_of_a_serverless_cache_are_read(measure, serverless):
    measure("ElastiCacheProcessingUnits", 1234.0, clusterId=serverless)
    measure("ThrottledCmds", 0.0, clusterId=serverless)
    measure("BytesUsedForCache", 5e6, CacheClusterId=serverless)
    assert named(read()) == {
        (serverless, "ElastiCacheProcessingUnits"): [1234.0],
        (serverless, "ThrottledCmds"): [0.0],
    }


def test_metrics_of_the_other_kind_are_not_asked_for(of_node, measure, serverless, settings):
    measure("EngineCPUUtilization", 3.0, clusterId=serverless)
    assert named(read()) == {}


def test_a_metric_without_data_is_left_out_and_is_not_zero(of_node):
    of_node("CurrItems", 5.0, minutes=90)
    of_node("Evictions", 0.0)
    assert named(read()) == {("shop-001", "Evictions"): [0.0]}


def test_amazon_is_asked_once_for_everything_and_then_not_for_a_minute(of_node, amazon):
    of_node("CurrItems", 5.0)
    amazon.requests.clear()
    for _ in range(3):
        read()
    assert amazon.calls == {"DescribeReplicationGroups": 1, "GetMetricData": 1}


def test_amazon_is_asked_again_after_a_minute(of_node, amazon, monkeypatch):
    of_node("CurrItems", 5.0)
    monkeypatch.setattr(reading, "KEEP_SECONDS", 0.0)
    read()
    of_node("CurrItems", 6.0, minutes=1)
    assert named(read())["shop-001", "CurrItems"][-1] == 6.0


def test_many_who_ask_at_once_wait_for_one_answer(of_node, amazon):
    of_node("CurrItems", 5.0)
    amazon.requests.clear()
    found: list[cloudwatch.Readings] = []
    threads = [threading.Thread(target=lambda: found.append(read())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert amazon.calls["GetMetricData"] == 1


def test_who_will_not_wait_is_told_and_the_answer_is_there_for_the_next(of_node, amazon):
    of_node("CurrItems", 5.0)
    amazon.hold("GetMetricData")
    with pytest.raises(AWSUnavailable, match=r"has not answered within 0\.05 seconds"):
        cloudwatch.read(patience_seconds=0.05)
    amazon.let_go()
    assert named(read()) == {("shop-001", "CurrItems"): [5.0]}
    assert amazon.calls["GetMetricData"] == 1


def test_more_metrics_than_one_call_takes_are_asked_for_in_several(of_node, amazon, monkeypatch):
    of_node("CacheHitRate", 97.5)
    of_node("TrafficManagementActive", 1.0)
    monkeypatch.setattr(reading, "_MOST_QUERIES", 10)
    amazon.requests.clear()
    assert len(named(read())) == 2
    assert amazon.calls["GetMetricData"] == 4


def test_without_the_setting_the_line_to_write_is_told(settings):
    settings.ELASTICACHE_SESSIONS = {}
    with pytest.raises(ImproperlyConfigured, match="REPLICATION_GROUP_ID"):
        read()


def test_every_metric_has_a_title_of_its_own():
    for metrics in (cloudwatch.metrics.OF_NODES, cloudwatch.metrics.OF_SERVERLESS):
        assert len({str(metric.title) for metric in metrics}) == len(metrics)
        assert len({metric.name for metric in metrics}) == len(metrics)


def test_the_page_names_every_metric_and_the_nodes_of_one_question():
    page = (Path(__file__).resolve().parents[2] / "docs" / "cloudwatch.rst").read_text("utf-8")
    metrics = {*cloudwatch.metrics.OF_NODES, *cloudwatch.metrics.OF_SERVERLESS}
    assert [metric.name for metric in metrics if f"``{metric.name}``" not in page] == []
    nodes = reading._MOST_QUERIES // len(cloudwatch.metrics.OF_NODES)
    assert f"for up to {nodes} nodes; once for each {nodes} beyond" in page
