"""Running statements on the fallback database, from operations that do no input or output."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Generic, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from .budgets import Budget
from .database_errors import Scope, describe, is_worth_another_attempt, scope_of
from .exceptions import (
    DatabaseBusy,
    DatabaseUnavailable,
    RowRefused,
    SessionTooLarge,
    TransactionBroken,
    TransactionFailed,
)

T = TypeVar("T")

F = TypeVar("F", bound=Callable[..., Any])

ATTEMPTS = 3
_writing: set[Callable[..., Any]] = set()


def writes(function: F) -> F:
    """Mark a function of `rows` that changes rows, and so waits for others that do."""
    _writing.add(function)
    return function


def is_write(function: Callable[..., Any]) -> bool:
    """Tell whether a function is so marked."""
    return function in _writing


@dataclass(frozen=True, slots=True)
class Statement(Generic[T]):
    """A step of an operation: a function of `rows`, to be called with a connection."""

    alias: str
    function: Callable[..., T]
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Of the operation, if it has one; and how long this statement may take of it, in seconds.
    budget: Budget | None = None
    most_seconds: float = inf

    def run(self) -> T:
        """Call it. Raises `DatabaseUnavailable`, `SessionTooLarge`, and what the function raises.

        `DatabaseBusy` and `RowRefused` are among the former.

        What another transaction or a connection gone idle caused is tried again, a bounded number
        of times, unless a transaction is open, which would not have what it had before: there any
        failure is `TransactionBroken`.
        """
        for attempt in range(1, ATTEMPTS + 1):
            connection = self._connection()
            was_connected = connection.connection is not None
            try:
                return self._called(connection)
            except (DatabaseError, InterfaceError, OSError) as error:
                # Of the system: no descriptor is left to connect with, for instance.
                scope = scope_of(error)
                if scope is Scope.SIZE:
                    raise SessionTooLarge(_too_large(self.alias)) from None
                if connection.in_atomic_block:
                    # What it did before is undone with it: the cache must not take its place.
                    raise _broken(self.alias, error, scope) from None
                if scope is Scope.ROW:
                    raise RowRefused(describe(self.alias, error)) from None
                if attempt < ATTEMPTS and _may_pass(
                    connection, error, scope, was_connected=was_connected
                ):
                    continue
                if scope is Scope.STATEMENT:
                    raise self._busy(error) from None
                raise DatabaseUnavailable(describe(self.alias, error)) from None
        raise AssertionError

    def _called(self, connection: BaseDatabaseWrapper) -> T:
        if self.budget is None:
            return self.function(connection, *self.arguments, **self.options)
        if self.budget.is_spent:
            raise DatabaseBusy(describe(self.alias, TimeoutError()), None)
        end = self.budget.begin(connection, most_seconds=self.most_seconds)
        is_done = False
        try:
            result = self.function(connection, *self.arguments, **self.options)
            is_done = True
            return result
        finally:
            if end():
                if getattr(connection, "pool", None):
                    # The pool would take it for a good one.
                    with suppress(Exception):
                        connection.connection.close()
                connection.close()
                if not is_done:
                    raise self._busy(TimeoutError()) from None

    def _busy(self, error: Exception) -> DatabaseBusy:
        asker = self.budget.asker if self.budget else object()
        return DatabaseBusy(describe(self.alias, error), asker)

    def _connection(self) -> BaseDatabaseWrapper:
        try:
            return connections[self.alias]
        except ConnectionDoesNotExist:
            raise ImproperlyConfigured(unknown_alias(self.alias)) from None


def within(budget: Budget, operation: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Yield what an operation yields, its statements bound together by a budget."""
    try:
        step = next(operation)
        while True:
            if type(step) is Statement:
                step = replace(step, budget=budget)
            try:
                result = yield step
            except Exception as problem:
                step = operation.throw(problem)
            else:
                step = operation.send(result)
    except StopIteration as stop:
        returned: T = stop.value
        return returned
    finally:
        operation.close()


def unknown_alias(alias: str) -> str:
    """Say that `FALLBACK_DATABASE` names a database that is not there."""
    return f"ELASTICACHE_SESSIONS['FALLBACK_DATABASE'] is {alias!r}, which DATABASES does not have."


def _may_pass(
    connection: BaseDatabaseWrapper, error: Exception, scope: Scope, *, was_connected: bool
) -> bool:
    """Tell whether another attempt may go better; gives up a connection that is dead."""
    if is_worth_another_attempt(error):
        return True
    if scope is Scope.STATEMENT or not was_connected:
        return False
    if connection.connection is not None and connection.is_usable():
        return False
    connection.close()
    return True


def _broken(alias: str, error: Exception, scope: Scope) -> TransactionBroken:
    if scope is Scope.TRANSACTION:
        return TransactionFailed(
            "An error of the database broke the open transaction before the session was used: "
            "nothing can be asked of it until the end of its atomic block."
        )
    return TransactionBroken(describe(alias, error), is_store_away=scope is Scope.STORE)


def _too_large(alias: str) -> str:
    return (
        f"The session was not saved: the fallback database {alias!r} does not take a row of its "
        "size. Lower ELASTICACHE_SESSIONS['MAX_SESSION_BYTES'], or raise the database's limit "
        "(max_allowed_packet in MySQL)."
    )
