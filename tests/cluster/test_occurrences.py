"""What processes count for CloudWatch, while a node of the cluster is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from django_elasticache_sessions import breaker
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.homes import get_homes

from ..servers.cluster import ValkeyCluster
from ..servers.names import Names
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from .conftest import point_sessions_at_cluster
from .test_faults import key_on

GROUP = {"REPLICATION_GROUP_ID": "shop", "REGION": "eu-central-1"}


@pytest.fixture
def cluster(settings, fallback_database) -> Iterator[ValkeyCluster]:
    """Three nodes without replicas, counts that go to one of them, and rows in SQLite."""
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16, "CLOUDWATCH": GROUP}
    fallback_database("sqlite")
    with ValkeyCluster(replicas=False) as cluster:
        point_sessions_at_cluster(settings, cluster)
        yield cluster


@pytest.fixture
def counting(cluster) -> Valkey:
    """The node that has the counts."""
    return cluster.primary_of(get_configuration().naming.occurrences)


@pytest.fixture
def others(cluster, counting) -> list[Valkey]:
    """The others."""
    return [node for node in cluster.primaries if node is not counting]


def counted(node: Valkey) -> int:
    return int(node.client().hget(get_configuration().naming.occurrences, "fallback_loads") or 0)


def read(key: str) -> object:
    return SessionStore(key)["a"]


async def aread(key: str) -> object:
    return await SessionStore(key).aget("a")


@pytest.mark.parametrize("read", [read, lambda key: asyncio.run(aread(key))], ids=["sync", "async"])
def test_counts_that_cannot_be_sent_keep_no_other_session_from_the_cache(
    cluster, counting, others, read
):
    lost = key_on(cluster, counting, SessionStore, a=1)
    kept = [key_on(cluster, node, SessionStore, a=1) for node in others]
    counting.kill()
    for _ in range(3):
        assert read(lost) == 1
    for key in kept:
        for _ in range(3):
            assert read(key) == 1
    # None more: the others were read from the cache.
    assert get_homes().occurrences.take() == {"fallback_loads": 3}


def test_they_arrive_once_the_node_is_back(cluster, counting, others):
    lost = key_on(cluster, counting, SessionStore, a=1)
    kept = key_on(cluster, others[0], SessionStore, a=1)
    counting.kill()
    for _ in range(5):
        assert (read(lost), read(kept)) == (1, 1)
    counting.start()
    cluster.wait_until_whole()
    # What it had is gone with it, and read from the database once more.
    wait_until(lambda: [read(lost), read(kept)] == [1, 1] and counted(counting), what="counts")
    assert counted(counting) == 6


def test_what_arrived_is_not_sent_again(cluster, counting, others):
    lost = key_on(cluster, others[0], SessionStore, a=1)
    kept = key_on(cluster, others[1], SessionStore, a=1)
    others[0].kill()
    for _ in range(5):
        assert read(lost) == 1
    assert read(kept) == 1
    assert counted(counting) == 5


def test_nobody_waits_for_a_node_for_their_sake(cluster, counting, others, monkeypatch):
    lost = key_on(cluster, counting, SessionStore, a=1)
    kept = key_on(cluster, others[0], SessionStore, a=1)
    # A node that did not serve is tried by everybody who needs it.
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 1e-6)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 1e-6)
    counting.kill()
    with Names() as names:
        assert read(lost) == 1
        assert counting.port in names.ports
        names.ports.clear()
        for _ in range(5):
            assert read(kept) == 1
        assert counting.port not in names.ports
