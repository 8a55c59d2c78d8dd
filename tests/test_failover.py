"""A failover behind a name, as that of ElastiCache's primary endpoint: DNS leads to the replica."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from importlib import import_module

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import origin, sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at
from .servers.names import Names
from .servers.relay import Relay
from .servers.valkey import Valkey
from .servers.waiting import wait_until

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
NAME = "primary.cache.test"
OLD, NEW = "127.0.0.2", "127.0.0.3"


class Group:
    """A primary and its replica, each at an address of its own, and the name of the primary."""

    def __init__(self, primary: Valkey, replica: Valkey, old: Relay, new: Relay, names: Names):
        self.primary, self.replica, self.old, self.new = primary, replica, old, new
        self.names = names

    def promote(self) -> None:
        """Have the replica take over; the name still leads to the old primary."""
        wait_until(self._is_in_step, what="the replica in step")
        self.replica.client().execute_command("REPLICAOF", "NO", "ONE")

    def demote(self) -> None:
        """Have the old primary follow the new one."""
        client = self.primary.client()
        client.execute_command("REPLICAOF", self.replica.host, self.replica.port)
        wait_until(
            lambda: client.info("replication")["master_link_status"] == "up", what="it in step"
        )

    def rename(self) -> None:
        """Have the name lead to the new primary."""
        self.names.lead(NAME, NEW)
        self.names.asked.clear()

    def fail_over(self) -> None:
        """Do all of that."""
        self.promote()
        self.demote()
        self.rename()

    def _is_in_step(self) -> bool:
        told = self.replica.client().info("replication")
        ours = self.primary.client().info("replication")["master_repl_offset"]
        return bool(told["slave_repl_offset"] == ours)


@pytest.fixture
def group(settings) -> Iterator[Group]:
    """Sessions kept by the name of a primary."""
    with (
        Valkey() as primary,
        Valkey(replica_of=primary) as replica,
        Relay(primary.host, primary.port, at=(OLD, primary.port)) as old,
        Relay(replica.host, replica.port, at=(NEW, primary.port)) as new,
        Names() as names,
    ):
        names.lead(NAME, OLD)
        url = f"redis://{NAME}:{primary.port}/0"
        point_sessions_at(settings, url, CONNECTION_FACTORY=FACTORY)
        yield Group(primary, replica, old, new, names)


@pytest.fixture(params=["cache", "cached_db"])
def store(request, settings, group, fallback_database):
    """The `SessionStore` of either engine; `cached_db` with SQLite."""
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{request.param}"
    if request.param == "cached_db":
        fallback_database("sqlite")
    return import_module(settings.SESSION_ENGINE).SessionStore


def save(store, key: str | None = None) -> str:
    session = store(key)
    session["a"] = session.get("a", 0) + 1
    session.save()
    return session.session_key


def test_a_demoted_primary_is_left_for_whom_its_name_leads_to(store, group):
    key = save(store)
    group.fail_over()
    save(store, key)
    assert store(key)["a"] == 2
    assert group.names.asked == [NAME]
    assert "HGETALL" in group.new.requests


def test_so_it_is_by_a_loop(store, group):
    async def use() -> None:
        session = store()
        await session.aset("a", 1)
        await session.asave()
        await asyncio.to_thread(group.fail_over)
        await session.aset("a", 2)
        await session.asave()
        assert await store(session.session_key).aget("a") == 2
        assert group.names.asked == [NAME]

    asyncio.run(use())


def at_once(count: int, key: str) -> None:
    """Read a session in so many threads, which all wait for their answers at the same time."""
    together = threading.Barrier(count)

    def read() -> None:
        together.wait()
        assert SessionStore(key)["a"]

    threads = [threading.Thread(target=read) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_one_connection_met_the_others_need_not_meet(group):
    key = save(SessionStore)
    group.old.delay(0.2)
    at_once(3, key)
    assert group.old.connections == 3
    group.old.delay(0)
    group.fail_over()
    save(SessionStore, key)
    asked = list(group.old.requests)
    group.new.delay(0.2)
    at_once(3, key)
    assert group.old.requests == asked
    assert group.old.open_connections == 0


def test_what_a_thread_met_a_loop_need_not_meet(group):
    async def use() -> None:
        key = await asyncio.to_thread(save, SessionStore)
        assert await SessionStore(key).aget("a") == 1
        await asyncio.to_thread(group.fail_over)
        await asyncio.to_thread(save, SessionStore, key)
        asked = list(group.old.requests)
        assert await SessionStore(key).aget("a") == 2
        assert group.old.requests == asked

    asyncio.run(use())


def test_what_a_loop_met_a_thread_need_not_meet(group):
    async def use() -> None:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        key = session.session_key
        assert await asyncio.to_thread(lambda: SessionStore(key)["a"]) == 1
        await asyncio.to_thread(group.fail_over)
        await session.aset("a", 2)
        await session.asave()
        asked = list(group.old.requests)
        assert await asyncio.to_thread(lambda: SessionStore(key)["a"]) == 2
        assert group.old.requests == asked

    asyncio.run(use())


def test_while_the_name_lags_behind_it_is_asked_once_for_each_attempt(group):
    key = save(SessionStore)
    group.promote()
    group.demote()
    for _ in range(5):
        group.names.asked.clear()
        with pytest.raises(SessionStoreUnavailable, match="read-only replica"):
            save(SessionStore, key)
        # Perhaps once more for its read: others' connections are left as well.
        assert 1 <= group.names.asked.count(NAME) <= 2
    group.rename()
    save(SessionStore, key)
    assert SessionStore(key)["a"] == 2


@pytest.mark.parametrize("pool", ["redis.ConnectionPool", "redis.BlockingConnectionPool"])
def test_what_a_new_connection_is_led_away_from_is_left_though_it_is_a_primary(
    group, settings, pool
):
    url = settings.CACHES["sessions"]["LOCATION"]
    point_sessions_at(settings, url, CONNECTION_FACTORY=FACTORY, CONNECTION_POOL_CLASS=pool)
    key = save(SessionStore)
    driver = sync.get_driver("sessions")
    # As another thread has it that is in the middle of an exchange.
    taken, _ = driver._checkout()
    group.promote()
    group.rename()
    assert SessionStore(key)["a"] == 1
    driver._put_back(taken)
    asked = list(group.old.requests)
    at_once(2, key)
    assert group.old.requests == asked


def test_a_primary_that_is_gone_is_left_for_whom_its_name_leads_to(store, group):
    key = save(store)
    group.promote()
    group.old.refuse()
    group.rename()
    assert store(key)["a"] == 1
    save(store, key)
    assert NAME in group.names.asked
    assert "EVALSHA" in group.new.requests


def test_one_that_hangs_costs_a_timeout_first(group, settings):
    options = {"SOCKET_TIMEOUT": 1, "SOCKET_CONNECT_TIMEOUT": 1, "CONNECTION_FACTORY": FACTORY}
    url = settings.CACHES["sessions"]["LOCATION"]
    point_sessions_at(settings, url, is_patient=False, **options)
    key = save(SessionStore)
    group.promote()
    group.primary.freeze()
    group.rename()
    wait_until(lambda: is_served(key), what="the new primary")
    assert group.names.asked == [NAME]
    group.primary.thaw()


def is_served(key: str) -> bool:
    try:
        return bool(SessionStore(key)["a"])
    except SessionStoreUnavailable:
        return False


class TestReadsAfterADemotion:
    """Who answers is asked along with reads; nobody has to write to find out."""

    @pytest.fixture(autouse=True)
    def _asks_always(self, monkeypatch):
        monkeypatch.setattr(origin, "KNOWN_SECONDS", 0.0)
        monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 0.0)

    @pytest.fixture
    def durable(self, settings, fallback_database):
        settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
        fallback_database("sqlite")
        return import_module(settings.SESSION_ENGINE).SessionStore

    def test_a_thread_leaves_the_replica_at_once(self, store, group):
        key = save(store)
        group.fail_over()
        assert store(key)["a"] == 1
        assert group.names.asked == [NAME]
        asked = list(group.old.requests)
        assert store(key)["a"] == 1
        assert group.old.requests == asked
        assert "HGETALL" in group.new.requests

    def test_a_loop_leaves_it_at_once(self, store, group):
        async def use() -> None:
            session = store()
            await session.aset("a", 1)
            await session.asave()
            await asyncio.to_thread(group.fail_over)
            assert await store(session.session_key).aget("a") == 1
            assert group.names.asked == [NAME]
            asked = list(group.old.requests)
            assert await store(session.session_key).aget("a") == 1
            assert group.old.requests == asked

        asyncio.run(use())

    def test_a_pool_that_wants_its_connections_back_leaves_it_too(self, group, settings):
        options = settings.CACHES["sessions"]["OPTIONS"]
        pool = {"CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool"}
        point_sessions_at(settings, settings.CACHES["sessions"]["LOCATION"], **options, **pool)
        key = save(SessionStore)
        group.fail_over()
        assert SessionStore(key)["a"] == 1
        asked = list(group.old.requests)
        assert SessionStore(key)["a"] == 1
        assert group.old.requests == asked

    def test_while_the_name_lags_behind_nobody_is_served_by_it(self, group):
        key = save(SessionStore)
        group.promote()
        group.demote()
        for _ in range(3):
            with pytest.raises(SessionStoreUnavailable, match="read-only replica"):
                SessionStore(key).load()
        group.rename()
        assert SessionStore(key)["a"] == 1

    def test_nor_by_a_loop(self, group):
        key = save(SessionStore)
        group.promote()
        group.demote()

        async def use() -> None:
            for _ in range(3):
                with pytest.raises(SessionStoreUnavailable, match="read-only replica"):
                    await SessionStore(key).aload()
            group.rename()
            assert await SessionStore(key).aget("a") == 1

        asyncio.run(use())

    def test_while_the_name_lags_behind_the_database_serves(self, durable, group):
        key = save(durable)
        group.promote()
        group.demote()
        for _ in range(3):
            group.names.asked.clear()
            assert durable(key)["a"] == 1
            assert len(group.names.asked) <= 2


@pytest.mark.parametrize("pool", ["redis.ConnectionPool", "redis.BlockingConnectionPool"])
def test_who_answers_is_asked_once_a_moment(relay, settings, pool):
    point_sessions_at(settings, relay.url, CONNECTION_POOL_CLASS=pool)
    key = save(SessionStore)
    for _ in range(20):
        assert SessionStore(key)["a"] == 1
    assert relay.requests.count("INFO") == 1


def test_a_server_that_may_not_be_asked_is_believed(settings):
    with Valkey("9", acl=["app on >secret ~* &* +@all -info"]) as server:
        point_sessions_at(settings, f"redis://app:secret@{server.host}:{server.port}/0")
        key = save(SessionStore)
        assert SessionStore(key)["a"] == 1
        assert asyncio.run(SessionStore(key).aget("a")) == 1
