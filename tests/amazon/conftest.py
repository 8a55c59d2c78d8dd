"""Fixtures: Amazon's APIs at a moto server, and settings that ask there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from tests.servers.amazon import REGION, Front, Moto

SECRET = "canary0secret"


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """One moto server for the run."""
    with Moto() as server:
        yield server


@pytest.fixture
def amazon(moto: Moto, monkeypatch) -> Iterator[Front]:
    """Amazon, empty, as boto3 finds it; the machine's own settings for it are out of sight."""
    moto.reset()
    with Front(moto) as front:
        point_boto3_at(monkeypatch, front.url)
        yield front


def point_boto3_at(monkeypatch, url: str) -> None:
    """Have boto3 ask at an address, with keys that moto takes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ask(amazon: Front) -> Callable[[str], Any]:
    """Make a client of ours, beside those of the package."""
    return lambda service: boto3.client(service, region_name=REGION)


@pytest.fixture
def group(ask, amazon: Front, settings) -> str:
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
    amazon.calls.clear()
    return "shop"


@pytest.fixture
def serverless(amazon: Front, settings) -> str:
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
