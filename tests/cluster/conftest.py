"""Fixtures: a cluster for the run, emptied for each test, in the place of the one server."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import redis

from django_elasticache_sessions.elasticache.clients import ClusterClient

from ..conftest import point_sessions_at
from ..servers.cluster import ValkeyCluster
from ..servers.relay import Relay

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"


@pytest.fixture(scope="session")
def steady_cluster() -> Iterator[ValkeyCluster]:
    """One cluster for all tests that break nothing."""
    with ValkeyCluster() as cluster:
        yield cluster


@pytest.fixture
def valkey(steady_cluster: ValkeyCluster, settings) -> Iterator[redis.RedisCluster]:
    """An empty cluster that sessions are kept in, as its administrator sees it."""
    steady_cluster.flush()
    point_sessions_at_cluster(settings, steady_cluster)
    client = ClusterClient.from_url(steady_cluster.administrators_url, socket_timeout=10)
    yield client
    client.close()


@pytest.fixture(params=["cache", "cached_db"])
def engine(request, settings, valkey, fallback_database):
    """The `SessionStore` of either engine; `cached_db` with SQLite."""
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{request.param}"
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    if request.param == "cached_db":
        fallback_database("sqlite")
    return import_module(settings.SESSION_ENGINE).SessionStore


@pytest.fixture
def breakable(settings) -> Iterator[ValkeyCluster]:
    """A cluster of the test's own, and sessions kept there with the usual timeouts."""
    with ValkeyCluster() as cluster:
        point_sessions_at_cluster(settings, cluster, is_patient=False)
        options = getattr(settings, "ELASTICACHE_SESSIONS", {})
        settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16, **options}
        yield cluster


@pytest.fixture
def relay() -> Relay:
    """Nodes tell their own addresses, past a relay."""
    pytest.skip("a relay stands in front of one server")


def point_sessions_at_cluster(
    settings: Any, cluster: ValkeyCluster, *, is_patient: bool = True, **options: object
) -> None:
    """Keep sessions in a cluster."""
    point_sessions_at(
        settings,
        cluster.url,
        is_patient=is_patient,
        CONNECTION_FACTORY=FACTORY,
        CLUSTER=True,
        **options,
    )
