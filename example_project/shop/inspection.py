"""What lies in the server for one session, as anyone who reads the store would see it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django_redis import get_redis_connection

from django_elasticache_sessions.conf import get_configuration

SHOWN_BYTES = 16


@dataclass(frozen=True, slots=True)
class StoredField:
    """A field of the hash: its name, the size of its value in bytes, and how the value begins."""

    name: str
    size: int
    begin: str


@dataclass(frozen=True, slots=True)
class StoredHash:
    """The hash of a session; `ttl` in seconds."""

    key: str
    kind: str
    ttl: int
    fields: list[StoredField]


def inspect(session: SessionBase) -> StoredHash | None:
    """Read a session's hash from the server, `None` when it has not been stored yet."""
    if not session.session_key:
        return None
    key = get_configuration().naming.session(session.session_key).hash_key
    client = get_redis_connection(settings.SESSION_CACHE_ALIAS)
    fields = [
        StoredField(name.decode("utf-8", "replace"), len(value), value[:SHOWN_BYTES].hex(" "))
        for name, value in sorted(client.hgetall(key).items())
    ]
    return StoredHash(key, client.type(key).decode(), client.ttl(key), fields)
