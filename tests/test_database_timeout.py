"""One visitor's trouble in the database is that visitor's, and no request waits for it for long."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from django_elasticache_sessions import breaker as breaker_module
from django_elasticache_sessions import budgets, homes, rows, watchdog
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.breaker import StatementBreaker
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import DatabaseBusy, DatabaseUnavailable
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.statements import Statement

from .servers.databases import MARIADB_PORT
from .servers.pipe import Pipe
from .servers.ports import LOOPBACK

TABLE = FallbackSession._meta.db_table
SECONDS = 0.5
#: What is never waited for: longer than all that these tests may take.
FOREVER = 60


def synchronously(session: SessionStore, operation: str) -> Any:
    return getattr(session, operation)()


def asynchronously(session: SessionStore, operation: str) -> Any:
    return asyncio.run(getattr(session, f"a{operation}")())


either_way = pytest.mark.parametrize("perform", [synchronously, asynchronously])


@pytest.fixture
def bounded(settings, valkey) -> None:
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 2, "DATABASE_TIMEOUT": SECONDS}


@pytest.fixture
def take_time(settings) -> Callable[[], None]:
    """Have statements be waited for that nothing holds up, on a machine that is busy."""

    def take() -> None:
        settings.ELASTICACHE_SESSIONS = {**settings.ELASTICACHE_SESSIONS, "DATABASE_TIMEOUT": 60}

    return take


@pytest.fixture(params=["postgresql", "mysql"])
def alias(request, bounded, fallback_database) -> str:
    """A database whose rows have locks of their own."""
    return fallback_database(request.param)


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def content(session_key: str) -> dict[str, object]:
    return dict(SessionStore(session_key).items())


def sid(session_key: str) -> str:
    return get_configuration().naming.session(session_key).digest.hex()


def change(session_key: str, value: object, perform: Callable[..., Any] = synchronously) -> None:
    session = SessionStore(session_key)
    session["a"] = value
    perform(session, "save")


@contextmanager
def other_connection(alias: str) -> Iterator[Any]:
    connection = connections.create_connection(alias)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def locked_row(alias: str, session_key: str) -> Iterator[None]:
    """Hold what a save of one session needs."""
    with other_connection(alias) as other, other.cursor() as cursor:
        other.set_autocommit(False)
        cursor.execute(f"SELECT sid FROM {TABLE} WHERE sid = %s FOR UPDATE", [sid(session_key)])
        yield
        other.rollback()


@contextmanager
def locked_table(alias: str) -> Iterator[None]:
    """Hold what every save needs; to read is allowed."""
    with other_connection(alias) as other, other.cursor() as cursor:
        if other.vendor == "mysql":
            cursor.execute(f"LOCK TABLES {TABLE} READ")
            yield
            cursor.execute("UNLOCK TABLES")
        elif other.vendor == "postgresql":
            other.set_autocommit(False)
            cursor.execute(f"LOCK TABLE {TABLE} IN EXCLUSIVE MODE")
            yield
            other.rollback()
        else:
            cursor.execute("BEGIN IMMEDIATE")
            yield
            cursor.execute("ROLLBACK")


def in_row(session_key: str, alias: str) -> bytes:
    """Return the stored value of a row, which changes with each save."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT fields FROM {TABLE} WHERE sid = %s", [sid(session_key)])
        [[fields]] = cursor.fetchall()
    return fields


@either_way
def test_a_locked_row_is_its_visitors_trouble_alone(alias, perform, take_time):
    """The save goes on as in an outage; nobody else is told that the database is unavailable."""
    first, second = saved(a=1), saved(a=1)
    before = in_row(second, alias)
    with locked_row(alias, first):
        for value in (2, 3, 4, 5):
            change(first, value, perform)
        at_work = homes.get_homes()
        assert not at_work.is_database_left_alone
        take_time()
        change(second, 2, perform)
        assert in_row(second, alias) != before
    assert content(first) == {"a": 5}
    assert content(second) == {"a": 2}


def test_what_waited_is_in_the_row_afterwards(alias, valkey, take_time):
    key = saved(a=1)
    with locked_row(alias, key):
        change(key, 2)
    take_time()
    assert content(key) == {"a": 2}
    valkey.flushdb()
    assert content(key) == {"a": 2}


