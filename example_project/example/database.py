"""`DATABASE_URL`, read with the standard library."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

EXAMPLES = "sqlite:///shop.sqlite3, postgres://user:password@host:5432/shop or mysql://..."


class Database(NamedTuple):
    """A database Django speaks to; `driver` is the module it needs, `package` what to install.

    `options` bound how long whoever connects waits, in seconds.
    """

    engine: str
    driver: str
    package: str
    options: Mapping[str, int] = MappingProxyType({})


POSTGRES = Database(
    "django.db.backends.postgresql", "psycopg", "psycopg[binary]", {"connect_timeout": 2}
)
DATABASES = {
    "mysql": Database(
        "django.db.backends.mysql",
        "MySQLdb",
        "mysqlclient",
        {"connect_timeout": 2, "read_timeout": 5},
    ),
    "postgres": POSTGRES,
    "postgresql": POSTGRES,
    "sqlite": Database("django.db.backends.sqlite3", "sqlite3", ""),
}


def database_from_url(url: str) -> dict[str, object]:
    """Return the entry of `DATABASES` for a URL; its query becomes `OPTIONS`.

    Raises `ImproperlyConfigured`, which does not show the URL: a password may stand in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(
            f"DATABASE_URL is not a URL with a whole number as its port. Expected {EXAMPLES}."
        ) from None
    database = _database(parts.scheme)
    return {
        "ENGINE": database.engine,
        "NAME": _name(parts),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(port or ""),
        "OPTIONS": {**database.options, **dict(parse_qsl(parts.query))},
    }


def _database(scheme: str) -> Database:
    database = DATABASES.get(scheme)
    if database is None:
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {scheme!r}, expected one of {', '.join(DATABASES)}: "
            f"{EXAMPLES}."
        )
    if find_spec(database.driver) is None:
        raise ImproperlyConfigured(
            f"DATABASE_URL asks for {scheme}, whose driver {database.driver} is not installed. "
            f"Write: {sys.executable} -m pip install '{database.package}'"
        )
    return database


def _name(parts: SplitResult) -> str:
    name = unquote(parts.path.removeprefix("/"))
    if not name:
        raise ImproperlyConfigured(f"DATABASE_URL names no database. Expected {EXAMPLES}.")
    if name == ":memory:":
        raise ImproperlyConfigured(
            "DATABASE_URL names a database in memory, which threads cannot share. "
            "Name a file: sqlite:///shop.sqlite3"
        )
    return name
