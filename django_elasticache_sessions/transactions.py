"""What waits for the commit of a transaction on the fallback database.

Nothing that a transaction wrote reaches the cache before its commit. Inside it the sessions that it
has changed are read from their rows; after it the cache follows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet, ref

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from .exceptions import SessionStoreUnavailable
from .forks import after_fork

Factory = Callable[[], Generator[Any, Any, Any]]


class Deferred:
    """An operation to be run after the commit: a hook of `transaction.on_commit`.

    Django forgets it when the transaction, or the savepoint that it was made in, is rolled back.
    """

    __slots__ = ("__weakref__", "_factory", "digests")

    def __init__(self, digests: frozenset[bytes], factory: Factory) -> None:
        """Take the sessions that were changed, and what makes the operation."""
        self.digests = digests
        self._factory = factory
        _deferred.add(self)

    def __call__(self) -> None:
        """Run it."""
        _deferred.discard(self)
        _runners[-1](_quietly(self._factory()))


def _quietly(operation: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
    """Do it; the commit stands, whatever store is away: the rows stay marked."""
    with suppress(SessionStoreUnavailable):
        yield from operation


@dataclass(frozen=True, slots=True)
class Defer:
    """A step of an operation: have another one run after the commit, on this connection."""

    alias: str
    digests: Sequence[bytes]
    factory: Factory

    def run(self) -> None:
        """Register it; runs it at once where no transaction is open by now."""
        hook = Deferred(frozenset(self.digests), self.factory)
        transaction.on_commit(hook, using=self.alias, robust=True)


@dataclass(frozen=True, slots=True)
class OnCommit:
    """A step of an operation: have a function called after the commit, on this connection."""

    alias: str
    function: Callable[[], None]

    def run(self) -> None:
        """Register it."""
        transaction.on_commit(self.function, using=self.alias, robust=True)


@dataclass(frozen=True, slots=True)
class IsChanged:
    """A step of an operation: whether the open transaction has changed any of some sessions."""

    alias: str
    digests: Sequence[bytes]

    def run(self) -> bool:
        """Look."""
        return not changed_in(connections[self.alias]).isdisjoint(self.digests)


def changed_in(connection: BaseDatabaseWrapper) -> frozenset[bytes]:
    """Return the sessions that a connection's open transaction has changed."""
    if not connection.in_atomic_block:
        return frozenset()
    hooks = (hook for _, hook, *_ in connection.run_on_commit if isinstance(hook, Deferred))
    return frozenset().union(*(hook.digests for hook in hooks))


@dataclass(frozen=True, slots=True)
class IsOpen:
    """A step of an operation: whether a transaction is open, in the thread of its statements."""

    alias: str

    def run(self) -> bool:
        """Look."""
        return bool(connections[self.alias].in_atomic_block)


def is_open(alias: str) -> Generator[Any, Any, bool]:
    """Tell whether an operation is inside a transaction.

    The thread of its statements is asked only where any thread has one open: for asynchronous code
    it is another than that of its event loop.
    """
    if connections[alias].in_atomic_block:
        return True
    others = (other() for other in _connections.get(alias, ()))
    if not any(other and other.in_atomic_block for other in others):
        return False
    is_inside: bool = yield IsOpen(alias)
    return is_inside


def may_be_changed() -> bool:
    """Tell whether there is anything for `IsChanged` to find."""
    return bool(_deferred)


def set_runner(run: Callable[[Generator[Any, Any, Any]], object]) -> None:
    """Say what runs operations: a driver, which is above this module."""
    _runners.append(run)


def _note_connection(*, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    with _lock:
        # Replaced as a whole: others look at it meanwhile.
        others = [
            other
            for other in _connections.get(connection.alias, ())
            if other() not in (None, connection)
        ]
        _connections[connection.alias] = (*others, ref(connection))


@after_fork
def _begin_anew() -> None:
    """Forget the connections of threads that the child does not have."""
    global _lock
    _lock = threading.Lock()
    _connections.clear()
    for connection in connections.all(initialized_only=True):
        _connections[connection.alias] = (ref(connection),)


_connections: dict[str, tuple[ref[BaseDatabaseWrapper], ...]] = {}
_lock = threading.Lock()
connection_created.connect(
    _note_connection, dispatch_uid="django_elasticache_sessions.transactions"
)
_deferred: WeakSet[Deferred] = WeakSet()
_runners: list[Callable[[Generator[Any, Any, Any]], object]] = []