@either_way
@pytest.mark.parametrize("vendor", ["postgresql", "mysql", "sqlite"])
def test_a_locked_table_costs_few_saves_the_wait(
    bounded, fallback_database, vendor, perform, monkeypatch, take_time
):
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(breaker_module, name, FOREVER)
    alias = fallback_database(vendor)
    keys = [saved(a=1) for _ in range(8)]
    waits: list[object] = []
    original = StatementBreaker.stumbled

    def noted(breaker: StatementBreaker, asker: object, **options: Any) -> bool:
        waits.append(asker)
        return original(breaker, asker, **options)

    monkeypatch.setattr(StatementBreaker, "stumbled", noted)
    with locked_table(alias):
        for key in keys:
            change(key, 2, perform)
            assert content(key) == {"a": 2}
        at_work = homes.get_homes()
        assert at_work.writes.is_open
        # To ask it of a row is as quick as ever.
        assert not at_work.database.is_open
        assert len(waits) < len(keys)
    at_work.give_another_chance()
    take_time()
    assert [content(key) for key in keys] == [{"a": 2}] * len(keys)


@contextmanager
def frozen(alias: str) -> Iterator[None]:
    """Stop the server's process that serves this thread's connection."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_postgresql_is_not_waited_for(bounded, fallback_database, take_time):
    alias = fallback_database("postgresql")
    first = saved(a=1)
    with frozen(alias):
        change(first, 2)
        assert content(first) == {"a": 2}
    take_time()
    assert content(first) == {"a": 2}


@pytest.fixture
def pipe(bounded, fallback_database) -> Iterator[tuple[str, Pipe]]:
    """MariaDB behind a network that may carry nothing any more."""
    alias = fallback_database("mysql")
    with Pipe((LOOPBACK, MARIADB_PORT)) as pipe:
        connections[alias].close()
        connections.settings[alias] |= {"HOST": pipe.host, "PORT": pipe.port}
        # To connect is the driver's: nobody else can cut it off.
        connections.settings[alias]["OPTIONS"] |= {"connect_timeout": 1, "read_timeout": 1}
        del connections[alias]
        yield alias, pipe
        pipe.heal()
        connections[alias].close()


@either_way
def test_a_mariadb_that_does_not_answer_is_not_waited_for(pipe, perform, take_time):
    _, network = pipe
    key = saved(a=1)
    network.hold()
    try:
        change(key, 2, perform)
        assert content(key) == {"a": 2}
    finally:
        network.heal()
    take_time()
    assert content(key) == {"a": 2}


def test_all_statements_of_a_save_wait_no_longer_together(alias, monkeypatch):
    """What is asked after the first one that took too long is not tried at all."""
    key = saved(a=1)
    begun = 0
    original = budgets.Budget.begin

    def counted(budget: Any, connection: Any, **options: Any) -> Any:
        nonlocal begun
        begun += 1
        return original(budget, connection, **options)

    session = SessionStore(key)
    session["a"] = 2
    with locked_row(alias, key):
        monkeypatch.setattr(budgets.Budget, "begin", counted)
        session.save()
    assert begun == 1


def test_a_transaction_of_the_caller_is_not_cut(alias):
    """It would be lost with its connection: it waits as its own statements do."""
    key = saved(a=1)
    session = SessionStore(key)
    session["a"] = 2
    released = threading.Event()

    def hold() -> None:
        with locked_row(alias, key):
            held.set()
            released.wait(10)

    held = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    threading.Timer(SECONDS * 3, released.set).start()
    with transaction.atomic(using=alias):
        session.save()
    thread.join()
    assert content(key) == {"a": 2}


def test_one_caller_looks_while_others_go_on(alias, monkeypatch):
    """A look for what the cache was not told is not begun again while it is under way."""
    at_work = homes.get_homes()
    content(saved(a=1))
    at_work._next_reconciliation = 0.0
    assert at_work.is_reconciliation_due()
    at_work.is_reconciling = True
    at_work._next_reconciliation = 0.0
    assert not at_work.is_reconciliation_due()
    at_work.is_reconciling = False
    assert at_work.is_reconciliation_due()


class Connection:
    """What a driver has."""

    def __init__(self, ours: socket.socket) -> None:
        self.fileno = ours.fileno


class TestWatchdog:
    def test_it_shuts_nothing_that_is_over(self):
        dog = watchdog.Watchdog()
        ours, theirs = socket.socketpair()
        assert watchdog.Watch(dog, ours.fileno(), 0.02).end() is False
        assert not dog._watches
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"
        ours.close()
        theirs.close()

    def test_a_descriptor_that_was_used_again_is_not_shut(self):
        dog = watchdog.Watchdog()
        ours, theirs = socket.socketpair()
        connection = Connection(ours)
        watch = watchdog.Watch(dog, budgets._descriptor_of(connection), 0.05)
        # The driver closes the connection, and the number goes to somebody else's.
        os.close(ours.detach())
        others, peer = socket.socketpair()
        theirs.settimeout(10)
        assert theirs.recv(1) == b""
        assert watch.end() is True
        others.sendall(b"x")
        assert peer.recv(1) == b"x"
        for one in (theirs, others, peer):
            one.close()

    def test_a_connection_that_is_gone_leaves_no_descriptor_behind(self):
        ours, theirs = socket.socketpair()
        connection = Connection(ours)
        own = budgets._descriptor_of(connection)
        assert budgets._descriptor_of(connection) == own != ours.fileno()
        del connection
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(own)
        ours.close()
        theirs.close()

    def test_a_connection_that_its_driver_drops_stays_until_the_statement_is_over(self):
        ours, theirs = socket.socketpair()
        owner = Connection(ours)
        own = budgets._descriptor_of(owner)
        watch = watchdog.Watch(watchdog.Watchdog(), own, FOREVER, owner)
        del owner
        gc.collect()
        os.fstat(own)
        assert watch.end() is False
        ours.close()
        theirs.close()

    def test_without_a_thread_it_watches_nothing_and_raises_nothing(self, bounded, monkeypatch):
        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        dog = watchdog.Watchdog()
        monkeypatch.setattr(budgets, "WATCHDOG", dog)
        ours, theirs = socket.socketpair()
        owner = Connection(ours)
        owner.vendor, owner.connection = "postgresql", owner
        with monkeypatch.context() as patching:
            patching.setattr(threading.Thread, "start", refuse)
            assert budgets._bounds(owner, FOREVER)() is False
        assert not dog._watches
        theirs.settimeout(10)
        end = budgets._bounds(owner, 0.02)
        assert theirs.recv(1) == b""
        assert end() is True
        ours.close()
        theirs.close()

    def test_an_earlier_deadline_wakes_it(self):
        dog = watchdog.Watchdog()
        late, early = socket.socketpair(), socket.socketpair()
        first = watchdog.Watch(dog, late[0].fileno(), FOREVER)
        second = watchdog.Watch(dog, early[0].fileno(), 0.02)
        early[1].settimeout(10)
        assert early[1].recv(1) == b""
        assert second.end()
        assert not first.end()
        for one in (*late, *early):
            one.close()

    def test_a_forked_process_begins_anew(self):
        dog = watchdog.Watchdog()
        one, other = socket.socketpair()
        watchdog.Watch(dog, one.fileno(), FOREVER)
        # As in the child: its parent's thread is not there.
        dog.forget()
        other.settimeout(10)
        watch = watchdog.Watch(dog, one.fileno(), 0.02)
        assert other.recv(1) == b""
        assert watch.end()
        one.close()
        other.close()


def test_a_write_that_is_refused_takes_no_readers_turn(alias):
    """After a frozen server both breakers are open; the next read is to find out that it serves."""
    at_work = homes.get_homes()
    for breaker in (at_work.database, at_work.writes):
        breaker.failed()
    at_work.database._next_attempt = 0.0
    with pytest.raises(DatabaseUnavailable):
        next(homes.ask_database(at_work, rows.mark_stale, b"0" * 16))
    assert next(homes.ask_database(at_work, rows.load, (b"0" * 16,))).function is rows.load


def test_an_error_that_concerns_one_statement_opens_nothing(bounded, fallback_database):
    alias = fallback_database("postgresql")
    key = saved(a=1)
    at_work = homes.get_homes()

    def slow(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 20")
            try:
                cursor.execute("SELECT pg_sleep(5)")
            finally:
                cursor.execute("RESET statement_timeout")

    with pytest.raises(DatabaseBusy):
        Statement(alias, slow).run()
    assert not at_work.database.is_open
    assert content(key) == {"a": 1}


def test_a_database_error_of_ours_is_never_shown_raw(alias):
    def broken(connection: Any) -> None:
        raise DatabaseError("a text with a value")

    with pytest.raises(DatabaseUnavailable) as caught:
        Statement(alias, broken).run()
    assert "a value" not in str(caught.value)
