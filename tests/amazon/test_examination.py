"""The doctor on Amazon's side: what ElastiCache and CloudWatch say of the cache."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE
from django_elasticache_sessions.doctor import Finding, cloud, examine
from tests.servers.aws import REGION, Aws
from tests.servers.http import Answer
from tests.servers.ports import LOOPBACK, free_port

from .conftest import name_cache

TOPIC = f"arn:aws:sns:{REGION}:123456789012:operators"
NODE = {"CacheClusterId": "shop-001", "CacheNodeId": "0001"}
NODES = (NODE, {"CacheClusterId": "shop-002", "CacheNodeId": "0001"})


@pytest.fixture(autouse=True)
def store(valkey):
    """A session cache that answers."""
    return valkey


@pytest.fixture
def alarm(ask):
    """Make an alarm on a metric."""

    def put(metric: str, *, more: Mapping[str, object] | None = None, **dimensions: str) -> None:
        """On a node, or on both of the group's."""
        if not dimensions:
            for node in NODES:
                put(metric, more=more, **node)
            return
        how = {"ActionsEnabled": True, "AlarmActions": [TOPIC], **(more or {})}
        ask("cloudwatch").put_metric_alarm(
            **how,
            AlarmName=f"{metric} of {dimensions}",
            Namespace="AWS/ElastiCache",
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": text} for name, text in dimensions.items()],
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=80,
            ComparisonOperator="GreaterThanThreshold",
        )

    return put


def found(engine: str = CACHE_ENGINE) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(engine)}


def test_a_group_that_is_as_it_should_be(group, alarm):
    for metric in ("DatabaseMemoryUsagePercentage", "Evictions", "EngineCPUUtilization"):
        alarm(metric)
    findings = found()
    for subject in (
        "ElastiCache",
        "encryption at rest",
        "encryption in transit",
        "automatic failover",
        "Multi-AZ",
        "backups",
        "alarms",
    ):
        assert findings[subject].level == "ok", findings[subject]


def test_a_group_that_is_not(ask, amazon, settings):
    ask("elasticache").create_replication_group(
        ReplicationGroupId="bare", ReplicationGroupDescription="sessions"
    )
    name_cache(settings, REPLICATION_GROUP_ID="bare")
    levels = {subject: finding.level for subject, finding in found().items()}
    assert levels["ElastiCache"] == "ok"
    assert levels["encryption at rest"] == "problem"
    assert levels["encryption in transit"] == "problem"
    assert levels["automatic failover"] == "problem"
    assert levels["Multi-AZ"] == "advice"
    assert levels["backups"] == "advice"
    assert levels["alarms"] == "advice"


def test_backups_are_not_missed_where_the_database_has_every_session():
    findings = {one.subject: one for one in cloud.judge_group({}, is_durable=True)}
    assert findings["backups"].level == "ok"


@pytest.mark.parametrize(
    ("is_on", "mode", "level"),
    [
        (True, "required", "ok"),
        (True, None, "ok"),
        (True, "preferred", "advice"),
        (False, None, "problem"),
    ],
)
def test_encryption_that_a_client_may_leave_out_is_advised(is_on, mode, level):
    group = {"TransitEncryptionEnabled": is_on, "TransitEncryptionMode": mode}
    findings = {one.subject: one for one in cloud.judge_group(group, is_durable=True)}
    assert findings["encryption in transit"].level == level


@pytest.mark.parametrize("more", [{"ActionsEnabled": False}, {"AlarmActions": []}])
def test_an_alarm_that_tells_nobody_is_advised(group, alarm, more):
    for metric in ("DatabaseMemoryUsagePercentage", "Evictions"):
        alarm(metric)
    alarm("EngineCPUUtilization", **NODES[0])
    alarm("EngineCPUUtilization", more=more, **NODES[1])
    finding = found()["alarms"]
    assert finding.level == "advice"
    assert finding.found == "EngineCPUUtilization: nobody is told"
    assert "ActionsEnabled" in finding.mend


def test_the_metrics_without_an_alarm_are_named(group, alarm):
    alarm("Evictions")
    alarm("DatabaseMemoryUsagePercentage", CacheClusterId="other-001", CacheNodeId="0001")
    assert found()["alarms"].found == (
        "none on DatabaseMemoryUsagePercentage, EngineCPUUtilization or CPUUtilization"
    )


def test_a_node_that_no_alarm_looks_at_is_named(group, alarm):
    for metric in ("DatabaseMemoryUsagePercentage", "EngineCPUUtilization"):
        alarm(metric)
    alarm("Evictions", **NODE)
    finding = found()["alarms"]
    assert finding.level == "advice"
    assert finding.found == "Evictions not of shop-002"
    assert "primary" in finding.mend


def test_the_load_of_small_nodes_may_be_that_of_the_whole_node(group, alarm):
    for metric in ("DatabaseMemoryUsagePercentage", "Evictions"):
        alarm(metric)
    alarm("CPUUtilization", **NODES[0])
    assert found()["alarms"].found == "CPUUtilization not of shop-002"
    alarm("EngineCPUUtilization", **NODES[1])
    assert found()["alarms"].level == "ok"


