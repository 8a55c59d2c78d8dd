"""The documented user of the server is allowed what a cluster needs, and nothing more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command

from django_elasticache_sessions import live, rekey
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.elasticache.clients import ClusterClient
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.synchronization import synchronize

from ..conftest import point_sessions_at
from ..servers.cluster import ValkeyCluster
from ..test_acl import PAGE, documented_user, template_user, test_it_is_refused_everything_else
from .conftest import FACTORY

__all__ = ["test_it_is_refused_everything_else"]

ADDED = re.compile(r"ACL SETUSER app (\+cluster\|slots)\n\s+ACL SETUSER app (\+client\|setname)\n")
IN_CLUSTERS, WITH_NAMES = ADDED.search(PAGE.read_text(encoding="utf-8")).groups()
USERS = {
    "page": f"{documented_user(durable=True)} {IN_CLUSTERS}",
    "template": template_user(),
}


@pytest.fixture(scope="module", params=USERS)
def cluster(request) -> Iterator[ValkeyCluster]:
    """A cluster with that user."""
    with ValkeyCluster(replicas=False, acl=[USERS[request.param]]) as cluster:
        yield cluster


@pytest.fixture
def valkey(cluster, settings) -> Iterator[redis.RedisCluster]:
    """Keep sessions in an empty cluster as that user; see it as one that may do everything."""
    cluster.flush()
    as_that_user(settings, cluster)
    client = ClusterClient.from_url(cluster.administrators_url, socket_timeout=10)
    yield client
    client.close()


@pytest.fixture(params=["cache", "sqlite"])
def engine(request, valkey, nothing_is_refused):
    """The session store of either engine."""
    if request.param == "cache":
        return SessionStore
    request.getfixturevalue("fallback_database")("sqlite")
    return DurableSessionStore


@pytest.fixture
def restricted(cluster):
    """Return a node."""
    return cluster.primaries[0]


@pytest.fixture
def nothing_is_refused(cluster) -> Iterator[None]:
    """See to it that nothing else was asked for, of which no test would tell."""
    with nothing_refused_by(cluster):
        yield


@contextmanager
def nothing_refused_by(cluster: ValkeyCluster) -> Iterator[None]:
    """See to it that nothing is asked for that is refused, but what redis-py tells of itself."""
    cluster.tell_all("ACL", "LOG", "RESET")
    yield
    refused = {one["object"] for log in cluster.tell_all("ACL LOG") for one in log}
    assert refused <= {"client|setinfo"}


def as_that_user(settings, cluster: ValkeyCluster, **options: object) -> None:
    """Keep sessions in a cluster as the user `app`."""
    url = cluster.url.replace("redis://", "redis://app:password@")
    point_sessions_at(settings, f"{url}/0", CONNECTION_FACTORY=FACTORY, CLUSTER=True, **options)


@pytest.mark.parametrize("writes", ["through", "behind"])
def test_every_operation_works_under_it(engine, settings, writes):
    settings.SESSION_ENGINE = engine.__module__
    settings.ELASTICACHE_SESSIONS = {
        **getattr(settings, "ELASTICACHE_SESSIONS", {}),
        "INDEX_BUCKETS": 16,
        "FALLBACK_WRITES": writes,
    }
    session = engine()
    session.update({SESSION_KEY: "7", "cart": [1], "gone": 1})
    session.save()
    session["cart"].append(2)
    del session["gone"]
    session.set_expiry(100)
    session.save()
    session.cycle_key()
    assert engine(session.session_key)["cart"] == [1, 2]
    assert asyncio.run(engine(session.session_key).aget("cart")) == [1, 2]
    assert engine().exists(session.session_key)
    assert rekey.rekey_sessions(batch_size=10).seen == 1
    if engine is DurableSessionStore:
        assert synchronize(batch_size=10).waiting == 0
    assert live.count() == (1, 0)
    assert live.get(live.page().sessions[0].session_id, with_values=True).values["cart"] == [1, 2]
    assert len(live.for_user(7)) == 1
    assert live.stats().problems == {}
    call_command("clearsessions_cache", "--reindex", "--idle-for", "1d", "--no-input")
    engine.clear_expired()
    assert live.end_for_user(7) == 1
    assert live.count() == (0, 0)


def test_a_name_needs_a_permission_of_its_own(cluster, valkey, settings):
    as_that_user(settings, cluster, CLIENT_NAME="shop")
    match = r"lacks a permission; allow it \+client\|setname, or remove CLIENT_NAME"
    with pytest.raises(SessionStoreUnavailable, match=match):
        SessionStore("some-session-key-that-nobody-has").get("a")
    permit(cluster, WITH_NAMES)
    try:
        as_that_user(settings, cluster, CLIENT_NAME="shop")
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert asyncio.run(SessionStore(session.session_key).aget("a")) == 1
        assert "shop" in {one["name"] for one in cluster.primaries[0].client().client_list()}
    finally:
        permit(cluster, WITH_NAMES.replace("+", "-"))


def test_without_the_permission_of_clusters_it_is_told(cluster, valkey, settings):
    permit(cluster, IN_CLUSTERS.replace("+", "-"))
    try:
        as_that_user(settings, cluster)
        with pytest.raises(SessionStoreUnavailable, match=r"lacks .*; allow it \+cluster\|slots"):
            SessionStore("some-session-key-that-nobody-has").get("a")
    finally:
        permit(cluster, IN_CLUSTERS)


def permit(cluster: ValkeyCluster, rules: str) -> None:
    """Change what the user may do, at every node."""
    cluster.tell_all("ACL", "SETUSER", "app", *rules.split())
