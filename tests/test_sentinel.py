"""Sessions through django-redis's Sentinel factory, sync and async."""

from __future__ import annotations

import asyncio
import copy
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import origin, sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .contents import stored_keys
from .servers.valkey import SERVICE_NAME, Valkey
from .servers.waiting import wait_until

TIMEOUT_SECONDS = 0.25


def keep_sessions_by(settings, *sentinels: Valkey, **options: object) -> None:
    """Have sessions kept where these Sentinels say, the first one asked first."""
    caches = copy.deepcopy(settings.CACHES)
    caches["sessions"] = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"redis://{SERVICE_NAME}/0",
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [(sentinel.host, sentinel.port) for sentinel in sentinels],
            **options,
        },
    }
    settings.CACHES = caches


@pytest.fixture
def watched(settings):
    """A primary that a Sentinel watches, and sessions kept where the Sentinel says."""
    with Valkey() as primary, Valkey(sentinel=True, monitors=primary) as sentinel:
        keep_sessions_by(settings, sentinel, SOCKET_TIMEOUT=2)
        yield primary


class Split:
    """A primary whose replica is promoted, and which is not told: both say they are primaries."""

    def __init__(self, old: Valkey, new: Valkey, sentinel: Valkey) -> None:
        self.old, self.new, self.sentinel = old, new, sentinel

    def promote(self) -> None:
        """Have the replica take over, and the Sentinel say so. All sessions end at the new one."""
        # Or it would soon have a replica of it again.
        self.sentinel.client().sentinel_remove(SERVICE_NAME)
        self.new.client().execute_command("REPLICAOF", "NO", "ONE")
        self.new.client().flushall()
        self._monitor(self.new)

    def lead_to(self, server: Valkey) -> None:
        """Have the Sentinel name another primary."""
        self.sentinel.client().sentinel_remove(SERVICE_NAME)
        self._monitor(server)

    def _monitor(self, server: Valkey) -> None:
        client = self.sentinel.client()
        username, password = server.administrator
        client.sentinel_monitor(SERVICE_NAME, server.host, server.port, 1)
        client.sentinel_set(SERVICE_NAME, "auth-user", username)
        client.sentinel_set(SERVICE_NAME, "auth-pass", password)


@pytest.fixture
def split(settings) -> Iterator[Split]:
    """Such a pair, before the promotion, watched by a Sentinel."""
    with (
        Valkey() as old,
        Valkey(replica_of=old) as new,
        Valkey(sentinel=True, monitors=old) as sentinel,
    ):
        keep_sessions_by(
            settings,
            sentinel,
            SOCKET_TIMEOUT=10,
            SENTINEL_KWARGS={"socket_timeout": TIMEOUT_SECONDS},
        )
        yield Split(old, new, sentinel)


@pytest.fixture
def asks_always(monkeypatch) -> None:
    """Have the once-a-second question for the primary be due with each exchange."""
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 0.0)


@contextmanager
def takes_no_longer_than(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def new_session() -> str:
    session = SessionStore()
    session["a"] = 1
    session.save()
    return session.session_key


def is_there(key: str) -> bool:
    return SessionStore(key).get("a") == 1


async def ais_there(key: str) -> bool:
    return await SessionStore(key).aget("a") == 1


@pytest.mark.usefixtures("asks_always")
class TestAPrimaryThatIsNoneAnyMore:
    """It is reachable, and says that it is one: only the Sentinels know better."""

    def test_an_idle_connection_is_left(self, split):
        key = new_session()
        split.promote()
        assert not is_there(key)

    def test_an_idle_connection_of_a_loop_is_left(self, split):
        async def use() -> None:
            key = await asyncio.to_thread(new_session)
            assert await ais_there(key)
            await asyncio.to_thread(split.promote)
            assert not await ais_there(key)

        asyncio.run(use())

    def test_so_it_is_when_it_becomes_one_again(self, split):
        key = new_session()
        split.promote()
        assert not is_there(key)
        split.lead_to(split.old)
        assert is_there(key)

    def test_a_sentinel_that_hangs_costs_one_timeout_and_no_session(self, split):
        key = new_session()
        split.sentinel.freeze()
        with takes_no_longer_than(2 * TIMEOUT_SECONDS):
            assert is_there(key)
        split.sentinel.thaw()

    def test_so_it_does_in_a_loop(self, split):
        async def use() -> None:
            key = await asyncio.to_thread(new_session)
            assert await ais_there(key)
            split.sentinel.freeze()
            with takes_no_longer_than(2 * TIMEOUT_SECONDS):
                assert await ais_there(key)
            split.sentinel.thaw()

        asyncio.run(use())

    def test_another_sentinel_is_asked_when_one_hangs(self, split, settings):
        with Valkey(sentinel=True, monitors=split.old) as first:
            keep_sessions_by(settings, first, split.sentinel, SOCKET_TIMEOUT=TIMEOUT_SECONDS)
            key = new_session()
            first.freeze()
            split.promote()
            wait_until(lambda: not is_there(key), what="the old primary left")
            first.thaw()


class TestANewConnection:
    """What it finds out holds for all that are idle."""

    def test_that_leads_elsewhere_has_the_others_left(self, split):
        key = new_session()
        driver = sync.get_driver("sessions")
        # As another thread has it that is in the middle of an exchange.
        taken, _ = driver._checkout()
        split.promote()
        assert not is_there(key)
        driver._put_back(taken)
        assert not is_there(key)

    def test_of_a_thread_has_that_of_a_loop_left(self, split):
        async def use() -> None:
            key = await asyncio.to_thread(new_session)
            assert await ais_there(key)
            sync.get_driver("sessions").close()
            await asyncio.to_thread(split.promote)
            assert not await asyncio.to_thread(is_there, key)
            assert not await ais_there(key)

        asyncio.run(use())


@pytest.mark.parametrize("is_there", [is_there, lambda key: asyncio.run(ais_there(key))])
def test_sentinels_that_hang_cost_a_new_connection_a_timeout_each(split, settings, is_there):
    # By themselves they have redis-py's timeouts, and are asked ten times.
    keep_sessions_by(settings, split.sentinel, SENTINEL_KWARGS={})
    key = new_session()
    sync.get_driver("sessions").close()
    split.sentinel.freeze()
    with takes_no_longer_than(3 * TIMEOUT_SECONDS), pytest.raises(SessionStoreUnavailable):
        is_there(key)
    split.sentinel.thaw()


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
