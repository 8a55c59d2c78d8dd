"""The `cached_db` engine inside transactions: the cache follows the commit, never a rollback."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.db import connections, transaction
from django.test import AsyncClient, Client, TestCase

from django_elasticache_sessions import breaker, homes, live, outbox, transactions
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import origin, sync

from .contents import session_hashes
from .pages.visitor import Visitor
from .servers.databases import VENDORS

T = TypeVar("T")
Act = Callable[[SessionStore], None]
WRITES = ("through", "behind")


@pytest.fixture(params=[(vendor, writes) for vendor in VENDORS for writes in WRITES], ids="-".join)
def alias(request, settings, valkey, fallback_database) -> str:
    """A database of each vendor, written through and behind."""
    vendor, writes = request.param
    alias = fallback_database(vendor)
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": writes, "INDEX_BUCKETS": 2}
    return alias


class Rollback(Exception):
    """What a view raises."""


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    """A transaction that fails."""
    try:
        with transaction.atomic(using=alias):
            yield
            raise Rollback
    except Rollback:
        pass


@contextmanager
def savepoint_rolled_back(alias: str) -> Iterator[None]:
    """A savepoint that fails in a transaction that does not."""
    with transaction.atomic(using=alias):
        saved(other=1)
        with rolled_back(alias):
            yield


failures = pytest.mark.parametrize("failing", [rolled_back, savepoint_rolled_back])


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def content(session_key: object) -> dict[str, Any]:
    return dict(SessionStore(str(session_key)).items())


def test_a_logout_after_an_end_of_the_same_transaction_is_rolled_back_with_it(alias, valkey):
    key = saved(a=1, **{SESSION_KEY: "7"})
    session = SessionStore(key)
    session["b"] = 2
    session.save()
    with rolled_back(alias):
        live.end_for_user("7")
        session.flush()
    assert content(key) == {"a": 1, SESSION_KEY: "7", "b": 2}
    naming = get_configuration().naming
    [entry] = valkey.zrange(naming.user_index(naming.user("7")), 0, -1)
    assert entry.decode() == naming.session(key).sid


def test_a_broken_transaction_costs_nobody_the_cache(alias):
    key = saved(a=1)
    at_work = homes.get_homes()
    with rolled_back(alias):
        assert content(key) == {"a": 1}
        # As a view does that catches an error of the database without a savepoint.
        transaction.set_rollback(True, using=alias)
        # A look for what the cache could not be told is due.
        at_work._next_reconciliation = 0.0
        assert content(key) == {"a": 1}
        session = SessionStore(key)
        session["a"] = 2
        with pytest.raises(transaction.TransactionManagementError):
            session.save()
    assert not at_work.cache.is_open
    assert not at_work.database.is_open
    assert content(key) == {"a": 1}


def seen_by_others(alias: str, act: Callable[[], T]) -> T:
    """Have another thread do it, on a database connection of its own."""

    def run() -> T:
        try:
            return act()
        finally:
            connections[alias].close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(60)


def set_value(session: SessionStore) -> None:
    session["a"] = 2
    session.save()


def add_value(session: SessionStore) -> None:
    session["b"] = 2
    session.save()


def remove_value(session: SessionStore) -> None:
    del session["a"]
    session.save()


def replace_all(session: SessionStore) -> None:
    session.clear()
    session["b"] = 2
    session.save()


def save_twice(session: SessionStore) -> None:
    set_value(session)
    add_value(session)


def rotate(session: SessionStore) -> None:
    session.cycle_key()


def log_in(session: SessionStore) -> None:
    session.cycle_key()
    session[SESSION_KEY] = "7"
    session.save()


def log_out(session: SessionStore) -> None:
    session.flush()


def delete(session: SessionStore) -> None:
    session.delete(session.session_key)


def expire(session: SessionStore) -> None:
    session.set_expiry(-1)
    session.save()


CHANGES = {
    set_value: {"a": 2},
    add_value: {"a": 1, "b": 2},
    remove_value: {},
    replace_all: {"b": 2},
    save_twice: {"a": 2, "b": 2},
    rotate: {"a": 1},
    log_in: {"a": 1, SESSION_KEY: "7"},
    log_out: {},
    delete: {},
    expire: {},
}
changes = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
#: What gives the session another key, or ends it.
leaves_key = (rotate, log_in, log_out, delete, expire)


@failures
@changes
def test_what_is_rolled_back_has_never_been(alias, valkey, failing, change):
    key = saved(a=1)
    session = SessionStore(key)
    session["a"]
    with failing(alias):
        change(session)
        new_key = session.session_key
        assert seen_by_others(alias, lambda: content(key)) == {"a": 1}
        if change in (rotate, log_in):
            assert seen_by_others(alias, lambda: content(new_key)) == {}
    for _ in range(2):
        assert content(key) == {"a": 1}
        if change in (rotate, log_in):
            assert content(new_key) == {}
        valkey.flushall()


@changes
def test_after_the_commit_the_cache_has_it(alias, valkey, change):
    session = SessionStore(saved(a=1))
    key = session.session_key
    session["a"]
    with transaction.atomic(using=alias), transaction.atomic(using=alias):
        change(session)
        new_key = session.session_key if change in (rotate, log_in) else key
        # The request sees what it did; nobody else does.
        assert content(new_key) == CHANGES[change]
        assert seen_by_others(alias, lambda: content(key)) == {"a": 1}
    asked = statements(alias)
    assert content(new_key) == CHANGES[change]
    assert asked == [] or change in (log_out, delete, expire)
    valkey.flushall()
    assert content(new_key) == CHANGES[change]
    if change in leaves_key:
        assert content(key) == {}
    assert marked(alias) == 0


def statements(alias: str) -> list[str]:
    found: list[str] = []

    def note(execute, sql, params, many, context):
        found.append(sql.split()[0])
        return execute(sql, params, many, context)

    connections[alias].execute_wrappers.append(note)
    return found


def marked(alias: str) -> int:
    """Count the rows that the cache does not know yet."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM django_elasticache_sessions_fallbacksession WHERE cache_stale"
        )
        return int(cursor.fetchone()[0])


