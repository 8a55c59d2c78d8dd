"""The name of a configuration endpoint that leads to other nodes: a cluster in place of another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from ..conftest import point_sessions_at
from ..servers.cluster import ValkeyCluster
from ..servers.names import Names
from ..servers.relay import Relay
from ..servers.waiting import wait_until
from .conftest import FACTORY
from .test_faults import keys_on_each

NAME = "clustercfg.cache.test"


@pytest.fixture
def endpoint(settings) -> Iterator[tuple[ValkeyCluster, ValkeyCluster, Names]]:
    """Two clusters, and a name that leads to the first."""
    with (
        ValkeyCluster(replicas=False) as first,
        ValkeyCluster(replicas=False) as second,
        Relay(second.primaries[0].host, second.primaries[0].port, at=("127.0.0.3", port_of(first))),
        Names() as names,
    ):
        names.lead(NAME, "127.0.0.1")
        settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
        url = f"redis://{NAME}:{port_of(first)}/0"
        point_sessions_at(settings, url, is_patient=False, CONNECTION_FACTORY=FACTORY, CLUSTER=True)
        yield first, second, names


def port_of(cluster: ValkeyCluster) -> int:
    return cluster.primaries[0].port


def save() -> str:
    session = SessionStore()
    session["a"] = 1
    session.save()
    return str(session.session_key)


async def asave() -> str:
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    return str(session.session_key)


@pytest.mark.parametrize("save", [save, lambda: asyncio.run(asave())], ids=["sync", "async"])
def test_once_no_node_serves_the_name_is_asked_again(endpoint, save):
    first, second, names = endpoint
    keys_on_each(first, a=1)
    names.lead(NAME, "127.0.0.3")
    for node in first.nodes:
        node.kill()
    names.asked.clear()
    wait_until(lambda: is_served(save), what="a session kept in the other cluster")
    assert NAME in names.asked
    assert sum(client.dbsize() for client in second.clients()) > 0


def is_served(save: Callable[[], str]) -> bool:
    try:
        return bool(save())
    except SessionStoreUnavailable:
        return False
