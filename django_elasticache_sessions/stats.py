"""How the sessions and their stores are: what `live.stats()`, `sessionstats` and metrics show."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from . import events, fallback, row_listing, scripts
from .conf import get_configuration
from .drivers import sync
from .events import Events
from .exceptions import ForeignType, SessionStoreUnavailable
from .homes import ask_database, get_homes
from .keys import Naming
from .listing import Counts
from .operations import INFO, Command, Operation, run
from .ranges import RANGES_SECONDS, Ages, Range, between, sample_ages
from .texts import text_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """The session cache; `None` where the server does not tell. Sizes in bytes.

    `evicted_keys`, `keyspace_hits` and `keyspace_misses` count since the server started, and count
    what else lies on it too. `pending` sessions wait for the database. Of a cluster's primaries,
    `nodes` of them, the figures are sums, the fragmentation the worst, the uptime the least.
    `ages` are only asked for where the rows do not tell them.
    """

    signed_in: int
    anonymous: int
    time_left: Sequence[Range]
    ages: Ages | None
    events: Events
    pending: int
    latency_seconds: float
    nodes: int | None
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
    time_left: Sequence[Range]
    ages: Ages
    ended: int
    stale: int
    latency_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Both stores. `None` stands for one that did not answer, or is not used.

    `problems` says why, by `"cache"`, `"database"` and `"info"` (the server's own figures).
    `breakers` tells of `"cache"` and `"database"` whether this process asked them at all before it
    was asked; in a cluster without a database, whether it asked every primary.
    """

    cache: CacheStats | None
    database: DatabaseStats | None
    problems: Mapping[str, str]
    breakers: Mapping[str, Literal["open", "closed"]]

    @property
    def live(self) -> Counts | None:
        """How many sessions live, by the rows where there are any; `None` where nobody knows."""
        known = self.database or self.cache
        return Counts(known.signed_in, known.anonymous) if known else None

    @property
    def time_left(self) -> Sequence[Range] | None:
        """When they expire, by the rows where there are any; `None` where nobody knows."""
        known = self.database or self.cache
        return known.time_left if known else None

    @property
    def ages(self) -> Ages | None:
        """When they were created, by the rows where there are any; `None` where nobody knows."""
        known = self.database or self.cache
        return known.ages if known else None


def collect(operations: Any) -> Operation[Stats]:
    """Ask the stores of an engine, by its module of operations; no store's absence is an error."""
    problems: dict[str, str] = {}
    is_durable = operations is fallback
    breakers = _breakers(is_durable=is_durable)
    cache = database = None
    if is_durable:
        try:
            database = yield from _database()
        except SessionStoreUnavailable as problem:
            problems["database"] = text_of(problem)
    try:
        cache = yield from _cache(problems, is_durable=is_durable, with_ages=database is None)
    except SessionStoreUnavailable as problem:
        problems["cache"] = text_of(problem)
    return Stats(cache=cache, database=database, problems=problems, breakers=breakers)


def _breakers(*, is_durable: bool) -> dict[str, Literal["open", "closed"]]:
    if is_durable:
        homes = get_homes()
        are_open = {"cache": homes.cache.is_open, "database": homes.database.is_open}
    else:
        are_open = {"cache": sync.get_driver(get_configuration().alias).is_left_alone}
    return {store: "open" if is_open else "closed" for store, is_open in are_open.items()}


def _cache(problems: dict[str, str], *, is_durable: bool, with_ages: bool) -> Operation[CacheStats]:
    naming = get_configuration().naming
    yield (("TIME",),)
    began = time.perf_counter()
    [(now, _)] = yield (("TIME",),)
    latency_seconds = time.perf_counter() - began
    replies = yield _bucket_commands(naming, is_durable=is_durable)
    counts, counted, waiting = (
        replies[start : start + naming.buckets]
        for start in range(0, 3 * naming.buckets, naming.buckets)
    )
    by_bucket = [_numbers(reply) for reply in counts]
    live, *expiring = map(_sum_of_counts, zip(*by_bucket, strict=True))
    ages = None
    if with_ages:
        ages = yield from sample_ages(naming, [every for every, *_ in by_bucket], int(now))
    infos: list[dict[str, str]] = []
    try:
        [reply] = yield (INFO,)
        infos = [_parse(text) for text in (reply if isinstance(reply, list) else [reply])]
    except SessionStoreUnavailable as problem:
        # A user of the server may be without the permission.
        problems["info"] = text_of(problem)
    return CacheStats(
        signed_in=live.signed_in,
        anonymous=live.anonymous,
        time_left=between(live, expiring),
        ages=ages,
        events=events.parse(counted, int(now)),
        pending=sum(reply for reply in waiting if isinstance(reply, int)),
        latency_seconds=latency_seconds,
        nodes=len(infos) or None,
        version=_texts(_version(info) for info in infos),
        used_memory_bytes=_sum(infos, "used_memory"),
        max_memory_bytes=_sum(infos, "maxmemory") or None,
        fragmentation_ratio=max(_known(_float(info) for info in infos), default=None),
        eviction_policy=_texts(info.get("maxmemory_policy") for info in infos),
        evicted_keys=_sum(infos, "evicted_keys"),
        keyspace_hits=_sum(infos, "keyspace_hits"),
        keyspace_misses=_sum(infos, "keyspace_misses"),
        connected_clients=_sum(infos, "connected_clients"),
        uptime_seconds=min(_known(_int(info, _UPTIME) for info in infos), default=None),
    )


def _bucket_commands(naming: Naming, *, is_durable: bool) -> tuple[Command, ...]:
    """Return what every bucket is asked, kind by kind."""
    counts = (run(scripts.COUNT, (key,), RANGES_SECONDS) for key in naming.live_indexes())
    pending = (("SCARD", naming.pending_set(bucket)) for bucket in range(naming.buckets))
    return (*counts, *events.read_commands(naming), *(pending if is_durable else ()))


def _sum_of_counts(counts: Sequence[Counts]) -> Counts:
    return Counts(sum(one.signed_in for one in counts), sum(one.anonymous for one in counts))


def _numbers(reply: Any) -> list[Counts]:
    """Read a bucket's reply: how many live, and how many expire within each time."""
    numbers = [0] * 2 * (len(RANGES_SECONDS) + 1) if isinstance(reply, ForeignType) else reply
    return list(map(Counts._make, zip(numbers[::2], numbers[1::2], strict=True)))


def _database() -> Operation[DatabaseStats]:
    began = time.perf_counter()
    states = yield from ask_database(get_homes(), row_listing.states, RANGES_SECONDS)
    return DatabaseStats(
        signed_in=states.live.signed_in,
        anonymous=states.live.anonymous,
        time_left=between(states.live, states.expiring),
        ages=Ages(
            sampled=sum(states.live),
            live=sum(states.live),
            ranges=between(states.live, states.created),
        ),
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


def _float(info: Mapping[str, str]) -> float | None:
    try:
        return float(info["mem_fragmentation_ratio"])
    except (KeyError, ValueError):
        return None


def _version(info: Mapping[str, str]) -> str | None:
    version = info.get("valkey_version") or info.get("redis_version")
    return f"{info.get('server_name', 'redis')} {version}" if version else None


def _sum(infos: Iterable[Mapping[str, str]], name: str) -> int | None:
    numbers = [_int(info, name) for info in infos]
    # Of a part of them the sum would mislead.
    return sum(_known(numbers)) if numbers and None not in numbers else None


def _texts(texts: Iterable[str | None]) -> str | None:
    return ", ".join(sorted(set(_known(texts)))) or None


def _known(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


_UPTIME = "uptime_in_seconds"