@failures
def test_a_session_that_was_created_in_what_is_rolled_back_is_not_alive(alias, valkey, failing):
    # This process has met the server before.
    content(saved(a=1))
    session = SessionStore()
    session["a"] = 1
    with failing(alias):
        session.create()
        key = session.session_key
        assert content(key) == {"a": 1}
        assert seen_by_others(alias, lambda: content(key)) == {}
    assert content(key) == {}
    late = session
    late["b"] = 2
    with pytest.raises(UpdateError):
        late.save()
    valkey.flushall()
    assert content(key) == {}


def test_a_session_that_was_created_in_a_transaction_is_in_the_cache_after_it(alias, valkey):
    with transaction.atomic(using=alias):
        session = SessionStore()
        session["a"] = 1
        session.save()
        session["b"] = 2
        session.save()
        key = session.session_key
        assert content(key) == {"a": 1, "b": 2}
        assert session_hashes(valkey) == []
    assert len(session_hashes(valkey)) == 1
    asked = statements(alias)
    assert content(key) == {"a": 1, "b": 2}
    assert asked == []


def test_a_user_whose_login_was_rolled_back_can_log_in_again(alias):
    key = saved(a=1)
    first = SessionStore(key)
    first["a"]
    with rolled_back(alias):
        log_in(first)
    again = SessionStore(key)
    log_in(again)
    assert content(again.session_key) == {"a": 1, SESSION_KEY: "7"}
    assert content(key) == content(first.session_key) == {}
    with pytest.raises(UpdateError):
        add_value(first)


def test_a_rolled_back_savepoint_leaves_what_was_changed_around_it(alias, valkey):
    key = saved(a=1)
    session = SessionStore(key)
    with transaction.atomic(using=alias):
        add_value(session)
        with rolled_back(alias):
            other = SessionStore(key)
            other["c"] = 3
            other.save()
            assert content(key) == {"a": 1, "b": 2, "c": 3}
        assert content(key) == {"a": 1, "b": 2}
    assert content(key) == {"a": 1, "b": 2}
    valkey.flushall()
    assert content(key) == {"a": 1, "b": 2}


