"""What the doctor says of a cluster: each of its primaries is examined, the worst is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.doctor import permissions

from .. import test_doctor
from ..servers.cluster import ValkeyCluster
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from ..test_doctor import PASSWORD, ROOMY, found, levels
from .conftest import point_sessions_at_cluster

RULES = permissions.rules("session", is_durable=True, in_cluster=True)
durable = test_doctor.durable
USER = f"app on >{PASSWORD} {RULES}"


@contextmanager
def a_cluster(settings, *, acl: str = USER, **options: object) -> Iterator[ValkeyCluster]:
    config = {**ROOMY, "maxmemory-policy": "volatile-ttl"}
    with ValkeyCluster(acl=[acl], config=config, **options) as cluster:
        point_sessions_at_cluster(settings, cluster, USERNAME="app", PASSWORD=PASSWORD)
        yield cluster


@pytest.fixture(scope="module")
def _cluster() -> Iterator[ValkeyCluster]:
    with ValkeyCluster(acl=[USER], config=ROOMY) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster, settings) -> ValkeyCluster:
    """A cluster as it should be, and sessions kept there by a user who may just do that."""
    _cluster.flush()
    point_sessions_at_cluster(settings, _cluster, USERNAME="app", PASSWORD=PASSWORD)
    return _cluster


def save(count: int) -> None:
    for _ in range(count):
        session = SessionStore()
        session["a"] = 1
        session.save()


def stored(cluster: ValkeyCluster) -> list[bytes]:
    return sorted(key for client in cluster.clients() for key in client.scan_iter())


def set_on(node: Valkey, name: str, value: object) -> None:
    with node.client() as client:
        client.config_set(name, value)


def test_all_is_well_with_replicas_a_user_and_a_database(cluster, durable):
    assert levels(CACHED_DB_ENGINE) == {
        "settings": "ok",
        "transport": "advice",
        "user": "ok",
        "permissions": "ok",
        "clock": "ok",
        "server": "ok",
        "eviction policy": "ok",
        "evictions": "ok",
        "memory": "ok",
        "replica 0": "ok",
        "cluster": "ok",
        "hash encoding": "ok",
        "replication id": "ok",
        "waiting for the database": "ok",
        f"database {durable!r}": "ok",
        "waiting for the cache": "ok",
    }


def test_what_lies_on_it_is_left_alone(cluster, durable):
    save(20)
    before = stored(cluster)
    for engine in (CACHE_ENGINE, CACHED_DB_ENGINE):
        levels(engine)
    assert stored(cluster) == before


@pytest.mark.parametrize("number", range(3))
def test_a_policy_of_one_primary_that_loses_sessions_is_told_with_its_address(cluster, number):
    node = cluster.primaries[number]
    set_on(node, "maxmemory-policy", "allkeys-lru")
    try:
        finding = found()["eviction policy"]
    finally:
        set_on(node, "maxmemory-policy", "noeviction")
    assert finding.level == "problem"
    assert finding.found.startswith(f"{node.host}:{node.port}: allkeys-lru")


@pytest.mark.parametrize("number", range(3))
def test_the_memory_of_the_fullest_primary_is_told(cluster, number):
    node = cluster.primaries[number]
    with node.client() as client:
        used = int(client.info("memory")["used_memory"])
    set_on(node, "maxmemory", int(used / 0.8))
    try:
        finding = found()["memory"]
    finally:
        set_on(node, "maxmemory", ROOMY["maxmemory"])
    assert finding.level == "advice"
    assert finding.found.startswith(f"{node.host}:{node.port}, the fullest: ")


def test_evictions_of_all_primaries_are_added_up(settings):
    with a_cluster(settings, replicas=False) as cluster:
        for node in cluster.primaries:
            key = next(f"k{n}" for n in range(1000) if cluster.primary_of(f"k{n}") is node)
            with node.client() as client:
                client.set(key, "x", ex=1000)
                client.config_set("maxmemory", 1)
                with pytest.raises(redis.exceptions.OutOfMemoryError):
                    client.set(key, "y")
                client.config_set("maxmemory", ROOMY["maxmemory"])
        assert found()["evictions"].found.startswith("3 keys")


def test_a_primary_without_a_replica_is_advised(settings):
    with a_cluster(settings) as cluster:
        bare = cluster.primaries[2]
        cluster.replica_of(bare).stop()
        with bare.client() as client:
            wait_until(
                lambda: not client.info("replication")["connected_slaves"], what="the replica gone"
            )
        findings = found()
        assert findings["replica 0"].level == "ok"
        assert findings["replication"].level == "advice"
        assert f"{bare.host}:{bare.port}: no replica" in findings["replication"].found


def test_a_primary_that_is_lost_is_a_problem_of_the_cluster(settings, durable):
    with a_cluster(settings, replicas=False) as cluster:
        lost = cluster.primaries[1]
        lost.kill()
        finding = found()["cluster"]
        assert finding.level == "problem"
        assert f"127.0.0.1:{lost.port}" in finding.found
        assert levels(CACHED_DB_ENGINE)[f"database {durable!r}"] == "ok"


def test_a_user_who_may_not_ask_for_the_slots_is_told_the_permission(settings):
    with a_cluster(settings, replicas=False, acl=USER.replace(" +cluster|slots", "")):
        finding = found()["session cache"]
        assert finding.level == "problem"
        assert "+cluster|slots" in finding.mend


def test_the_rule_for_a_user_has_what_a_cluster_needs(settings):
    with a_cluster(settings, replicas=False, acl=f"{USER} +dbsize"):
        finding = found()["permissions"]
        assert finding.level == "advice"
        assert "+cluster|slots" in finding.mend


def test_sessions_are_told_as_spread_over_the_primaries(cluster):
    naming = get_configuration().naming
    for number, index in enumerate(naming.live_indexes()):
        with cluster.primary_of(index).client() as client:
            # What is counted are the entries of the buckets' indexes.
            client.zadd(index, {f"{number:010}{n:012}": -(2**40) for n in range(12)})
    finding = found()["cluster"]
    assert finding.level == "ok"
    assert finding.found.startswith("3 primaries; the fullest has 3")


def test_sessions_of_all_primaries_are_looked_at(cluster):
    # As the template sets it; the metadata is longer than what servers come with.
    cluster.tell_all("CONFIG", "SET", "hash-max-listpack-value", "256")
    cluster.tell_all("ACL", "SETUSER", "app", "+object|encoding")
    save(20)
    try:
        finding = found()["hash encoding"]
    finally:
        cluster.tell_all("ACL", "SETUSER", "app", "-object|encoding")
        cluster.tell_all("CONFIG", "SET", "hash-max-listpack-value", "64")
    assert finding.level == "ok"
    assert finding.found.startswith("all of ")
