"""The `cache` engine: sessions live in the session cache alone.

`SESSION_ENGINE = "django_elasticache_sessions.backends.cache"`
"""

from __future__ import annotations

from .base import HashSessionStore


class SessionStore(HashSessionStore):
    """One session, kept as an encrypted hash with a TTL.

    The name is Django's: the salt of `encode()` is the class's qualified name.
    """