def test_another_value_that_is_saved_after_a_rollback_is_not_taken_for_the_first(alias, valkey):
    key = saved(a=1)
    session = SessionStore(key)
    with rolled_back(alias):
        set_value(session)
        content(key)
    other = SessionStore(key)
    other["a"] = 3
    other.save()
    assert content(key) == {"a": 3}
    handed_over()
    valkey.flushall()
    assert content(key) == {"a": 3}


def test_a_reader_inside_a_transaction_puts_nothing_uncommitted_into_the_cache(alias, valkey):
    key = saved(a=1)
    with rolled_back(alias):
        set_value(SessionStore(key))
        valkey.flushall()
        for _ in range(2):
            assert content(key) == {"a": 2}
        # Nor is anything left that keeps others from filling it in.
        assert seen_by_others(alias, lambda: content(key)) == {"a": 1}
    assert content(key) == {"a": 1}


def test_a_save_of_another_in_the_meantime_is_not_lost(alias, valkey):
    """Of another session: this one's row is locked until the commit."""
    key, others = saved(a=1), saved(a=1)
    if connections[alias].vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    with rolled_back(alias):
        set_value(SessionStore(key))
        seen_by_others(alias, lambda: set_value(SessionStore(others)))
    assert (content(key), content(others)) == ({"a": 1}, {"a": 2})
    handed_over()
    valkey.flushall()
    assert (content(key), content(others)) == ({"a": 1}, {"a": 2})


