"""What a session takes at the server, as the server itself counts (`used_memory`)."""

from __future__ import annotations

import redis

from .child import Child

MEASURED_SIZES = ("0.6 KB", "10 KB")
#: Enough for the engine's scripts and connection buffers to be in place beforehand.
FIRST_SESSIONS = 50


def bytes_per_session(server: redis.Redis, child: Child, size: str, sessions: int) -> float:
    """Empty the server, have an engine store sessions, each of another user, and weigh them.

    Raises `RuntimeError` when memory was freed meanwhile: the weight would mean nothing.
    """
    empty(server)
    child.save(size, FIRST_SESSIONS)
    empty(server)
    before = used_memory(server)
    child.save(size, sessions)
    taken = used_memory(server) - before
    if taken <= 0:
        raise RuntimeError(f"The sessions of {child.engine.name} took {taken} bytes.")
    return taken / sessions


def empty(server: redis.Redis) -> None:
    """Forget all data, and do not answer before that is done."""
    # A plain FLUSHALL frees in the background from Valkey 8 on, so partly while sessions are saved.
    server.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]


def used_memory(server: redis.Redis) -> int:
    """Return what the server says that it takes, in bytes, what it keeps for replicas aside."""
    told = server.info("memory")
    return int(told["used_memory"]) - int(told.get("mem_total_replication_buffers", 0))
