"""What waits for the commit of a transaction on the fallback database.

Nothing that a transaction wrote reaches the cache before its commit. Inside it the sessions that it
has changed are read from their rows; after it the cache follows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from django.db import connections, transaction

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
        _runners[-1](self._factory())


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
class IsChanged:
    """A step of an operation: whether the open transaction has changed any of some sessions."""

    alias: str
    digests: Sequence[bytes]

    def run(self) -> bool:
        """Look."""
        connection = connections[self.alias]
        return connection.in_atomic_block and any(
            isinstance(hook, Deferred) and not hook.digests.isdisjoint(self.digests)
            for _, hook, *_ in connection.run_on_commit
        )


def is_open(alias: str) -> bool:
    """Tell whether this thread has a transaction open."""
    return bool(connections[alias].in_atomic_block)


def may_be_changed() -> bool:
    """Tell whether there is anything for `IsChanged` to find."""
    return bool(_deferred)


def set_runner(run: Callable[[Generator[Any, Any, Any]], object]) -> None:
    """Say what runs operations: a driver, which is above this module."""
    _runners.append(run)


_deferred: WeakSet[Deferred] = WeakSet()
_runners: list[Callable[[Generator[Any, Any, Any]], object]] = []