@pytest.fixture
def waiting(alias, monkeypatch) -> str:
    """A session a value of which waits in the cache, for the database was away."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 3600.0)
    key = saved(a=1)
    content(key)
    homes.get_homes().database.failed()
    add_value(SessionStore(key))
    homes.get_homes().give_another_chance()
    return key


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("change", [None, set_value, log_in, log_out])
def test_nothing_that_waits_is_lost_by_a_hand_over_in_what_is_rolled_back(
    alias, valkey, waiting, change, is_known
):
    if not is_known:
        # Another process saved it.
        homes.get_homes()._waiting.clear()
    with rolled_back(alias):
        session = SessionStore(waiting)
        assert dict(session.items()) == {"a": 1, "b": 2}
        if change:
            change(session)
    assert content(waiting) == {"a": 1, "b": 2}
    handed_over()
    valkey.flushall()
    assert content(waiting) == {"a": 1, "b": 2}


@pytest.mark.parametrize("change", [None, set_value, log_in])
def test_what_waits_is_handed_over_by_what_is_committed(alias, valkey, waiting, change):
    with transaction.atomic(using=alias):
        session = SessionStore(waiting)
        assert dict(session.items()) == {"a": 1, "b": 2}
        if change:
            change(session)
        expected = dict(session.items())
    key = session.session_key
    assert content(key) == expected
    handed_over()
    assert content(key) == expected
    assert not valkey.keys("*:pending")
    valkey.flushall()
    assert content(key) == expected


@pytest.mark.parametrize("change", [None, set_value, log_out])
def test_what_waits_in_a_hash_that_is_behind_its_row_is_read_in_a_transaction(
    alias, valkey, waiting, change
):
    homes.get_homes().cache.failed()
    session = SessionStore(waiting)
    session["c"] = 3
    session.save()
    homes.get_homes().give_another_chance()
    with transaction.atomic(using=alias):
        session = SessionStore(waiting)
        assert dict(session.items()) == {"a": 1, "b": 2, "c": 3}
        if change:
            change(session)
        expected = dict(session.items())
        assert content(waiting) == expected
    handed_over()
    assert content(waiting) == expected
    valkey.flushall()
    assert content(waiting) == expected


def handed_over() -> None:
    naming = get_configuration().naming
    operation = outbox.drain_all(homes.get_homes(), naming, batch_size=10)
    sync.get_driver("sessions").run(operation)


@pytest.fixture
def killed_at_commit(monkeypatch):
    """Kill the process between COMMIT and its hooks; the next one knows nothing."""

    @contextmanager
    def commit(alias: str) -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr(transactions.Deferred, "__call__", lambda hook: None)
            with transaction.atomic(using=alias):
                yield
        homes._homes.clear()

    return commit


@changes
def test_a_process_killed_before_its_hooks_leaves_nothing_old_behind(
    alias, valkey, killed_at_commit, change
):
    session = SessionStore(saved(a=1))
    key = session.session_key
    session["a"]
    with killed_at_commit(alias):
        change(session)
        new_key = session.session_key if change in (rotate, log_in) else key
    assert marked(alias) == 1
    # Another process looks.
    if change in leaves_key:
        assert content(key) == {}
    assert content(new_key) == CHANGES[change]
    assert content(new_key) == CHANGES[change]
    assert marked(alias) == 0
    valkey.flushall()
    assert content(new_key) == CHANGES[change]


def test_a_process_that_was_running_all_the_time_knows_within_a_second(
    alias, valkey, killed_at_commit
):
    key = saved(a=1)
    session = SessionStore(key)
    session["a"]
    at_work = homes.get_homes()
    with killed_at_commit(alias):
        log_out(session)
    at_work._next_reconciliation -= homes.RECONCILE_SECONDS
    configuration = get_configuration()
    homes._homes[configuration.alias, alias, configuration.place] = at_work
    assert homes.get_homes() is at_work
    assert content(key) == {}
    assert session_hashes(valkey) == []


def test_the_cache_that_is_away_at_the_commit_is_told_later(alias, relay, valkey):
    key = saved(a=1)
    session = SessionStore(key)
    session["a"]
    with transaction.atomic(using=alias):
        log_out(session)
        relay.refuse()
    relay.heal()
    homes.get_homes().give_another_chance()
    assert content(key) == {}
    assert session_hashes(valkey) == []


def test_with_testcase_a_session_lasts_from_request_to_request(alias, valkey, settings):
    settings.MIDDLEWARE = ["django_elasticache_sessions.middleware.SessionMiddleware"]
    key = saved(before=1)

    class Visits(TestCase):
        databases = frozenset({alias})

        def test_requests(self) -> None:
            visitor = Visitor()
            visitor.take(("set", "a", 1))
            assert visitor.read().json() == {"a": 1}
            visitor.take(("set", "a", 2), ("set", "b", 3))
            assert visitor.read().json() == {"a": 2, "b": 3}
            first = visitor.session_key
            visitor.take(("cycle_key",), ("set", "c", 4))
            assert visitor.session_key != first
            assert visitor.read().json() == {"a": 2, "b": 3, "c": 4}
            assert content(first) == {}
            visitor.take(("flush",))
            assert visitor.read().json() == {}

        def test_what_was_there_before(self) -> None:
            visitor = Visitor()
            visitor.session_key = key
            visitor.take(("set", "a", 1))
            assert visitor.read().json() == {"before": 1, "a": 1}

        def test_commit_hooks_that_are_run(self) -> None:
            visitor = Visitor()
            with self.captureOnCommitCallbacks(using=alias, execute=True):
                visitor.take(("set", "a", 1))
            assert visitor.read().json() == {"a": 1}

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Visits)
    result = suite.run(unittest.TestResult())
    assert (result.testsRun, result.errors, result.failures) == (3, [], [])
    assert content(key) == {"before": 1}


@pytest.fixture
def atomic_requests(alias, settings) -> None:
    """Have each view be a transaction."""
    settings.MIDDLEWARE = ["django_elasticache_sessions.middleware.SessionMiddleware"]
    connections.settings[alias]["ATOMIC_REQUESTS"] = True
    connections[alias].settings_dict["ATOMIC_REQUESTS"] = True


def ask_wsgi(path: str, key: str) -> Any:
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = key
    return client.get(path)


def ask_asgi(path: str, key: str) -> Any:
    client = AsyncClient(raise_request_exception=False)
    client.cookies["sessionid"] = key
    alias = get_configuration().options.fallback_database

    async def ask() -> Any:
        try:
            return await client.get(path)
        finally:
            await sync_to_async(lambda: connections[alias].close())()

    return asyncio.run(ask())


servers = pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])


@servers
@pytest.mark.parametrize(
    "steps", ['["set","a",2],["save"]', '["cycle_key"],["set","a",2],["save"]', '["cycle_key"]']
)
def test_what_a_view_that_fails_did_to_its_session_is_undone(
    alias, valkey, atomic_requests, ask, steps
):
    key = saved(a=1)
    answer = ask(f'/steps/?status=200&steps=[{steps},["fail"]]', key)
    assert answer.status_code == 500
    # The browser keeps the session key that is alive.
    assert "sessionid" not in answer.cookies
    for _ in range(2):
        assert content(key) == {"a": 1}
        valkey.flushall()


@servers
@pytest.mark.parametrize("middleware", ["django_elasticache_sessions", "django.contrib.sessions"])
def test_a_logout_in_a_view_that_fails_is_undone_though_the_browser_forgets_its_key(
    alias, valkey, atomic_requests, ask, settings, middleware
):
    """As with Django's own engines, whose middleware deletes the cookie of an empty session."""
    settings.MIDDLEWARE = [f"{middleware}.middleware.SessionMiddleware"]
    key = saved(a=1)
    answer = ask('/steps/?status=200&steps=[["flush"],["fail"]]', key)
    assert answer.status_code == 500
    assert answer.cookies["sessionid"].value == ""
    for _ in range(2):
        assert content(key) == {"a": 1}
        valkey.flushall()


