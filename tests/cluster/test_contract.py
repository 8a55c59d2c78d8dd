"""Everything that Django promises of a session, in a cluster."""

from __future__ import annotations

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore

from ..contract.test_session_store import *  # noqa: F403

#: Another database than 0 of the same server: a cluster has none.
TestTheCacheAlias = None


@pytest.fixture(params=["cache", "sqlite"])
def engine(request, valkey):
    """The session store of either engine."""
    if request.param == "cache":
        return SessionStore
    request.getfixturevalue("fallback_database")("sqlite")
    return DurableSessionStore
