"""Whom an error of the database concerns, each provoked on the real database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from django_elasticache_sessions import homes
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.database_errors import Scope, scope_of

Provoke = Callable[[str], None]


@pytest.fixture
def alias(request, settings, valkey, fallback_database) -> str:
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 2}
    alias = fallback_database(request.param)
    run(alias, "CREATE TABLE things (id INTEGER PRIMARY KEY, size INTEGER CHECK (size < 10))")
    run(alias, "INSERT INTO things VALUES (1, 1), (2, 1)")
    return alias


on_postgresql = pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
on_mariadb = pytest.mark.parametrize("alias", ["mysql"], indirect=True)
on_sqlite = pytest.mark.parametrize("alias", ["sqlite"], indirect=True)


def run(alias: str, *queries: str) -> None:
    with connections[alias].cursor() as cursor:
        for query in queries:
            cursor.execute(query)


@contextmanager
def another(alias: str) -> Iterator[Callable[..., None]]:
    """Run queries on a second connection, in a transaction of its own."""
    connection = connections.create_connection(alias)
    connection.set_autocommit(False)

    def do(*queries: str) -> None:
        with connection.cursor() as cursor:
            for query in queries:
                cursor.execute(query)

    try:
        yield do
    finally:
        connection.rollback()
        connection.close()


def scope(act: Callable[[], object]) -> Scope:
    with pytest.raises(DatabaseError) as caught:
        act()
    return scope_of(caught.value)


def failed_transaction(alias: str) -> None:
    with transaction.atomic(using=alias):
        with pytest.raises(DatabaseError):
            run(alias, "SELECT nothing_of_this_name")
        try:
            run(alias, "SELECT 1")
        finally:
            transaction.set_rollback(True, using=alias)


def rolled_back_only(alias: str) -> None:
    with transaction.atomic(using=alias):
        transaction.set_rollback(True, using=alias)
        run(alias, "SELECT 1")


def deadlock(alias: str) -> None:
    """Have two transactions wait for each other; the one whom the server chooses is refused."""
    errors: list[Exception] = []
    is_locked = threading.Barrier(2, timeout=10)

    def lock(first: int, second: int) -> None:
        try:
            with transaction.atomic(using=alias):
                run(alias, f"UPDATE things SET size = 2 WHERE id = {first}")
                is_locked.wait()
                run(alias, f"UPDATE things SET size = 2 WHERE id = {second}")
        except DatabaseError as error:
            errors.append(error)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=lock, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raise errors[0]


class TestPostgreSQL:
    pytestmark = on_postgresql

    @pytest.mark.parametrize("provoke", [failed_transaction, rolled_back_only])
    def test_a_transaction_that_has_failed(self, alias, provoke):
        assert scope(lambda: provoke(alias)) is Scope.TRANSACTION

    def test_statements_that_others_hold_up(self, alias):
        with another(alias) as other:
            other("UPDATE things SET size = 2 WHERE id = 1")
            change = "UPDATE things SET size = 3 WHERE id = 1"
            for limit in ("statement_timeout", "lock_timeout"):
                assert (
                    scope(lambda limit=limit: run(alias, f"SET {limit} = 50", change))
                    is Scope.STATEMENT
                )
                run(alias, f"RESET {limit}")

    def test_a_deadlock(self, alias):
        assert scope(lambda: deadlock(alias)) is Scope.STATEMENT

    def test_a_change_since_a_snapshot(self, alias):
        def change() -> None:
            with transaction.atomic(using=alias):
                run(alias, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                run(alias, "SELECT * FROM things")
                other("UPDATE things SET size = 2 WHERE id = 1", "COMMIT")
                run(alias, "UPDATE things SET size = 3 WHERE id = 1")

        with another(alias) as other:
            assert scope(change) is Scope.STATEMENT

    def test_a_row_that_is_refused(self, alias):
        assert scope(lambda: run(alias, "UPDATE things SET size = 20")) is Scope.ROW

    def test_a_server_that_takes_no_writes(self, alias):
        run(alias, "SET default_transaction_read_only = on")
        assert scope(lambda: run(alias, "UPDATE things SET size = 3")) is Scope.STORE

    def test_a_connection_that_an_administrator_ends(self, alias):
        kill = "SELECT pg_terminate_backend(pg_backend_pid())"
        assert scope(lambda: run(alias, kill)) is Scope.STORE

    def test_no_connection_left(self, alias):
        connection = connections[alias]
        name = connection.settings_dict["NAME"]
        run(alias, "CREATE ROLE visitor LOGIN", f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        visitor = connections.create_connection(alias)
        visitor.settings_dict = {**visitor.settings_dict, "USER": "visitor"}
        try:
            assert scope(visitor.ensure_connection) is Scope.STORE
        finally:
            run(alias, f"ALTER DATABASE {name} CONNECTION LIMIT -1", "DROP ROLE visitor")

    def test_no_connection_left_in_the_pool(self, alias):
        first, second = (connections.create_connection(alias) for _ in range(2))
        pool = {"min_size": 1, "max_size": 1, "timeout": 2}
        for one in (first, second):
            one.settings_dict = {**one.settings_dict, "OPTIONS": {"pool": pool}}
        first.ensure_connection()
        try:
            assert scope(second.ensure_connection) is Scope.STORE
        finally:
            first.close()
            first.close_pool()


class TestMariaDB:
    pytestmark = on_mariadb

    def test_a_transaction_that_has_failed(self, alias):
        assert scope(lambda: rolled_back_only(alias)) is Scope.TRANSACTION

    def test_statements_that_others_hold_up(self, alias):
        with another(alias) as other:
            other("UPDATE things SET size = 2 WHERE id = 1")
            change = "UPDATE things SET size = 3 WHERE id = 1"
            for limit in ("innodb_lock_wait_timeout = 1", "max_statement_time = 0.05"):
                assert (
                    scope(lambda limit=limit: run(alias, f"SET {limit}", change)) is Scope.STATEMENT
                )

    def test_a_deadlock(self, alias):
        assert scope(lambda: deadlock(alias)) is Scope.STATEMENT

    def test_a_row_that_is_refused(self, alias):
        assert scope(lambda: run(alias, "UPDATE things SET size = 20")) is Scope.ROW

    def test_a_server_that_takes_no_writes(self, alias):
        run(alias, "SET SESSION TRANSACTION READ ONLY")
        assert scope(lambda: run(alias, "UPDATE things SET size = 3")) is Scope.STORE

    def test_a_connection_that_an_administrator_ends(self, alias):
        run(alias, "SELECT 1")
        number = connections[alias].connection.thread_id()
        with another(alias) as other:
            other(f"KILL {number}")
        assert scope(lambda: run(alias, "SELECT 1")) is Scope.STORE


class TestSQLite:
    pytestmark = on_sqlite

    def test_a_transaction_that_has_failed(self, alias):
        assert scope(lambda: rolled_back_only(alias)) is Scope.TRANSACTION

    def test_a_lock(self, alias):
        run(alias, "PRAGMA busy_timeout = 20")
        with another(alias) as other:
            other("UPDATE things SET size = 2")
            assert scope(lambda: run(alias, "UPDATE things SET size = 3")) is Scope.STATEMENT

    def test_a_row_that_is_refused(self, alias):
        assert scope(lambda: run(alias, "UPDATE things SET size = 20")) is Scope.ROW

    def test_a_file_that_takes_no_writes(self, alias):
        run(alias, "PRAGMA query_only = 1")
        assert scope(lambda: run(alias, "UPDATE things SET size = 3")) is Scope.STORE


@pytest.mark.parametrize("alias", ["postgresql", "mysql", "sqlite"], indirect=True)
def test_a_view_that_broke_its_transaction_is_told_so_as_by_django(alias):
    session = SessionStore()
    session["a"] = 1
    session.save()
    key = session.session_key
    with transaction.atomic(using=alias):
        transaction.set_rollback(True, using=alias)
        session = SessionStore(key)
        assert session["a"] == 1
        session["a"] = 2
        with pytest.raises(transaction.TransactionManagementError):
            session.save()
    at_work = homes.get_homes()
    assert not at_work.is_database_left_alone
    assert not at_work.cache.is_open
    assert SessionStore(key)["a"] == 1


@pytest.mark.parametrize("alias", ["postgresql", "mysql", "sqlite"], indirect=True)
def test_a_database_that_cannot_be_reached_is_left_alone_at_once(alias, monkeypatch):
    session = SessionStore()
    session["a"] = 1
    session.save()
    connections[alias].close()

    def refused(self: Any, *args: object) -> None:
        raise OperationalError("no route to a host")

    monkeypatch.setattr(type(connections[alias]), "get_new_connection", refused)
    session["a"] = 2
    session.save()
    assert homes.get_homes().database.is_open
