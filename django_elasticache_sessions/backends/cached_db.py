"""The `cached_db` engine: sessions live in the database, and in the session cache for speed.

`SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"`
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import fallback, listing, row_listing
from .base import HashSessionStore


class SessionStore(HashSessionStore):
    """One session, kept as a row and as an encrypted hash with a TTL.

    The name is Django's: the salt of `encode()` is the class's qualified name.
    """

    _operations: ClassVar[Any] = fallback
    _listings: ClassVar[tuple[Any, ...]] = (row_listing, listing)
    _remembers_ends: ClassVar[bool] = True
