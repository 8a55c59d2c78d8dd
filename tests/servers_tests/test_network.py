"""A cluster in a network that is cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from ..servers.cluster import ValkeyCluster
from ..servers.network import Network
from ..servers.ports import LOOPBACK
from ..servers.releases import CHOSEN
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    if CHOSEN.release == "redis-6.2":
        pytest.skip("its nodes cannot connect from an address of their own")
    with Network() as network, ValkeyCluster(network=network) as cluster:
        yield cluster


def visitor(cluster: ValkeyCluster, node: Valkey) -> redis.Redis:
    """Return a client that comes through the network."""
    return redis.Redis(LOOPBACK, cluster.port_of(node), socket_timeout=0.3, retry=None)


def test_clients_can_be_cut_off_alone(cluster):
    node = cluster.primary_of("key")
    with visitor(cluster, node) as client:
        client.set("key", "value")
        with cluster.cut_off(node, from_clients=True):
            with pytest.raises(redis.TimeoutError):
                client.get("key")
            with pytest.raises(redis.TimeoutError):
                visitor(cluster, node).get("key")
            with node.client() as unhindered:
                assert unhindered.get("key") == b"value"
            cluster.wait_until_whole()
        assert client.get("key") == b"value"


def test_what_is_said_meanwhile_arrives_afterwards(cluster):
    node = cluster.primary_of("key")
    with visitor(cluster, node) as client, node.client() as unhindered:
        client.set("key", "old")
        with cluster.cut_off(node, from_clients=True):
            with pytest.raises(redis.TimeoutError):
                client.set("key", "late")
            assert unhindered.get("key") == b"old"
        wait_until(lambda: unhindered.get("key") == b"late", what="it arrived")


def test_peers_replace_a_node_that_they_are_cut_off_from(cluster):
    node = cluster.primary_of("key")
    replica = cluster.replica_of(node)
    with cluster.cut_off(node, from_peers=True):
        with visitor(cluster, replica) as client:
            wait_until(lambda: client.info("replication")["role"] == "master", what="the other")
        with visitor(cluster, node) as client:
            assert client.info("replication")["role"] == "master"
            wait_until(lambda: is_refused(client), what="the minority to give up")
    cluster.wait_until_replica(node)
    cluster.wait_until_whole()
    assert cluster.primary_of("key") is replica


def is_refused(client: redis.Redis) -> bool:
    try:
        client.get("key")
    except redis.exceptions.ClusterDownError:
        return True
    return False
