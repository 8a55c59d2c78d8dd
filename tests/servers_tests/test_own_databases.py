"""Databases of a test's own break as told, and mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ..servers.databases import Unavailable
from ..servers.mariadb import MariaDB
from ..servers.pipe import Pipe
from ..servers.postgres import Postgres


class Client:
    """Whoever comes as an application does."""

    def __init__(self, database: Any, pipe: Pipe) -> None:
        self._vendor = database.vendor
        self._pipe = pipe

    def connect(self) -> Any:
        """Return a new connection."""
        address = {"host": self._pipe.host, "port": self._pipe.port, "user": "chaos"}
        if self._vendor == "mysql":
            import pymysql

            return pymysql.connect(**address, database="chaos", autocommit=True, ssl_disabled=True)
        import psycopg

        return psycopg.connect(**address, dbname="chaos", autocommit=True)

    def write(self) -> None:
        """Write a row by a new connection."""
        connection = self.connect()
        try:
            write_by(connection)
        finally:
            connection.close()


def write_by(connection: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE IF NOT EXISTS written (number int)")
    cursor.execute("INSERT INTO written VALUES (1)")
    cursor.close()


@pytest.fixture(scope="module", params=[Postgres, MariaDB])
def served(request) -> Iterator[tuple[Any, Client]]:
    """A database, and a client of it."""
    try:
        with request.param() as database, Pipe(database.target) as pipe:
            yield database, Client(database, pipe)
    except Unavailable as missing:
        pytest.skip(f"this machine lacks {missing}")


@pytest.mark.parametrize("immediately", [False, True])
def test_it_is_stopped_and_started(served, immediately: bool):
    database, client = served
    client.write()
    database.stop(immediately=immediately)
    with pytest.raises(Exception, match=r"(?i)connection"):
        client.write()
    database.start()
    client.write()


def test_connections_are_cut(served):
    database, client = served
    connection = client.connect()
    database.cut_connections()
    with pytest.raises(Exception, match=r"(?i)connection"):
        write_by(connection)
    client.write()


def test_it_refuses_to_write(served):
    database, client = served
    client.write()
    database.set_read_only(True)
    with pytest.raises(Exception, match=r"read.only"):
        client.write()
    database.set_read_only(False)
    client.write()


def test_no_connection_is_left(served):
    database, client = served
    client.write()
    database.set_full(True)
    with pytest.raises(Exception, match=r"(?i)too many connections"):
        client.write()
    database.set_full(False)
    client.write()
