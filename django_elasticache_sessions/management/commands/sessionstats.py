"""`manage.py sessionstats`: how many sessions live, and how their stores are."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.template.defaultfilters import filesizeformat

from ... import cloudwatch, live
from ...cloudwatch import Readings, report
from ...cloudwatch.reading import get_options
from ...events import total
from ...exceptions import AWSUnavailable
from ...prometheus import render
from ...ranges import Ages, Range
from ...stats import CacheStats, Stats
from ..arguments import positive

#: A command may wait for longer than a page.
_PATIENCE_SECONDS = 30.0


class Command(BaseCommand):
    """Exit codes: 0 everything that was asked answers; 1 something does not, or a system check
    failed; 2 wrong options; 130 interrupted.
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
            "--cloudwatch",
            action="store_true",
            help="Show what Amazon CloudWatch measured of the cache, too.",
        )
        parser.add_argument(
            "--publish",
            action="store_true",
            help="Tell CloudWatch of the sessions; with --watch, again and again.",
        )
        parser.add_argument(
            "--watch",
            type=positive(86_400),
            metavar="SECONDS",
            help="Go on until interrupted, so many seconds apart.",
        )

    def handle(self, *, watch: int | None, **options: Any) -> None:
        """Show them once, or again and again."""
        if watch and options["prometheus"]:
            raise CommandError(
                "--watch would repeat what Prometheus's format allows once: give one of them.",
                returncode=2,
            )
        if options["cloudwatch"] or options["publish"]:
            try:
                get_options()
            except ImproperlyConfigured as problem:
                raise CommandError(str(problem), returncode=2) from None
        try:
            away = self.show(**options)
            while watch:
                time.sleep(watch)
                away = self.show(**options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        except BrokenPipeError:
            # Nobody reads on, as after `head`. What is still to be flushed goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())
            return
        if away:
            raise CommandError(f"Does not answer: {' and '.join(away)}.")

    def show(self, **options: Any) -> list[str]:
        """Ask, print and publish once; return what does not answer."""
        try:
            stats = live.stats()
        except ImproperlyConfigured as wrong:
            raise CommandError(str(wrong)) from None
        readings, problem = _readings() if options["cloudwatch"] else (None, "")
        if options["json"]:
            told = _as_json(stats, readings, problem, **options)
            self.stdout.write(json.dumps(told, cls=DjangoJSONEncoder))
        elif options["prometheus"]:
            self.stdout.write(render(stats), ending="")
            self.stdout.write(report.as_prometheus(readings) if readings else "", ending="")
        else:
            self.print(_lines(stats))
            self.print(report.lines(readings) if readings else ())
            self.print([("CloudWatch", problem)] if problem else ())
            self.stdout.write("")
        self.stdout.flush()
        is_told = self.publish(stats) if options["publish"] else True
        away = sorted({"cache", "database"} & stats.problems.keys())
        return away if is_told and not problem else [*away, "CloudWatch"]

    def print(self, lines: Iterable[tuple[str, str]]) -> None:
        """Print a table."""
        for name, value in lines:
            self.stdout.write(f"{name:<28} {value}")

    def publish(self, stats: Stats) -> bool:
        """Tell CloudWatch, and standard error how that went; whether it went well."""
        try:
            count = cloudwatch.publish(cloudwatch.gather(stats))
        except AWSUnavailable as problem:
            self.stderr.write(f"Not published: {problem}")
            return False
        self.stderr.write(f"{count} metrics published.")
        return True


def _readings() -> tuple[Readings | None, str]:
    try:
        return cloudwatch.read(patience_seconds=_PATIENCE_SECONDS), ""
    except AWSUnavailable as problem:
        return None, str(problem)


def _as_json(
    stats: Stats, readings: Readings | None, problem: str, **options: Any
) -> dict[str, Any]:
    told = {**asdict(stats), "live": stats.live and stats.live._asdict()}
    if options["cloudwatch"]:
        told["cloudwatch"] = report.as_json(readings) if readings else None
    if problem:
        told["problems"] = {**stats.problems, "cloudwatch": problem}
    return told


def _lines(stats: Stats) -> Iterator[tuple[str, str]]:
    live, cache, database = stats.live, stats.cache, stats.database
    if live:
        yield "Live sessions", str(live.signed_in + live.anonymous)
        yield "  signed in", str(live.signed_in)
        yield "  anonymous", str(live.anonymous)
    for within, count in _within(stats.time_left or ()):
        yield f"  expire within {within}", str(count)
    if stats.ages:
        yield from _age_lines(stats.ages)
    yield "Session cache", stats.problems.get("cache") or "answers"
    if cache:
        yield "  server", _server(cache)
        yield "  round trip", f"{cache.latency_seconds * 1000:.2f} ms"
        yield "  sessions", str(cache.signed_in + cache.anonymous)
        yield "  waiting for the database", str(cache.pending)
        yield "  created, last hour", _or_not_told(total(cache.events.minutes, "created"))
        yield "  ended, last hour", _or_not_told(total(cache.events.minutes, "ended"))
        yield "  created, last 24 hours", _or_not_told(total(cache.events.hours, "created"))
        yield "  ended, last 24 hours", _or_not_told(total(cache.events.hours, "ended"))
        if "database" in stats.breakers:
            yield "  lost while waiting, 24 h", _or_not_told(total(cache.events.hours, "lost"))
        yield "  memory", _memory(cache.used_memory_bytes, cache.max_memory_bytes)
        yield "  memory fragmentation", _or_not_told(cache.fragmentation_ratio)
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


def _server(cache: CacheStats) -> str:
    version, nodes = cache.version or "not told", cache.nodes or 0
    return f"{version}, {nodes} primaries" if nodes > 1 else version


def _age_lines(ages: Ages) -> Iterator[tuple[str, str]]:
    for within, count in _within(ages.ranges):
        share = f"{count / ages.sampled:.1%}" if not ages.is_exact else str(count)
        yield f"  created within {within}", share
    if not ages.is_exact:
        yield "    shares estimated from", f"{ages.sampled} of {ages.live} sessions"


def _within(ranges: Sequence[Range]) -> Iterator[tuple[str, int]]:
    sums = accumulate(found.signed_in + found.anonymous for found in ranges)
    for found, count in zip(ranges[:-1], sums, strict=False):
        yield _hours(found.within_seconds), count


def _hours(seconds: int | None) -> str:
    hours = (seconds or 0) // 3600
    return f"{hours // 24} days" if hours > 24 else f"{hours} h"


def _memory(used: int | None, most: int | None) -> str:
    if used is None:
        return "not told"
    if most is None:
        return f"{filesizeformat(used)}, no limit"
    return f"{filesizeformat(used)} of {filesizeformat(most)}"


def _share(hits: int | None, misses: int | None) -> str:
    if hits is None or misses is None or not hits + misses:
        return "not told"
    return f"{hits / (hits + misses):.1%}"


def _or_not_told(value: float | None) -> str:
    return "not told" if value is None else str(value)
