"""What lies in a store, apart from the counts of what was created and ended."""

from __future__ import annotations

import redis


def stored_keys(client: redis.Redis) -> list[bytes]:
    """Return the keys of sessions, of indexes, and of whatever else is there."""
    return [key for key in client.keys("*") if b":events:{" not in key]


def session_hashes(client: redis.Redis) -> list[bytes]:
    """Return the keys of the hashes among them."""
    return [key for key in stored_keys(client) if client.type(key) == b"hash"]
