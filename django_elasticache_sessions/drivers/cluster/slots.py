"""Which of a cluster's 16384 slots a command belongs to."""

from __future__ import annotations

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ...operations import Command

SLOTS = REDIS_CLUSTER_HASH_SLOTS
_SCRIPTS = frozenset({b"EVALSHA", b"EVAL"})
#: Any node answers these for itself.
_KEYLESS = frozenset(
    {"ACL", "CLIENT", "CLUSTER", "COMMAND", "DBSIZE", "INFO", "PING", "ROLE", "SCAN", "TIME"}
)


def slot_of(command: Command) -> int | None:
    """Return the slot of a command's keys, which all lie in one; `None` where it has no key."""
    name = command[0]
    if name in _KEYLESS:
        return None
    # EVALSHA sha numkeys key ...; of every other command the key comes first.
    key = command[3 if name in _SCRIPTS else 1]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