@servers
def test_what_a_view_that_succeeds_did_to_its_session_is_kept(alias, valkey, atomic_requests, ask):
    key = saved(a=1)
    assert ask('/steps/?status=200&steps=[["set","b",2]]', key).status_code == 200
    assert content(key) == {"a": 1, "b": 2}
    answer = ask('/steps/?status=200&steps=[["cycle_key"],["set","c",3]]', key)
    new_key = answer.cookies["sessionid"].value
    for _ in range(2):
        assert content(key) == {}
        assert content(new_key) == {"a": 1, "b": 2, "c": 3}
        valkey.flushall()
    ask('/steps/?status=200&steps=[["flush"]]', new_key)
    assert content(new_key) == {}


def test_views_in_transactions_are_served_by_the_cache(
    alias, valkey, atomic_requests, relay, monkeypatch
):
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600.0)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", 3600.0)
    key = saved(a=1)
    homes._homes.clear()
    for _ in range(2):
        assert ask_wsgi("/read/", key).json() == {"a": 1}
    asked = statements(alias)
    with relay.recording() as tape:
        assert ask_wsgi("/read/", key).json() == {"a": 1}
    assert (tape.round_trips, [word for word in asked if word != "BEGIN"]) == (1, [])


def test_what_the_cache_lost_it_gets_back_from_views_in_transactions(
    alias, valkey, atomic_requests, monkeypatch
):
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600.0)
    key = saved(a=1)
    valkey.flushall()
    assert ask_wsgi("/read/", key).json() == {"a": 1}
    asked = statements(alias)
    assert ask_wsgi("/read/", key).json() == {"a": 1}
    assert [word for word in asked if word != "BEGIN"] == []


async def change_asynchronously(session: SessionStore, change: Act) -> None:
    """Do one of the changes by the asynchronous methods."""
    if change is set_value:
        await session.aset("a", 2)
        await session.asave()
    elif change is log_in:
        await session.acycle_key()
        await session.aset(SESSION_KEY, "7")
        await session.asave()
    else:
        await session.aflush()


@pytest.fixture
def loop_closes(alias) -> Iterator[Callable[[Any], Any]]:
    """Run a coroutine; its thread's connection to the database is closed at the end."""

    def run(coroutine: Any) -> Any:
        async def whole() -> Any:
            try:
                return await coroutine
            finally:
                await sync_to_async(lambda: connections[alias].close())()

        return asyncio.run(whole())

    return run


