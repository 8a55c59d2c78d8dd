"""Everything that Django promises of a session, in a cluster, for the documented user of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore

from ..contract.test_session_store import *  # noqa: F403
from ..servers.cluster import ValkeyCluster
from .test_acl import USERS, as_that_user, nothing_refused_by, permit

#: Another database than 0 of the same server: a cluster has none.
TestTheCacheAlias = None


@pytest.fixture(scope="module")
def restricted(steady_cluster) -> Iterator[ValkeyCluster]:
    """The cluster for all tests, which knows that user meanwhile."""
    permit(steady_cluster, f"reset on {USERS['template'].removeprefix('app ')}")
    yield steady_cluster
    steady_cluster.tell_all("ACL", "DELUSER", "app")


@pytest.fixture(params=["cache", "sqlite"])
def engine(request, settings, valkey, restricted):
    """The session store of either engine, as that user, of whom nothing may be refused."""
    as_that_user(settings, restricted)
    if request.param == "sqlite":
        request.getfixturevalue("fallback_database")("sqlite")
    with nothing_refused_by(restricted):
        yield SessionStore if request.param == "cache" else DurableSessionStore
