"""Sessions through django-redis's Sentinel factory, sync and async."""

from __future__ import annotations

import asyncio
import copy
import gc

import pytest

from django_elasticache_sessions.backends.cache import SessionStore

from .contents import stored_keys
from .servers.valkey import SERVICE_NAME, Valkey


@pytest.fixture
def watched(settings):
    """A primary that a Sentinel watches, and sessions kept where the Sentinel says."""
    with Valkey() as primary, Valkey(sentinel=True, monitors=primary) as sentinel:
        caches = copy.deepcopy(settings.CACHES)
        caches["sessions"] = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{SERVICE_NAME}/0",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                "SENTINELS": [(sentinel.host, sentinel.port)],
                "SOCKET_TIMEOUT": 2,
            },
        }
        settings.CACHES = caches
        yield primary


def test_a_session_is_kept_on_the_primary(watched):
    session = SessionStore()
    session["a"] = 1
    session.save()
    session.cycle_key()
    assert SessionStore(session.session_key)["a"] == 1
    assert len(stored_keys(watched.client())) == 2


def test_it_is_kept_there_asynchronously_too(watched):
    async def use() -> object:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        await session.acycle_key()
        return await SessionStore(session.session_key).aget("a")

    assert asyncio.run(use()) == 1
    assert len(stored_keys(watched.client())) == 2


def test_a_loop_takes_its_connections_to_the_sentinels_with_it(watched):
    async def use() -> None:
        await SessionStore("no-such-session-" * 2).aget("a")

    asyncio.run(use())
    # The driver of a loop that has ended goes when another begins.
    asyncio.run(use())
    # Whatever is left open is an error here.
    gc.collect()
