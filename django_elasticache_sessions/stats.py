"""How the sessions and their stores are: what `live.stats()`, `sessionstats` and metrics show."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import fallback, listing, row_listing
from .conf import get_configuration
from .exceptions import SessionStoreUnavailable
from .homes import ask_database, get_homes
from .keys import Naming
from .listing import Counts
from .operations import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """The session cache; `None` where the server does not tell. Sizes in bytes.

    `evicted_keys`, `keyspace_hits` and `keyspace_misses` count since the server started, and count
    what else lies on it too. `pending` sessions wait for the database.
    """

    signed_in: int
    anonymous: int
    pending: int
    latency_seconds: float
    version: str | None
    used_memory_bytes: int | None
    max_memory_bytes: int | None
    fragmentation_ratio: float | None
    eviction_policy: str | None
    evicted_keys: int | None
    keyspace_hits: int | None
    keyspace_misses: int | None
    connected_clients: int | None
    uptime_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseStats:
    """The fallback rows: living ones, marks of ended ones, and those the cache is behind."""

    signed_in: int
    anonymous: int
    ended: int
    stale: int
    latency_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Both stores. `None` stands for one that did not answer, or is not used.

    `problems` says why, by `"cache"`, `"database"` and `"info"` (the server's own figures).
    """

    cache: CacheStats | None
    database: DatabaseStats | None
    problems: Mapping[str, str]

    @property
    def live(self) -> Counts | None:
        """How many sessions live, by the rows where there are any; `None` where nobody knows."""
        known = self.database or self.cache
        return Counts(known.signed_in, known.anonymous) if known else None


def collect(operations: Any) -> Operation[Stats]:
    """Ask the stores of an engine, by its module of operations; no store's absence is an error."""
    problems: dict[str, str] = {}
    is_durable = operations is fallback
    cache = database = None
    try:
        cache = yield from _cache(problems, is_durable=is_durable)
    except SessionStoreUnavailable as problem:
        problems["cache"] = str(problem)
    if is_durable:
        try:
            database = yield from _database()
        except SessionStoreUnavailable as problem:
            problems["database"] = str(problem)
    return Stats(cache=cache, database=database, problems=problems)


def _cache(problems: dict[str, str], *, is_durable: bool) -> Operation[CacheStats]:
    naming = get_configuration().naming
    yield (("TIME",),)
    began = time.perf_counter()
    yield (("TIME",),)
    latency_seconds = time.perf_counter() - began
    counts = yield from listing.count(naming)
    pending = (yield from _pending(naming)) if is_durable else 0
    info: dict[str, str] = {}
    try:
        [text] = yield (("INFO",),)
        info = _parse(text)
    except SessionStoreUnavailable as problem:
        # A user of the server may be without the permission.
        problems["info"] = str(problem)
    name = info.get("server_name", "redis")
    version = info.get("valkey_version") or info.get("redis_version")
    return CacheStats(
        signed_in=counts.signed_in,
        anonymous=counts.anonymous,
        pending=pending,
        latency_seconds=latency_seconds,
        version=f"{name} {version}" if version else None,
        used_memory_bytes=_int(info, "used_memory"),
        max_memory_bytes=_int(info, "maxmemory") or None,
        fragmentation_ratio=_float(info, "mem_fragmentation_ratio"),
        eviction_policy=info.get("maxmemory_policy"),
        evicted_keys=_int(info, "evicted_keys"),
        keyspace_hits=_int(info, "keyspace_hits"),
        keyspace_misses=_int(info, "keyspace_misses"),
        connected_clients=_int(info, "connected_clients"),
        uptime_seconds=_int(info, "uptime_in_seconds"),
    )


def _pending(naming: Naming) -> Operation[int]:
    replies = yield tuple(("SCARD", naming.pending_set(bucket)) for bucket in range(naming.buckets))
    return sum(reply for reply in replies if isinstance(reply, int))


def _database() -> Operation[DatabaseStats]:
    began = time.perf_counter()
    states = yield from ask_database(get_homes(), row_listing.states)
    return DatabaseStats(
        signed_in=states.signed_in,
        anonymous=states.anonymous,
        ended=states.ended,
        stale=states.stale,
        latency_seconds=time.perf_counter() - began,
    )


def _parse(text: Any) -> dict[str, str]:
    lines = bytes(text).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _int(info: Mapping[str, str], name: str) -> int | None:
    text = info.get(name, "")
    return int(text) if text.isdecimal() else None


def _float(info: Mapping[str, str], name: str) -> float | None:
    try:
        return float(info[name])
    except (KeyError, ValueError):
        return None
