"""`manage.py sessionstats`: how many sessions live, and how their stores are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.template.defaultfilters import filesizeformat

from ... import live
from ...prometheus import render
from ...stats import Stats
from ..arguments import positive


class Command(BaseCommand):
    """Exit codes: 0 every store answers; 1 one does not, or a system check failed; 2 wrong options;
    130 interrupted.
    """

    help = (
        "Shows how many sessions live and how the session cache and the fallback database are. "
        "Works while either does not answer, and says so."
    )
    requires_system_checks = ("caches",)

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        form = parser.add_mutually_exclusive_group()
        form.add_argument(
            "--json", action="store_true", help="Print JSON, alone on stdout, a line each time."
        )
        form.add_argument(
            "--prometheus",
            action="store_true",
            help="Print Prometheus's text exposition format, for its textfile collector.",
        )
        parser.add_argument(
            "--watch",
            type=positive(86_400),
            metavar="SECONDS",
            help="Go on until interrupted, so many seconds apart.",
        )

    def handle(self, *, watch: int | None, **options: Any) -> None:
        """Show them once, or again and again."""
        stats = self.show(**options)
        try:
            while watch:
                time.sleep(watch)
                stats = self.show(**options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        away = sorted({"cache", "database"} & stats.problems.keys())
        if away:
            raise CommandError(f"Does not answer: {' and '.join(away)}.")

    def show(self, **options: Any) -> Stats:
        """Ask, and print."""
        stats = live.stats()
        if options["json"]:
            told = {**asdict(stats), "live": stats.live and stats.live._asdict()}
            self.stdout.write(json.dumps(told, cls=DjangoJSONEncoder))
        elif options["prometheus"]:
            self.stdout.write(render(stats), ending="")
        else:
            for name, value in _lines(stats):
                self.stdout.write(f"{name:<28} {value}")
            self.stdout.write("")
        self.stdout.flush()
        return stats


def _lines(stats: Stats) -> Iterator[tuple[str, str]]:
    live, cache, database = stats.live, stats.cache, stats.database
    if live:
        yield "Live sessions", str(live.signed_in + live.anonymous)
        yield "  signed in", str(live.signed_in)
        yield "  anonymous", str(live.anonymous)
    yield "Session cache", stats.problems.get("cache") or "answers"
    if cache:
        yield "  server", cache.version or "not told"
        yield "  round trip", f"{cache.latency_seconds * 1000:.2f} ms"
        yield "  sessions", str(cache.signed_in + cache.anonymous)
        yield "  waiting for the database", str(cache.pending)
        yield "  memory", _memory(cache.used_memory_bytes, cache.max_memory_bytes)
        yield "  eviction policy", cache.eviction_policy or "not told"
        yield "  evicted keys", _or_not_told(cache.evicted_keys)
        yield "  hit rate", _share(cache.keyspace_hits, cache.keyspace_misses)
        yield "  connections", _or_not_told(cache.connected_clients)
    if "info" in stats.problems:
        yield "  figures", stats.problems["info"]
    if database or "database" in stats.problems:
        yield "Fallback database", stats.problems.get("database") or "answers"
    if database:
        yield "  round trip", f"{database.latency_seconds * 1000:.2f} ms"
        yield "  sessions", str(database.signed_in + database.anonymous)
        yield "  marks of ended sessions", str(database.ended)
        yield "  newer than in the cache", str(database.stale)


def _memory(used: int | None, most: int | None) -> str:
    if used is None:
        return "not told"
    if most is None:
        return f"{filesizeformat(used)}, no limit"
    return f"{filesizeformat(used)} of {filesizeformat(most)}"


def _share(hits: int | None, misses: int | None) -> str:
    if not hits or misses is None:
        return "not told"
    return f"{hits / (hits + misses):.1%}"


def _or_not_told(value: int | None) -> str:
    return "not told" if value is None else str(value)