@pytest.mark.parametrize("change", [set_value, log_in, log_out])
@pytest.mark.parametrize("is_committed", [False, True])
def test_a_transaction_in_a_thread_of_asynchronous_code_is_one_too(
    alias, valkey, loop_closes, change, is_committed
):
    key = saved(a=1)
    session = SessionStore(key)

    @sync_to_async
    def work() -> None:
        session["a"]
        with transaction.atomic(using=alias):
            change(session)
            if not is_committed:
                raise Rollback

    async def request() -> dict[str, Any]:
        if is_committed:
            await work()
        else:
            with pytest.raises(Rollback):
                await work()
        return dict(await SessionStore(key).aitems())

    expected = CHANGES[change] if is_committed else {"a": 1}
    old = {} if is_committed and change in leaves_key else expected
    assert loop_closes(request()) == old
    assert content(key) == old
    assert content(session.session_key if is_committed else key) == expected
    valkey.flushall()
    assert content(key) == old


@pytest.mark.parametrize("change", [set_value, log_in, log_out])
@pytest.mark.parametrize("is_committed", [False, True])
def test_a_transaction_around_asynchronous_calls_is_one_too(
    alias, valkey, loop_closes, change, is_committed
):
    key = saved(a=1)
    session = SessionStore(key)
    atomic = transaction.atomic(using=alias)

    async def request() -> None:
        await session.aget("a")
        await sync_to_async(atomic.__enter__)()
        failure = None if is_committed else Rollback()
        try:
            await change_asynchronously(session, change)
            new_key = session.session_key if change is log_in else key
            assert dict(await SessionStore(new_key).aitems()) == CHANGES[change]
            assert await asyncio.to_thread(seen_by_others, alias, lambda: content(key)) == {"a": 1}
        finally:
            await sync_to_async(atomic.__exit__)(type(failure) if failure else None, failure, None)

    expected = CHANGES[change] if is_committed else {"a": 1}
    loop_closes(request())
    new_key = session.session_key if is_committed and change is log_in else key
    assert content(new_key) == expected
    if is_committed and change in leaves_key:
        assert content(key) == {}
    valkey.flushall()
    assert content(new_key) == expected


@pytest.fixture
def counted(alias, relay):
    """Count the round trips to the cache and the statements of a block."""

    @contextmanager
    def count(*, round_trips: int, statements: list[str]) -> Iterator[None]:
        asked: list[str] = []

        def note(execute, sql, params, many, context):
            asked.append(sql.split()[0])
            return execute(sql, params, many, context)

        with relay.recording() as tape, connections[alias].execute_wrapper(note):
            yield
        assert [word for word in asked if word != "BEGIN"] == statements
        assert tape.round_trips == round_trips

    return count


def test_a_write_in_a_transaction_takes_one_statement_more(counted, alias, monkeypatch):
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600.0)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", 3600.0)
    for key in [saved(a=1) for _ in range(20)]:
        session = SessionStore(key)
        session["a"]
    with transaction.atomic(using=alias), counted(round_trips=1, statements=[]):
        session = SessionStore(key)
        session["a"]
    with counted(round_trips=1, statements=["UPDATE", "UPDATE"]), transaction.atomic(using=alias):
        set_value(session)
    with counted(round_trips=1, statements=["UPDATE", "UPDATE"]), transaction.atomic(using=alias):
        session.cycle_key()
    with counted(round_trips=1, statements=["UPDATE", "UPDATE"]), transaction.atomic(using=alias):
        session.delete()
    with counted(round_trips=1, statements=["INSERT"]), transaction.atomic(using=alias):
        saved(a=1)


def test_what_was_rolled_back_in_a_savepoint_is_saved_by_the_next_save(alias):
    key = saved(a=1)
    session = SessionStore(key)
    session["a"]
    with transaction.atomic(using=alias):
        with savepoint_rolled_back(alias):
            session["b"] = 2
            session.save()
        session.save()
    assert content(key) == {"a": 1, "b": 2}
    session.save()
    assert content(key) == {"a": 1, "b": 2}
