"""What lies in a store, apart from the counts of what was created and ended."""

from __future__ import annotations

import redis

from django_elasticache_sessions import fallback
from django_elasticache_sessions.backends.base import HashSessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.operations import METADATA_FIELD


def stored_keys(client: redis.Redis) -> list[bytes]:
    """Return the keys of sessions, of indexes, and of whatever else is there."""
    return [key for key in client.keys("*") if b":events:{" not in key]


def everything(client: redis.Redis) -> dict[bytes, object]:
    """Return what each key holds; not what DUMP says, which may be in another order each time."""
    readers = {
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"string": client.get,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*")}


def session_hashes(client: redis.Redis) -> list[bytes]:
    """Return the keys of the hashes among them."""
    return [key for key in stored_keys(client) if client.type(key) == b"hash"]


def backdate(
    client: redis.Redis, session: HashSessionStore, *, created: float = 0, saved: float = 0
) -> None:
    """Have a stored session be created and saved so many seconds earlier, in both homes."""
    name = get_configuration().naming.from_sid(str(session.session_id))
    words = client.hget(name.hash_key, METADATA_FIELD).split(b" ", 2)
    words[0] = b"%d" % (int(words[0]) - created * 1_000_000)
    words[1] = b"%d" % (int(words[1]) - saved)
    client.hset(name.hash_key, METADATA_FIELD, b" ".join(words))
    if session._operations is fallback:
        rows = FallbackSession.objects.using(get_configuration().options.fallback_database)
        rows = rows.filter(sid=name.digest.hex())
        rows.update(created=int(words[0]), saved=int(words[1]))
