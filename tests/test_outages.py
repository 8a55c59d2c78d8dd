"""G3, G7 and adversaries 23-25, 30: what a store that fails may and may not do to a request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import threading
import time
from contextlib import ExitStack, suppress

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.breaker import FIRST_PAUSE_SECONDS
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at
from .contents import session_hashes
from .servers.relay import Relay
from .servers.tls import ServerIdentity
from .servers.valkey import Valkey
from .servers.waiting import wait_until

OPERATIONS = ("load", "save", "create", "cycle_key", "delete", "flush")
#: Error replies, and words of ours that tell an operator what they mean.
ERRORS = {
    "-LOADING Valkey is loading the dataset in memory": "loading",
    "-READONLY You can't write against a read only replica.": "failover",
    "-OOM command not allowed when used memory > 'maxmemory'.": "out of memory",
    "-NOPERM User app has no permissions to run the 'evalsha' command": "ACL",
    "-MISCONF Errors writing to the AOF file": "cannot save",
    "-CLUSTERDOWN The cluster is down": "cluster is down",
    "-BUSY Valkey is busy running a script": "long script",
    "-ERR something new": "error",
}


def synchronously(session: SessionStore, operation: str):
    return getattr(session, operation)()


def asynchronously(session: SessionStore, operation: str):
    return asyncio.run(getattr(session, f"a{operation}")())


either_way = pytest.mark.parametrize("perform", [synchronously, asynchronously])


def request_for(session: SessionStore) -> SessionStore:
    """Return the session as another request has it, loaded and changed."""
    request = SessionStore(session.session_key)
    request["changed"] = True
    return request


@either_way
def test_a_new_session_that_could_not_be_saved_can_be_saved_later(relay, perform):
    request = SessionStore()
    request["a"] = 1
    relay.refuse()
    with pytest.raises(SessionStoreUnavailable):
        perform(request, "save")
    relay.heal()
    perform(request, "save")
    assert SessionStore(request.session_key)["a"] == 1


@either_way
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_down_makes_the_store_unavailable_not_empty(
    relay, new_session, perform, operation
):
    session = new_session(a=1)
    request = request_for(session)
    relay.refuse()
    with pytest.raises(SessionStoreUnavailable):
        perform(request, operation)
    if operation != "create":
        assert request.session_key == session.session_key
    relay.heal()
    assert SessionStore(session.session_key)["a"] == 1


@either_way
@pytest.mark.parametrize("reply", ERRORS)
def test_an_error_reply_is_an_unavailable_store_with_a_reason(relay, new_session, perform, reply):
    request = request_for(new_session(a=1))
    relay.inject_always(reply.encode() + b"\r\n")
    for operation in ("load", "save"):
        with pytest.raises(SessionStoreUnavailable, match=ERRORS[reply]):
            perform(request, operation)
    relay.heal()
    perform(request, "save")
    assert SessionStore(request.session_key)["changed"] is True


@either_way
def test_a_demoted_primary_is_left_for_the_new_one_at_once(relay, new_session, perform):
    request = request_for(new_session(a=1))
    before = relay.connections
    relay.inject_reply_once(b"-READONLY You can't write against a read only replica.\r\n")
    perform(request, "save")
    assert SessionStore(request.session_key)["changed"] is True
    assert relay.connections > before


@either_way
@pytest.mark.parametrize("size", [0, 1, 10])
def test_a_reply_that_stops_half_way_is_a_timeout_and_its_rest_reaches_nobody(
    relay, new_session, settings, perform, size
):
    sessions = [new_session(who=n) for n in range(3)]
    point_sessions_at(settings, relay.url, is_patient=False)
    relay.stall_reply_after(size)
    started = time.monotonic()
    with pytest.raises(SessionStoreUnavailable, match="in time"):
        perform(SessionStore(sessions[0].session_key), "load")
    assert time.monotonic() - started < 5
    relay.heal()
    for n, session in enumerate(sessions):
        assert perform(SessionStore(session.session_key), "load")["who"] == n


def test_an_idle_connection_that_died_costs_no_request(relay, new_session):
    session = new_session(a=1)
    relay.refuse()
    relay.heal()
    assert SessionStore(session.session_key)["a"] == 1


async def test_an_idle_asynchronous_connection_that_died_costs_no_request(relay, valkey):
    session = SessionStore()
    await session.aset("a", 1)
    await session.asave()
    relay.refuse()
    relay.heal()
    assert await SessionStore(session.session_key).aget("a") == 1


class TestALostReply:
    """The write was applied, its reply was lost: it is sent again, with no second effect."""

    def test_of_a_create_leaves_one_session(self, relay, valkey, new_session):
        new_session(warm=1).flush()
        relay.drop_reply_once(on="EVALSHA")
        session = new_session(a=1)
        assert len(session_hashes(valkey)) == 1
        assert SessionStore(session.session_key)["a"] == 1

    def test_of_a_save_is_no_update_error(self, relay, new_session):
        request = request_for(new_session(a=1))
        relay.drop_reply_once(on="EVALSHA")
        request.save()
        assert SessionStore(request.session_key)["changed"] is True

    def test_of_a_rotation_leaves_the_new_session_alone(self, relay, valkey, new_session):
        session = new_session(a=1)
        request = request_for(session)
        relay.drop_reply_once(on="EVALSHA")
        request.cycle_key()
        assert len(session_hashes(valkey)) == 1
        assert SessionStore(request.session_key)["changed"] is True
        assert SessionStore(session.session_key).get("a") is None

    def test_of_a_delete_is_no_error(self, relay, valkey, new_session):
        session = new_session(a=1)
        relay.drop_reply_once(on="EVALSHA")
        session.delete()
        assert not SessionStore().exists(session.session_key)

    async def test_is_survived_asynchronously_too(self, relay, valkey):
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        relay.drop_reply_once(on="EVALSHA")
        await session.aset("b", 2)
        await session.asave()
        relay.drop_reply_once(on="EVALSHA")
        await session.acycle_key()
        assert dict(await SessionStore(session.session_key).aitems()) == {"a": 1, "b": 2}
        assert len(session_hashes(valkey)) == 1


async def test_a_cancelled_request_leaves_its_reply_to_nobody(relay, valkey):
    sessions = []
    for n in range(2):
        session = SessionStore()
        await session.aset("who", n)
        await session.asave()
        sessions.append(session.session_key)
    relay.stall_reply_after(4)
    victim = asyncio.create_task(SessionStore(sessions[0]).aget("who"))
    before = relay.bytes_out
    while relay.bytes_out == before:  # noqa: ASYNC110 - the relay runs in another thread
        await asyncio.sleep(0.001)
    victim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await victim
    relay.heal()
    assert [await SessionStore(key).aget("who") for key in sessions] == [0, 1]


async def test_requests_cancelled_at_any_moment_never_mix_replies(relay, valkey):
    keys = []
    for n in range(8):
        session = SessionStore()
        await session.aset("who", n)
        await session.asave()
        keys.append(session.session_key)
    relay.delay(0.002)

    async def request(n: int) -> None:
        assert await SessionStore(keys[n]).aget("who") == n

    for attempt in range(30):
        tasks = [asyncio.create_task(request(n)) for n in range(8)]
        await asyncio.sleep(attempt / 4000)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [error for error in results if isinstance(error, AssertionError)]
        assert wrong == []


def test_threads_never_see_each_others_replies_while_connections_break(relay, new_session):
    keys = [new_session(who=n).session_key for n in range(6)]
    wrong: list[object] = []
    done = threading.Event()

    def request(n: int) -> None:
        while not done.is_set():
            try:
                who = SessionStore(keys[n])["who"]
            except SessionStoreUnavailable:
                continue
            if who != n:
                wrong.append((n, who))

    threads = [threading.Thread(target=request, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for size in range(60):
        relay.cut_reply_after(size)
        relay.drop_reply_once()
    relay.heal()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_frozen_server_costs_no_more_than_the_socket_timeout(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url, is_patient=False)
        session = SessionStore()
        session["a"] = 1
        session.save()
        server.freeze()
        try:
            started = time.monotonic()
            with pytest.raises(SessionStoreUnavailable, match="in time"):
                SessionStore(session.session_key).load()
            assert time.monotonic() - started < 2
        finally:
            server.thaw()
        wait_until(lambda: can_load(session.session_key), what="the thawed server to serve")


@either_way
def test_a_server_that_says_nothing_is_waited_for_only_now_and_then(
    relay, new_session, settings, perform
):
    session = new_session(a=1)
    point_sessions_at(settings, relay.url, is_patient=False)
    relay.black_hole()
    for _ in range(2):
        with pytest.raises(SessionStoreUnavailable, match="did not answer in time"):
            perform(SessionStore(session.session_key), "load")
    before, began = relay.connections, time.monotonic()
    for _ in range(100):
        with pytest.raises(SessionStoreUnavailable, match="in time"):
            perform(SessionStore(session.session_key), "load")
    pauses = (time.monotonic() - began) / FIRST_PAUSE_SECONDS
    assert relay.connections - before <= pauses
    relay.heal()
    wait_until(lambda: can_load(session.session_key), what="the healed store to serve")


@either_way
def test_a_server_that_refuses_is_asked_each_time(relay, new_session, perform):
    session = new_session(a=1)
    relay.refuse()
    for _ in range(5):
        with pytest.raises(SessionStoreUnavailable, match="no connection"):
            perform(SessionStore(session.session_key), "load")
    relay.heal()
    assert perform(SessionStore(session.session_key), "load") == {"a": 1}


def test_a_server_that_crashes_while_requests_run_is_used_again_once_it_is_back(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        problems: list[BaseException] = []
        done = threading.Event()

        def visit() -> None:
            session = SessionStore()
            while not done.is_set():
                try:
                    session["n"] = session.get("n", 0) + 1
                    session.save()
                except (SessionStoreUnavailable, UpdateError):
                    session = SessionStore()
                except BaseException as error:
                    problems.append(error)
                    return

        threads = [threading.Thread(target=visit) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            server.kill()
            server.start()
        done.set()
        for thread in threads:
            thread.join()
        assert problems == []
        session = SessionStore()
        session["a"] = 1
        session.save()
        assert SessionStore(session.session_key)["a"] == 1


def can_load(session_key: str) -> bool:
    try:
        return bool(SessionStore(session_key).load())
    except SessionStoreUnavailable:
        return False


def test_flushall_while_requests_run_ends_sessions_and_breaks_nothing(valkey):
    problems: list[BaseException] = []
    done = threading.Event()

    def visit() -> None:
        session = SessionStore()
        while not done.is_set():
            try:
                session["n"] = session.get("n", 0) + 1
                session.save()
                session = SessionStore(session.session_key)
            except UpdateError:
                session = SessionStore()
            except BaseException as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=visit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        valkey.flushall()
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_an_evicted_session_is_missing_and_its_late_save_an_update_error(valkey, new_session):
    session = new_session(a=1)
    late = request_for(session)
    [key] = session_hashes(valkey)
    valkey.delete(key)  # what an eviction does
    assert SessionStore(session.session_key).get("a") is None
    with pytest.raises(UpdateError):
        late.save()


def test_a_full_server_refuses_saves_serves_reads_and_recovers(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        session = SessionStore()
        session["a"] = 1
        session.save()
        server.client().config_set("maxmemory", "500kb")
        request = request_for(session)
        with pytest.raises(SessionStoreUnavailable, match="out of memory"):
            request.save()
        assert SessionStore(session.session_key)["a"] == 1
        server.client().config_set("maxmemory", "0")
        request.save()
        assert SessionStore(session.session_key)["changed"] is True


def test_a_rotation_on_a_full_server_happens_wholly_or_not_at_all(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        session = SessionStore()
        session["a"] = 1
        session.save()
        server.client().config_set("maxmemory", "500kb")
        request = request_for(session)
        try:
            request.cycle_key()
        except SessionStoreUnavailable:
            assert request.session_key == session.session_key
        else:
            assert not SessionStore().exists(session.session_key)
        assert SessionStore(request.session_key)["a"] == 1


def test_a_user_without_the_right_is_told_about_the_acl(settings):
    with Valkey(acl=["app on >pass ~* +get"]) as server:
        point_sessions_at(settings, f"redis://app:pass@{server.host}:{server.port}/0")
        with pytest.raises(SessionStoreUnavailable, match="ACL"):
            SessionStore("some-session-key-" * 2).load()


def test_a_user_whose_scripts_may_not_do_their_work_is_told_about_the_acl(settings):
    with Valkey(acl=["app on >pass ~* +evalsha +eval"]) as server:
        point_sessions_at(settings, f"redis://app:pass@{server.host}:{server.port}/0")
        with pytest.raises(SessionStoreUnavailable, match="ACL"):
            SessionStore().save()


def test_a_wrong_password_is_an_unavailable_store(settings):
    with Valkey(password="right") as server:
        point_sessions_at(settings, f"redis://:wrong@{server.host}:{server.port}/0")
        with pytest.raises(SessionStoreUnavailable, match=r"password|refused") as caught:
            SessionStore("some-session-key-" * 2).load()
        assert "wrong" not in str(caught.value)


def test_connections_that_are_all_in_use_are_a_clear_error(relay, new_session, settings):
    session_key = new_session(a=1).session_key
    point_sessions_at(
        settings,
        relay.url,
        SOCKET_TIMEOUT=0.2,
        CONNECTION_POOL_KWARGS={"max_connections": 1},
    )
    SessionStore(session_key).load()
    driver = sync.get_driver("sessions")
    # As a thread has it whose request takes longer than others wait.
    taken, _ = driver._checkout()
    with pytest.raises(SessionStoreUnavailable, match="max_connections"):
        SessionStore(session_key).load()
    driver._put_back(taken)
    assert SessionStore(session_key)["a"] == 1


def test_a_process_without_file_descriptors_is_told_and_recovers(new_session, server, settings):
    session_key = new_session(a=1).session_key
    point_sessions_at(settings, server.url)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                taken.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(SessionStoreUnavailable, match="no connection"):
            SessionStore(session_key).load()
    assert SessionStore(session_key)["a"] == 1


def test_a_blocking_pool_gets_its_connections_back(relay, new_session, settings):
    session_key = new_session(a=1).session_key
    point_sessions_at(
        settings,
        relay.url,
        CONNECTION_POOL_CLASS="redis.BlockingConnectionPool",
        CONNECTION_POOL_KWARGS={"max_connections": 1, "timeout": 5},
    )
    threads = [threading.Thread(target=SessionStore(session_key).load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert SessionStore(session_key)["a"] == 1


def test_an_outage_is_logged_once_and_its_end_once(relay, new_session, caplog):
    session_key = new_session(a=1).session_key
    relay.refuse()
    with caplog.at_level(logging.INFO, "django_elasticache_sessions"):
        for _ in range(5):
            with pytest.raises(SessionStoreUnavailable):
                SessionStore(session_key).load()
        relay.heal()
        for _ in range(5):
            SessionStore(session_key).load()
    records = [r for r in caplog.records if r.name == "django_elasticache_sessions"]
    assert [record.levelname for record in records] == ["ERROR", "WARNING"]
    assert "'sessions'" in records[0].getMessage()


class TestAnonymousWhenUnavailable:
    """`ON_UNAVAILABLE = "anonymous"`."""

    @pytest.fixture(autouse=True)
    def anonymous(self, settings):
        settings.ELASTICACHE_SESSIONS = {"ON_UNAVAILABLE": "anonymous"}

    @either_way
    def test_the_session_is_empty_and_its_key_kept(self, relay, new_session, perform):
        session_key = new_session(a=1).session_key
        relay.refuse()
        request = SessionStore(session_key)
        assert dict(perform(request, "load")) == {}
        assert request.session_key == session_key
        assert not request.is_empty()

    def test_nothing_is_stored_even_when_the_store_is_back_within_the_request(
        self, relay, valkey, new_session
    ):
        session_key = new_session(a=1).session_key
        relay.refuse()
        request = SessionStore(session_key)
        request["a"] = 2
        relay.heal()
        request.save()
        assert SessionStore(session_key)["a"] == 1
        assert len(session_hashes(valkey)) == 1

    def test_a_new_visit_goes_on_without_a_session(self, relay, valkey):
        relay.refuse()
        session = SessionStore()
        session["a"] = 1
        session.save()
        relay.heal()
        assert SessionStore(session.session_key).get("a") is None

    @either_way
    @pytest.mark.parametrize("operation", ["cycle_key", "flush", "delete"])
    def test_a_login_or_logout_is_refused_not_pretended(
        self, relay, new_session, perform, operation
    ):
        request = SessionStore(new_session(a=1).session_key)
        relay.refuse()
        request.get("a")
        with pytest.raises(SessionStoreUnavailable):
            perform(request, operation)


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_sessions_travel_over_tls(server, valkey, settings, tmp_path, scheme):

    identity = ServerIdentity.valid(tmp_path)
    with Relay(server.host, server.port, tls=identity) as relay:
        url = f"{scheme}://localhost:{relay.port}/0"
        trust = {"ssl_ca_certs": str(identity.ca_file)} if scheme == "rediss" else {}
        point_sessions_at(settings, url, CONNECTION_POOL_KWARGS=trust, SOCKET_TIMEOUT=2)
        session = SessionStore()
        session["a"] = 1
        if scheme == "redis":
            with pytest.raises(SessionStoreUnavailable):
                session.save()
            return
        session.save()
        assert SessionStore(session.session_key)["a"] == 1

        async def load() -> object:
            return await SessionStore(session.session_key).aget("a")

        assert asyncio.run(load()) == 1


def test_a_certificate_nobody_vouches_for_is_refused(server, valkey, settings, tmp_path):

    with Relay(server.host, server.port, tls=ServerIdentity.valid(tmp_path)) as relay:
        point_sessions_at(settings, f"rediss://localhost:{relay.port}/0")
        with pytest.raises(SessionStoreUnavailable):
            SessionStore("some-session-key-" * 2).load()
        with pytest.raises(SessionStoreUnavailable):
            asyncio.run(SessionStore("some-session-key-" * 2).aload())
