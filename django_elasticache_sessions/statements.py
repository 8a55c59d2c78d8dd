"""Running statements on the fallback database, from operations that do no input or output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, DataError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from .exceptions import DatabaseUnavailable, SessionTooLarge, TransactionBroken
from .texts import Text

T = TypeVar("T")
logger = logging.getLogger("django_elasticache_sessions")

ATTEMPTS = 3
#: SQLSTATEs of PostgreSQL: serialization failure, deadlock.
_PASSING_STATES = ("40001", "40P01")
#: Error numbers of MySQL: lock wait timeout, deadlock, changed since last read (MariaDB).
_PASSING_NUMBERS = (1205, 1213, 1020)
#: Of MySQL.
_PACKET_TOO_LARGE = 1153
_PASSING_TEXTS = ("database is locked", "database table is locked")
_READ_ONLY = ("read-only", "readonly", "read only")


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """A step of an operation: a function of `rows`, to be called with a connection."""

    alias: str
    function: Callable[..., T]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self) -> T:
        """Call it. Raises `DatabaseUnavailable`, `SessionTooLarge`, and what the function raises.

        What another transaction or a connection gone idle caused is tried again, a bounded number
        of times, unless a transaction is open, which would not have what it had before: there any
        failure is `TransactionBroken`.
        """
        for attempt in range(1, ATTEMPTS + 1):
            connection = self._connection()
            was_connected = connection.connection is not None
            try:
                return self.function(connection, *self.arguments, **self.options)
            except (DatabaseError, InterfaceError, OSError) as error:
                # Of the system: no descriptor is left to connect with, for instance.
                if _is_too_large(error):
                    raise SessionTooLarge(_too_large(self.alias)) from None
                if connection.in_atomic_block:
                    # What it did before is undone with it: the cache must not take its place.
                    raise TransactionBroken(_describe(self.alias, error)) from None
                is_last = attempt == ATTEMPTS
                if is_last or not _is_passing(connection, error, was_connected=was_connected):
                    raise DatabaseUnavailable(_describe(self.alias, error)) from None
        raise AssertionError

    def _connection(self) -> BaseDatabaseWrapper:
        try:
            return connections[self.alias]
        except ConnectionDoesNotExist:
            raise ImproperlyConfigured(unknown_alias(self.alias)) from None


def unknown_alias(alias: str) -> str:
    """Say that `FALLBACK_DATABASE` names a database that is not there."""
    return f"ELASTICACHE_SESSIONS['FALLBACK_DATABASE'] is {alias!r}, which DATABASES does not have."


def _is_passing(connection: BaseDatabaseWrapper, error: Exception, *, was_connected: bool) -> bool:
    """Tell whether another attempt may go better; gives up a connection that is dead."""
    cause = error.__cause__
    if (
        getattr(cause, "sqlstate", None) in _PASSING_STATES
        or (getattr(cause, "args", ()) or (None,))[0] in _PASSING_NUMBERS
        or any(text in str(error) for text in _PASSING_TEXTS)
    ):
        return True
    if not was_connected or (connection.connection is not None and connection.is_usable()):
        return False
    connection.close()
    return True


def _is_too_large(error: Exception) -> bool:
    number = (getattr(error.__cause__, "args", ()) or (None,))[0]
    return isinstance(error, DataError) or number == _PACKET_TOO_LARGE


def _too_large(alias: str) -> str:
    return (
        f"The session was not saved: the fallback database {alias!r} does not take a row of its "
        "size. Lower ELASTICACHE_SESSIONS['MAX_SESSION_BYTES'], or raise the database's limit "
        "(max_allowed_packet in MySQL)."
    )


def _describe(alias: str, error: Exception) -> Text:
    # The texts of databases show statements and values; their classes do not.
    if _is_table_missing(error):
        return Text(
            "The fallback database '%(alias)s' did not serve: its table is missing. Run "
            '"manage.py migrate --database=%(alias)s".',
            alias=alias,
        )
    if any(text in str(error).lower() for text in _READ_ONLY):
        return Text(
            "The fallback database '%(alias)s' did not serve: it is read-only. Point "
            "DATABASES['%(alias)s'] at the primary.",
            alias=alias,
        )
    return Text(
        "The fallback database '%(alias)s' did not serve (%(error)s).",
        alias=alias,
        error=type(error).__name__,
    )


def _is_table_missing(error: Exception) -> bool:
    cause = error.__cause__
    return (
        getattr(cause, "sqlstate", None) == "42P01"
        or (getattr(cause, "args", ()) or (None,))[0] == 1146
        or "no such table" in str(error)
    )
