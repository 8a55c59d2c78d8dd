"""What processes count for CloudWatch, while the cache takes no writes."""

from __future__ import annotations

import asyncio

import pytest

from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.homes import get_homes

from .conftest import point_sessions_at
from .servers.valkey import Valkey

GROUP = {"REPLICATION_GROUP_ID": "shop", "REGION": "eu-central-1"}


@pytest.fixture
def full(settings, fallback_database):
    """A session in both homes, of which the cache has no room for a single count."""
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    settings.ELASTICACHE_SESSIONS = {"CLOUDWATCH": GROUP}
    fallback_database("sqlite")
    with Valkey(config={"maxmemory-policy": "noeviction"}) as server:
        point_sessions_at(settings, server.url)
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert SessionStore(session.session_key)["a"] == 1
        server.client().config_set("maxmemory", 1)
        yield session.session_key


def read(key: str) -> object:
    return SessionStore(key)["a"]


async def aread(key: str) -> object:
    return await SessionStore(key).aget("a")


@pytest.mark.parametrize("read", [read, lambda key: asyncio.run(aread(key))], ids=["sync", "async"])
def test_counts_that_a_full_cache_refuses_send_no_read_to_the_database(full, read):
    get_homes().occurrences.note("fallback_loads")
    for _ in range(10):
        assert read(full) == 1
    assert get_homes().occurrences.take() == {"fallback_loads": 1}
