"""Fixtures: Amazon's APIs at a moto server, and settings that ask there."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.servers.aws import REGION, Aws, Moto

SECRET = "canary0secret"


@pytest.fixture
def amazon(aws: Aws, moto: Moto, monkeypatch) -> Aws:
    """Amazon, empty, as boto3 finds it, with keys that moto takes."""
    moto.reset()
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return aws


@pytest.fixture
def ask(amazon: Aws) -> Callable[[str], Any]:
    """Make a client of ours, beside those of the package."""
    return lambda service: boto3.client(service, region_name=REGION)


@pytest.fixture
def group(ask, amazon: Aws, settings) -> str:
    """A replication group with a replica, named in the settings."""
    ask("elasticache").create_replication_group(
        ReplicationGroupId="shop",
        ReplicationGroupDescription="sessions",
        Engine="valkey",
        ReplicasPerNodeGroup=1,
        AtRestEncryptionEnabled=True,
        TransitEncryptionEnabled=True,
        AutomaticFailoverEnabled=True,
        MultiAZEnabled=True,
        SnapshotRetentionLimit=1,
    )
    name_cache(settings, REPLICATION_GROUP_ID="shop")
    amazon.requests.clear()
    return "shop"


@pytest.fixture
def serverless(amazon: Aws, settings) -> str:
    """A serverless cache, named in the settings."""
    amazon.describe_serverless("shop-sls")
    name_cache(settings, SERVERLESS_CACHE_NAME="shop-sls")
    return "shop-sls"


def name_cache(settings, **options: str) -> None:
    """Set `CLOUDWATCH`, in the tests' region unless another is given."""
    settings.ELASTICACHE_SESSIONS = {
        **getattr(settings, "ELASTICACHE_SESSIONS", {}),
        "CLOUDWATCH": {"REGION": REGION, **options},
    }


@pytest.fixture
def measure(ask) -> Callable[..., None]:
    """Have AWS/ElastiCache hold a value, `minutes` old."""

    def put(metric: str, value: float, *, minutes: float = 2, **dimensions: str) -> None:
        at = datetime.fromtimestamp(time.time() - 60 * minutes, UTC)
        ask("cloudwatch").put_metric_data(
            Namespace="AWS/ElastiCache",
            MetricData=[
                {
                    "MetricName": metric,
                    "Value": value,
                    "Timestamp": at,
                    "Dimensions": [
                        {"Name": name, "Value": text} for name, text in dimensions.items()
                    ],
                }
            ],
        )

    return put


@pytest.fixture
def of_node(measure, group) -> Callable[..., None]:
    """Have AWS/ElastiCache hold a value of the group's first node."""
    return lambda metric, value, **more: measure(
        metric, value, **more, CacheClusterId="shop-001", CacheNodeId="0001"
    )
