"""Which of a cluster's 16384 slots a command belongs to."""

from __future__ import annotations

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ...operations import Command, Word

SLOTS = REDIS_CLUSTER_HASH_SLOTS
#: Of every other command the key comes first. EVALSHA sha numkeys key ...; OBJECT ENCODING key.
_KEY_AT: dict[Word, int] = {b"EVALSHA": 3, b"EVAL": 3, "OBJECT": 2}
#: Any node answers these for itself.
_KEYLESS = frozenset(
    {
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "DBSIZE", "INFO", "LASTSAVE", "PING", "ROLE"),
        *("SCAN", "SCRIPT", "TIME"),
    }
)


def slot_of(command: Command) -> int | None:
    """Return the slot of a command's keys, which all lie in one; `None` where it has no key."""
    name = command[0]
    if name in _KEYLESS:
        return None
    key = command[_KEY_AT.get(name, 1)]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