def test_an_alarm_by_replication_group_and_one_on_a_formula_count(group, alarm, ask):
    alarm("EngineCPUUtilization", ReplicationGroupId="shop")
    metric = {
        "Namespace": "AWS/ElastiCache",
        "MetricName": "DatabaseMemoryUsagePercentage",
        "Dimensions": [{"Name": name, "Value": text} for name, text in NODE.items()],
    }
    ask("cloudwatch").put_metric_alarm(
        AlarmName="formula",
        AlarmActions=[TOPIC],
        Metrics=[
            {"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}},
            {"Id": "e", "Expression": "m * 2", "ReturnData": True},
        ],
        EvaluationPeriods=1,
        Threshold=80,
        ComparisonOperator="GreaterThanThreshold",
    )
    assert found()["alarms"].found == "none on Evictions"


def test_a_serverless_cache_is_encrypted_and_spread_by_itself(serverless, alarm):
    for metric in ("ThrottledCmds", "BytesUsedForCache", "Evictions"):
        alarm(metric, clusterId=serverless)
    findings = found()
    for subject in ("ElastiCache", "encryption", "Multi-AZ", "alarms"):
        assert findings[subject].level == "ok", findings[subject]
    assert findings["backups"].level == "advice"


def test_the_alarms_that_a_serverless_cache_lacks_are_named(serverless, alarm):
    alarm("ThrottledCmds", clusterId=serverless)
    assert found()["alarms"].found == "none on BytesUsedForCache, Evictions"


def test_nothing_is_advised_that_a_serverless_cache_does_not_have(serverless, settings, valkey):
    settings.ELASTICACHE_SESSIONS |= {"COMPRESS_ABOVE_BYTES": None}
    session = SessionStore()
    session["a"] = "x" * 150
    session.save()
    valkey.config_set("maxmemory-policy", "volatile-lru")
    try:
        findings = found()
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")
    assert "replication" not in findings
    assert findings["eviction policy"].level == "advice"
    assert findings["eviction policy"].mend.startswith("Use the engine cached_db")
    assert "hash encoding" not in findings
    assert findings["memory"].level == "ok"
    mends = " ".join(finding.mend for finding in findings.values())
    for absent in ("parameter group", "replica", "maxmemory", "node type"):
        assert absent not in mends


def test_a_serverless_cache_with_snapshots_has_backups(serverless, amazon: Aws):
    amazon.describe_serverless(serverless, SnapshotRetentionLimit="7")
    assert found()["backups"].found == "kept for 7 days"


def test_a_cache_that_is_not_available_is_a_problem(serverless, amazon: Aws):
    amazon.describe_serverless(serverless, Status="deleting")
    assert found()["ElastiCache"].level == "problem"


def test_a_group_that_is_named_and_not_there_is_a_problem(group, settings):
    name_cache(settings, REPLICATION_GROUP_ID="shpo")
    finding = found()["ElastiCache"]
    assert finding.level == "problem"
    assert "Correct REGION and the cache's name" in finding.mend


def test_alarms_that_may_not_be_looked_at_are_unknown(group, amazon: Aws):
    amazon.answers["DescribeAlarms"] = Answer(status=403)
    finding = found()["alarms"]
    assert finding.level == "unknown"
    assert "cloudwatch:DescribeAlarms" in finding.mend


def test_the_cache_that_is_signed_in_to_by_iam_is_looked_at_too(group, settings):
    options = settings.ELASTICACHE_SESSIONS
    settings.ELASTICACHE_SESSIONS = {key: options[key] for key in options if key != "CLOUDWATCH"}
    assert "ElastiCache" not in found()
    caches = copy.deepcopy(settings.CACHES)
    caches["sessions"]["LOCATION"] = f"rediss://{LOOPBACK}:{free_port()}/0"
    caches["sessions"]["OPTIONS"] = {
        "CONNECTION_FACTORY": "django_elasticache_sessions.elasticache.ConnectionFactory",
        "IAM": {"USER": "app", "CACHE_NAME": "shop", "REGION": REGION},
    }
    settings.CACHES = caches
    assert found()["ElastiCache"].level == "ok"
    caches = copy.deepcopy(caches)
    caches["sessions"]["OPTIONS"]["IAM"]["CACHE_NAME"] = "elsewhere"
    settings.CACHES = caches
    assert found()["ElastiCache"].level == "unknown"


def test_amazon_is_not_asked_where_nothing_names_a_cache(amazon, settings):
    settings.ELASTICACHE_SESSIONS = {}
    found()
    assert not amazon.calls


@pytest.mark.parametrize("engine", [CACHE_ENGINE, CACHED_DB_ENGINE])
def test_an_amazon_that_fails_does_not_hide_the_server(group, amazon, engine, fallback_database):
    fallback_database("sqlite")
    amazon.answers["DescribeReplicationGroups"] = Answer(status=503)
    findings = found(engine)
    assert findings["server"].level == "ok"
    assert "HTTP 503" in findings["ElastiCache"].mend
