"""Whom an error of the fallback database concerns: one transaction, one statement, or everybody.

Sources: PostgreSQL's "Error Codes", MySQL's "Server Error Message Reference", MariaDB's "Error
Codes", SQLite's "Result Codes".
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from django.db import DataError, IntegrityError
from django.db.transaction import TransactionManagementError

from .texts import Text


class Scope(Enum):
    """Whom an error concerns."""

    #: The transaction had failed before: it cannot go on, whatever is asked of it.
    TRANSACTION = auto()
    #: Another held a lock, or it took too long: other sessions need not meet it.
    STATEMENT = auto()
    #: The row that was to be written is refused, every other would be taken.
    ROW = auto()
    #: So it is, for its size.
    SIZE = auto()
    #: The database does not serve, or not as a primary.
    STORE = auto()


def scope_of(error: Exception) -> Scope:
    """Tell whom an error of Django's concerns; where it is not known, everybody."""
    if isinstance(error, TransactionManagementError):
        return Scope.TRANSACTION
    state, number = _state_of(error), _number_of(error)
    if isinstance(error, DataError) or number == _PACKET_TOO_LARGE:
        return Scope.SIZE
    is_of_row = state.startswith(_STATES_OF_ROWS) or number in _NUMBERS_OF_ROWS
    if isinstance(error, IntegrityError) or is_of_row:
        return Scope.ROW
    is_busy = any(text in str(error) for text in _TEXTS_OF_STATEMENTS)
    if is_busy or number in _NUMBERS_OF_STATEMENTS:
        return Scope.STATEMENT
    return _STATES.get(state, Scope.STORE)


def is_worth_another_attempt(error: Exception) -> bool:
    """Tell whether the same statement may go well at once: another transaction came first.

    Not after a wait for a lock, which was long enough.
    """
    return _state_of(error) in _PASSING_STATES or _number_of(error) in _PASSING_NUMBERS


def describe(alias: str, error: Exception) -> Text:
    """Return what is shown of an error: the texts of databases show statements and values."""
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
    is_known = _state_of(error) == "42P01" or _number_of(error) == 1146
    return is_known or "no such table" in str(error)


def _state_of(error: Exception) -> str:
    cause = error.__cause__
    # As psycopg calls it, and as psycopg2 does.
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or ""


def _number_of(error: Exception) -> Any:
    return (getattr(error.__cause__, "args", ()) or (None,))[0]


#: SQLSTATEs of PostgreSQL: in_failed_sql_transaction; query_canceled, lock_not_available,
#: serialization_failure, deadlock_detected.
_STATES = {
    "25P02": Scope.TRANSACTION,
    "57014": Scope.STATEMENT,
    "55P03": Scope.STATEMENT,
    "40001": Scope.STATEMENT,
    "40P01": Scope.STATEMENT,
}
#: Their classes of data, constraints, views, limits and triggers.
_STATES_OF_ROWS = ("22", "23", "44", "54", "P0")
_PASSING_STATES = ("40001", "40P01")
#: Of MySQL and MariaDB: lock wait timeout, deadlock, changed since last read (MariaDB), query
#: interrupted, max_statement_time (MariaDB), max_execution_time (MySQL).
_NUMBERS_OF_STATEMENTS = (1205, 1213, 1020, 1317, 1969, 3024)
_PASSING_NUMBERS = (1213, 1020)
#: What a trigger signals, and a row that is larger than a page.
_NUMBERS_OF_ROWS = (1644, 1118)
_PACKET_TOO_LARGE = 1153
#: Of SQLite.
_TEXTS_OF_STATEMENTS = ("database is locked", "database table is locked")
_READ_ONLY = ("read-only", "readonly", "read only")
