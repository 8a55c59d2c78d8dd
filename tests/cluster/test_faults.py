"""A cluster whose slots move, whose nodes are lost, and which does not serve everything."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import connections
from redis.crc import key_slot

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.rekey import rekey_sessions
from django_elasticache_sessions.synchronization import synchronize

from ..conftest import point_sessions_at
from ..servers.cluster import ValkeyCluster
from ..servers.waiting import wait_until
from .conftest import point_sessions_at_cluster


def saved(store=SessionStore, **data: object) -> str:
    session = store()
    session.update(data)
    session.save()
    return str(session.session_key)


def hash_key(session_key: str) -> str:
    return get_configuration().naming.session(session_key).hash_key


def key_on(cluster: ValkeyCluster, node, store=SessionStore, **data: object) -> str:
    """Return the key of a session that lies on a node."""
    while True:
        session_key = saved(store, **data)
        if cluster.primary_of(hash_key(session_key)) is node:
            return session_key


def keys_on_each(cluster: ValkeyCluster, store=SessionStore, **data: object) -> list[str]:
    return [key_on(cluster, node, store, **data) for node in cluster.primaries]


def serves(session_key: str, store=SessionStore) -> bool:
    try:
        return store(session_key).get("a") is not None
    except SessionStoreUnavailable:
        return False


def counts() -> bool:
    try:
        return live.count().anonymous > 0
    except SessionStoreUnavailable:
        return False


@contextmanager
def in_use(session_keys: list[str], store=SessionStore) -> Iterator[list[str]]:
    """Have a thread for each session add to it all the while; yield what goes wrong."""
    wrongs: list[str] = []
    stopping = threading.Event()

    def work(session_key: str) -> None:
        try:
            use(session_key)
        finally:
            connections.close_all()

    def use(session_key: str) -> None:
        count = 0
        while not stopping.is_set():
            try:
                session = store(session_key)
                if session.get("count", 0) != count:
                    wrongs.append(f"{session.get('count')} in place of {count}")
                    return
                count += 1
                session["count"] = count
                session.save()
            except Exception as error:
                wrongs.append(repr(error))
                return

    threads = [threading.Thread(target=work, args=(key,)) for key in session_keys]
    for thread in threads:
        thread.start()
    try:
        yield wrongs
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


class TestSlotsThatMove:
    @pytest.fixture(autouse=True)
    def patient(self, breakable, settings):
        """Nothing is down here: a busy machine is waited for."""
        point_sessions_at_cluster(settings, breakable)

    def test_requests_follow_them(self, breakable):
        first, second, _ = breakable.primaries
        key = key_on(breakable, first, a=1)
        breakable.move_slot(key_slot(hash_key(key).encode()), second)
        session = SessionStore(key)
        assert session["a"] == 1
        session["b"] = 2
        session.save()
        assert asyncio.run(SessionStore(key).aget("b")) == 2
        assert breakable.primary_of(hash_key(key)) is second

    def test_while_a_slot_is_on_its_way_each_session_is_where_it_was_left(self, breakable):
        first, second, _ = breakable.primaries
        key = key_on(breakable, first, a=1)
        slot = key_slot(hash_key(key).encode())
        breakable.begin_move(slot, first, second)
        assert SessionStore(key)["a"] == 1
        keys = first.client().execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        breakable.move_keys(keys, first, second)
        session = SessionStore(key)
        assert session["a"] == 1
        session["a"] = 2
        session.save()
        assert asyncio.run(SessionStore(key).aget("a")) == 2
        breakable.end_move(slot, second)
        assert SessionStore(key)["a"] == 2

    def test_no_save_is_lost_while_they_move_back_and_forth(self, breakable):
        keys = [key for _ in range(2) for key in keys_on_each(breakable, a=1)]
        slots = {key_slot(hash_key(key).encode()) for key in keys}
        with in_use(keys) as wrongs:
            for target in (*breakable.primaries, *breakable.primaries):
                for slot in slots:
                    breakable.move_slot(slot, target)
        assert wrongs == []

    def test_a_scan_still_goes_over_all(self, breakable):
        keys = {saved(a=1) for _ in range(30)}
        for slot in {key_slot(hash_key(key).encode()) for key in keys}:
            breakable.move_slot(slot, breakable.primaries[1])
        assert live.count() == (0, len(keys))
        assert rekey_sessions(batch_size=5).seen == len(keys)


class TestANodeThatIsLost:
    def test_its_replica_takes_over(self, breakable):
        keys = keys_on_each(breakable, a=1)
        lost = breakable.primaries[0]
        wait_until_copied(breakable, lost, keys[0])
        lost.kill()
        assert not serves(keys[0])
        wait_until(lambda: serves(keys[0]), what="the replica", timeout_seconds=20)
        session = SessionStore(keys[0])
        session["b"] = 1
        session.save()
        assert asyncio.run(SessionStore(keys[0]).aget("b")) == 1

    def test_sessions_of_the_others_are_served_meanwhile(self, breakable):
        keys = keys_on_each(breakable, a=1)
        breakable.primaries[0].kill()
        assert [serves(key) for key in keys] == [False, True, True]

    def test_one_that_hangs_costs_few_requests_their_timeout(self, breakable):
        keys = keys_on_each(breakable, a=1)
        breakable.primaries[0].freeze()
        began = time.monotonic()
        answers = [serves(keys[0]) for _ in range(200)]
        waited = time.monotonic() - began
        breakable.primaries[0].thaw()
        assert not all(answers)
        # Two hundred timeouts would be fifty seconds.
        assert waited < 25

    def test_one_that_hung_is_asked_by_everybody_once_it_is_back(self, settings):
        with ValkeyCluster(replicas=False) as cluster:
            point_sessions_at_cluster(settings, cluster, is_patient=False)
            settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
            key = key_on(cluster, cluster.primaries[0], a=1)
            cluster.primaries[0].freeze()
            # The first of them opens nothing yet.
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                assert not serves(key)
            cluster.primaries[0].thaw()
            # Goes to all nodes at once.
            wait_until(counts, what="the node")
            wait_until(lambda: all(serves(key) for _ in range(20)), what="no pause in between")

    def test_it_is_told_once_that_it_is_lost_and_once_that_it_is_back(self, breakable, caplog):
        keys = keys_on_each(breakable, a=1)
        lost = breakable.primaries[0]
        with caplog.at_level(logging.WARNING, "django_elasticache_sessions"):
            lost.kill()
            for _ in range(5):
                serves(keys[0])
                assert serves(keys[1])
            told = [record.getMessage() for record in caplog.records]
            wait_until(lambda: serves(keys[0]) or serves(keys[0]), what="the replica")
        assert [f"node 127.0.0.1:{lost.port}" in text for text in told] == [True]
        back = [record.getMessage() for record in caplog.records[1:]]
        assert any("is available again" in text for text in back)

    def test_asyncio_follows_too(self, breakable):
        keys = keys_on_each(breakable, a=1)
        lost = breakable.primaries[0]
        wait_until_copied(breakable, lost, keys[0])

        async def read() -> list[object]:
            try:
                return await asyncio.gather(*(SessionStore(key).aget("a") for key in keys))
            except SessionStoreUnavailable:
                return []

        async def use() -> list[object]:
            assert await read() == [1, 1, 1]
            lost.kill()
            assert await read() == []
            for _ in range(400):
                if found := await read():
                    return found
                await asyncio.sleep(0.05)
            return []

        assert asyncio.run(use()) == [1, 1, 1]

    def test_the_count_is_unknown_rather_than_too_low(self, breakable):
        keys_on_each(breakable, a=1)
        breakable.primaries[0].kill()
        with pytest.raises(SessionStoreUnavailable):
            live.count()


class TestTheWholeCluster:
    def test_lost_at_once_it_is_found_again(self, breakable):
        keys = keys_on_each(breakable, a=1)
        for node in breakable.nodes:
            node.freeze()
        assert [serves(key) for key in keys] == [False] * 3
        for node in breakable.nodes:
            node.thaw()
        for key in keys:
            wait_until(lambda key=key: serves(key), what="the cluster", timeout_seconds=20)

    def test_not_there_at_the_start_it_is_found_later(self, settings):
        cluster = ValkeyCluster(replicas=False)
        point_sessions_at_cluster(settings, cluster, is_patient=False)
        assert not serves("some-session-key-that-nobody-has")
        with cluster:
            wait_until(
                lambda: SessionStore("some-session-key-that-nobody-has").get("a") is None, what="it"
            )
            assert serves(saved(a=1))

    def test_a_server_that_is_no_cluster_is_told(self, server, settings):
        point_sessions_at_cluster(settings, server)
        with pytest.raises(SessionStoreUnavailable, match="not in cluster mode; remove CLUSTER"):
            SessionStore("some-session-key-that-nobody-has").get("a")

    def test_a_cluster_that_is_not_said_to_be_one_is_told(self, steady_cluster, settings):
        point_sessions_at(settings, steady_cluster.url)
        match = 'it is a cluster; write "CLUSTER": True'
        with pytest.raises(SessionStoreUnavailable, match=match):
            keys_on_each(steady_cluster, a=1)


class TestSlotsThatNobodyServes:
    @pytest.fixture(params=[False, True], ids=["partial", "full-coverage"])
    def gap(self, request, settings):
        """A cluster that lacks some slots, and two sessions: there, and not there."""
        with ValkeyCluster(replicas=False, full_coverage=request.param) as cluster:
            point_sessions_at_cluster(settings, cluster, is_patient=False)
            settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
            kept, lost = keys_on_each(cluster, a=1)[:2]
            slot = key_slot(hash_key(lost).encode())
            for node in cluster.nodes:
                node.client().execute_command("CLUSTER", "DELSLOTS", slot)
            yield kept, lost, request.param

    def test_their_sessions_are_unavailable_not_missing(self, gap):
        _, lost, _ = gap
        for _ in range(3):
            with pytest.raises(SessionStoreUnavailable, match=r"cluster"):
                SessionStore(lost).get("a")

    def test_other_sessions_are_served_where_the_cluster_serves_them(self, gap):
        kept, _, is_full = gap
        if not is_full:
            assert serves(kept)


class TestNodesWithoutNames:
    """Names are preferred, and the nodes have none: clients are told "?" in place of a host."""

    @pytest.fixture
    def nameless(self, settings):
        with ValkeyCluster(replicas=False) as cluster:
            point_sessions_at_cluster(settings, cluster)
            settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
            yield cluster

    def test_at_the_start_it_is_told_what_to_set(self, nameless):
        self.prefer_names(nameless)
        with pytest.raises(SessionStoreUnavailable, match="set cluster-announce-hostname on every"):
            SessionStore("some-session-key-that-nobody-has").get("a")

    def test_where_some_have_names_it_is_told_for_the_others(self, nameless, settings):
        first, *_ = nameless.primaries
        keys = keys_on_each(nameless, a=1)
        self.prefer_names(nameless)
        first.client().config_set("cluster-announce-hostname", "localhost")
        # Another driver, which knows of no node yet.
        point_sessions_at_cluster(settings, nameless)
        assert serves(keys[0])
        with pytest.raises(SessionStoreUnavailable, match="Set cluster-announce-hostname on every"):
            SessionStore(keys[1]).get("a")

    def test_a_slot_that_moves_to_such_a_node_is_told(self, nameless):
        first, second, _ = nameless.primaries
        key = key_on(nameless, first, a=1)
        self.prefer_names(nameless)
        nameless.move_slot(key_slot(hash_key(key).encode()), second)
        with pytest.raises(SessionStoreUnavailable, match="Set cluster-announce-hostname on every"):
            SessionStore(key).get("a")

    @staticmethod
    def prefer_names(cluster: ValkeyCluster) -> None:
        for node in cluster.nodes:
            node.client().config_set("cluster-preferred-endpoint-type", "hostname")


class TestCachedDb:
    @pytest.fixture(autouse=True)
    def _rows(self, settings, fallback_database):
        settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
        settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
        fallback_database("sqlite")

    @pytest.fixture
    def cluster(self, _rows, breakable):
        return breakable

    def test_sessions_of_a_lost_node_are_served_by_the_database(self, cluster):
        keys = keys_on_each(cluster, DurableSessionStore, a=1)
        cluster.primaries[0].freeze()
        for key in keys:
            session = DurableSessionStore(key)
            session["b"] = 2
            session.save()
            assert dict(DurableSessionStore(key).items()) == {"a": 1, "b": 2}
        cluster.primaries[0].thaw()

    def test_sessions_of_the_others_are_read_from_the_cache_all_the_while(
        self, cluster, django_assert_num_queries, settings
    ):
        keys = keys_on_each(cluster, DurableSessionStore, a=1)
        cluster.primaries[0].freeze()
        DurableSessionStore(keys[0]).get("a")
        alias = settings.ELASTICACHE_SESSIONS["FALLBACK_DATABASE"]
        DurableSessionStore(keys[1]).get("a")
        # Whether the row is marked; the row itself is not read.
        with django_assert_num_queries(1, using=alias):
            assert DurableSessionStore(keys[1])["a"] == 1
        cluster.primaries[0].thaw()

    def test_what_was_written_and_ended_meanwhile_stays_so_when_it_comes_back(self, cluster):
        written, ended = (
            key_on(cluster, cluster.primaries[0], DurableSessionStore, a=1) for _ in range(2)
        )
        cluster.primaries[0].freeze()
        session = DurableSessionStore(written)
        session["a"] = 2
        session.save()
        DurableSessionStore(ended).flush()
        cluster.primaries[0].thaw()
        for _ in range(100):
            assert DurableSessionStore(written)["a"] == 2
            assert DurableSessionStore(ended).get("a") is None
            time.sleep(0.02)
        assert synchronize(batch_size=10).waiting == 0

    def test_nothing_is_lost_and_nobody_is_back_after_a_failover(self, cluster):
        keys = keys_on_each(cluster, DurableSessionStore, a=1)
        ended = key_on(cluster, cluster.primaries[0], DurableSessionStore, a=1)
        lost = cluster.primaries[0]
        with in_use(keys, DurableSessionStore) as wrongs:
            lost.kill()
            DurableSessionStore(ended).flush()
            cluster.wait_until_whole()
            assert DurableSessionStore(ended).get("a") is None
            lost.start()
            cluster.wait_until_whole()
        assert wrongs == []
        assert DurableSessionStore(ended).get("a") is None

    def test_nothing_is_lost_while_slots_move(self, cluster):
        keys = keys_on_each(cluster, DurableSessionStore, a=1)
        with in_use(keys, DurableSessionStore) as wrongs:
            for target in cluster.primaries:
                for key in keys:
                    cluster.move_slot(key_slot(hash_key(key).encode()), target)
        assert wrongs == []

    def test_the_whole_cluster_down_is_no_loss(self, cluster):
        keys = keys_on_each(cluster, DurableSessionStore, a=1)
        with in_use(keys, DurableSessionStore) as wrongs:
            for node in cluster.nodes:
                node.freeze()
            new = saved(DurableSessionStore, a=1)
            DurableSessionStore(new).cycle_key()
            for node in cluster.nodes:
                node.thaw()
            cluster.wait_until_whole()
        assert wrongs == []

    def test_a_users_sessions_are_found_though_the_users_index_is_lost(self, cluster):
        key = saved(DurableSessionStore, a=1, **{SESSION_KEY: "7"})
        naming = get_configuration().naming
        owner = cluster.primary_of(naming.user_index(naming.user("7")))
        owner.freeze()
        assert len(live.for_user("7")) == 1
        assert live.end_for_user("7") == 1
        owner.thaw()
        assert DurableSessionStore(key).get("a") is None


def wait_until_copied(cluster: ValkeyCluster, primary, session_key: str) -> None:
    """Wait until a node's replica has a session, too."""
    client = cluster.replica_of(primary).client()
    client.execute_command("READONLY")
    wait_until(lambda: client.exists(hash_key(session_key)), what="the copy")
