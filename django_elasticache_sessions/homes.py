"""The two homes of a session, cache and database: whether they serve, and mending the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.signals import setting_changed

from . import rows, scripts
from .breaker import Breaker
from .conf import get_configuration
from .exceptions import DatabaseUnavailable, SessionStoreUnavailable
from .operations import Command, Operation, run
from .statements import Statement

T = TypeVar("T")

#: How often a process looks for hashes that others could not change.
RECONCILE_SECONDS = 1.0
_BATCH = 200


class Homes:
    """What this process knows of the two; shared by its threads and tasks."""

    def __init__(self, database_alias: str) -> None:
        """Take the alias in `DATABASES`."""
        self.database_alias = database_alias
        self.cache = Breaker()
        self.database = Breaker()
        #: The primary that answered last.
        self.origin = b"0"
        #: Whether this process has left hashes older than their rows.
        self.has_marked = False
        self._next_reconciliation = 0.0

    def is_reconciliation_due(self) -> bool:
        """Tell one caller per interval to look for hashes to be dropped; all, while some are."""
        if self.has_marked:
            return True
        now = time.monotonic()
        if now < self._next_reconciliation:
            return False
        self._next_reconciliation = now + RECONCILE_SECONDS
        return True


def get_homes() -> Homes:
    """Return the homes of sessions under the settings in force."""
    configuration = get_configuration()
    names = (configuration.alias, configuration.options.fallback_database)
    homes = _homes.get(names)
    if homes is None:
        homes = _homes.setdefault(names, Homes(names[1]))
    return homes


def ask_cache(homes: Homes, commands: tuple[Command, ...]) -> Operation[list[Any]]:
    """Yield commands, unless the cache is known not to serve. Raises `SessionStoreUnavailable`.

    Before the first commands after an outage, hashes that may be stale are dropped.
    """
    if not homes.cache.admits():
        raise SessionStoreUnavailable("The session store did not serve a moment ago.")
    try:
        if homes.is_reconciliation_due():
            yield from reconcile(homes)
        replies: list[Any] = yield commands
    except DatabaseUnavailable:
        homes.cache.failed()
        raise
    except SessionStoreUnavailable:
        homes.cache.failed()
        raise
    homes.cache.served()
    return replies


def ask_database(
    homes: Homes, function: Callable[..., T], *arguments: Any, **options: Any
) -> Operation[T]:
    """Yield a statement, unless the database is known not to serve.

    Raises `DatabaseUnavailable`, and what the function of `rows` raises.
    """
    if not homes.database.admits():
        raise DatabaseUnavailable("The fallback database did not serve a moment ago.")
    statement: Any = Statement(homes.database_alias, function, arguments, options)
    try:
        result: T = yield statement
    except DatabaseUnavailable:
        homes.database.failed()
        raise
    homes.database.served()
    return result


def reconcile(homes: Homes) -> Operation[int]:
    """Drop the hashes that may be older than their rows; return how many rows were mended.

    Raises `DatabaseUnavailable` only where this process knows that there are such hashes.
    """
    naming = get_configuration().naming
    mended = 0
    while True:
        try:
            found = yield from ask_database(homes, rows.stale, _BATCH)
        except DatabaseUnavailable:
            if homes.has_marked:
                raise
            return mended
        if not found:
            homes.has_marked = False
            return mended
        names = [naming.from_digest(row.sid) for row in found]
        yield tuple(
            run(
                scripts.DROP,
                (name.hash_key, name.index_key),
                (name.sid, row.version, int(row.is_ended)),
            )
            for name, row in zip(names, found, strict=True)
        )
        yield from ask_database(homes, rows.unmark, tuple(found))
        mended += len(found)


_homes: dict[tuple[str, str], Homes] = {}


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in ("CACHES", "DATABASES"):
        _homes.clear()


setting_changed.connect(_forget, dispatch_uid="django_elasticache_sessions.homes")
