"""The `cached_db` engine: sessions live in the database, and in the session cache for speed.

`SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"`
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from .. import fallback, listing, row_listing
from ..budgets import Budget
from ..conf import get_outline
from ..operations import Operation
from ..statements import within
from .base import HashSessionStore

T = TypeVar("T")


class SessionStore(HashSessionStore):
    """One session, kept as a row and as an encrypted hash with a TTL.

    The name is Django's: the salt of `encode()` is the class's qualified name.
    """

    _operations: ClassVar[Any] = fallback
    _listings: ClassVar[tuple[Any, ...]] = (row_listing, listing)
    _remembers_ends: ClassVar[bool] = True

    def _bounded(self, operation: Operation[T]) -> Operation[T]:
        seconds = get_outline().options.database_timeout
        return within(
            Budget(seconds, hash(self.session_key) if self.session_key else self), operation
        )
