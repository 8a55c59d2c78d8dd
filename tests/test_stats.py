"""`live.stats()` and `sessionstats`: what they tell, with either store away too."""

from __future__ import annotations

import io
import json
import os
import time
from dataclasses import replace

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import translation
from prometheus_client.parser import text_string_to_metric_families

from django_elasticache_sessions import live
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.management.commands import sessionstats
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.prometheus import render

from .conftest import point_sessions_at
from .servers.releases import CHOSEN, VERSIONS
from .servers.valkey import Valkey


@pytest.fixture
def sessions(engine) -> None:
    """Three sessions, one of them signed in."""
    for user in (None, None, "7"):
        session = engine()
        session["a"] = 1
        if user:
            session[SESSION_KEY] = user
        session.save()


@pytest.fixture
def durable(sessions, settings) -> str:
    """The same for `cached_db` alone; the alias of its database."""
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE:
        pytest.skip("the cache engine has no database")
    return get_configuration().options.fallback_database


def test_a_server_that_keeps_callers_waiting_is_said_to_be_left_alone(relay, settings):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cache"
    point_sessions_at(settings, relay.url, is_patient=False)
    assert live.stats().breakers == {"cache": "closed"}
    relay.black_hole()
    for _ in range(2):
        assert live.stats().cache is None
    assert live.stats().breakers == {"cache": "open"}


def run(*arguments: str) -> str:
    output = io.StringIO()
    call_command("sessionstats", *arguments, stdout=output)
    return output.getvalue()


def drop_table(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")


def stop_cache(settings) -> None:
    with Valkey() as server:
        point_sessions_at(settings, server.url)


def test_both_stores_are_told(sessions, settings):
    stats = live.stats()
    assert stats.live == (1, 2)
    assert stats.problems == {}
    assert (stats.cache.signed_in, stats.cache.anonymous, stats.cache.pending) == (1, 2, 0)
    assert stats.cache.version.startswith(VERSIONS[CHOSEN.release])
    assert stats.cache.used_memory_bytes > 0
    assert stats.cache.evicted_keys == 0
    assert stats.cache.latency_seconds > 0
    assert (stats.database is None) == (settings.SESSION_ENGINE == CACHE_ENGINE)


async def test_asyncio_is_told_the_same(valkey, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    stats = await live.astats()
    assert stats.live == (0, 0)


def test_rows_are_told_by_what_they_are(durable):
    rows = FallbackSession.objects.using(durable)
    first, second, _ = rows.order_by("sid")
    live.end(get_configuration().naming.from_digest(bytes.fromhex(first.sid)).sid)
    rows.filter(sid=second.sid).update(cache_stale=True)
    database = live.stats().database
    assert (database.signed_in + database.anonymous, database.ended, database.stale) == (2, 1, 1)


def test_a_cache_that_is_away_is_told_and_the_rows_are_counted(durable, settings):
    stop_cache(settings)
    stats = live.stats()
    assert stats.live == (1, 2)
    assert stats.cache is None
    assert set(stats.problems) == {"cache"}
    with pytest.raises(CommandError, match="Does not answer: cache"):
        run()


def test_a_database_that_is_away_is_told_and_the_cache_is_counted(durable, capsys):
    drop_table(durable)
    stats = live.stats()
    assert stats.live == (1, 2)
    assert stats.database is None
    with pytest.raises(CommandError, match="Does not answer: database") as error:
        call_command("sessionstats")
    assert error.value.returncode == 1
    shown = capsys.readouterr().out
    assert "its table is missing" in shown
    assert "Live sessions                3" in shown


def test_no_store_at_all_is_told_and_is_not_zero(sessions, settings):
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        drop_table(get_configuration().options.fallback_database)
    stop_cache(settings)
    assert live.stats().live is None
    output = io.StringIO()
    with pytest.raises(CommandError, match="Does not answer"):
        call_command("sessionstats", "--json", stdout=output)
    assert json.loads(output.getvalue())["live"] is None
    assert "_live" not in render(live.stats())


def test_a_server_that_does_not_tell_its_figures_costs_only_those(settings):
    rules = "on >password ~session:* -@all +evalsha +eval +hgetall +zcount +time"
    with Valkey(acl=[f"app {rules}"]) as server:
        point_sessions_at(settings, f"redis://app:password@{server.host}:{server.port}/0")
        stats = live.stats()
        assert stats.live == (0, 0)
        assert set(stats.problems) == {"info"}
        assert stats.cache.version is None
        assert "not told" in run()


def test_the_table_has_the_numbers(sessions):
    shown = run()
    for text in (
        *("Live sessions                3", "signed in", "eviction policy", "noeviction"),
        *("created, last hour         3", "ended, last 24 hours       0", "within 14 days      3"),
    ):
        assert text in shown


def test_json_is_alone_on_the_output(sessions):
    told = json.loads(run("--json"))
    assert told["live"] == {"signed_in": 1, "anonymous": 2}
    assert told["cache"]["used_memory_bytes"] > 0
    assert told["problems"] == {}
    assert told["cache"]["events"]["hours"][-1]["created"] == 3
    assert sum(left["anonymous"] for left in told["cache"]["time_left"]) == 2


@pytest.mark.parametrize("language", ["en", "de", "fr"])
def test_prometheus_can_read_the_metrics_in_any_language(sessions, language, settings):
    with translation.override(language):
        families = {
            family.name: family for family in text_string_to_metric_families(run("--prometheus"))
        }
    prefix = "django_elasticache_sessions_"
    values = {
        (sample.name.removeprefix(prefix), *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert values["live", "signed_in"] == 1
    assert values["live", "anonymous"] == 2
    assert values["store_up", "cache"] == 1
    assert values["evicted_keys_total",] == 0
    assert values["created_lately", "1h"] == values["created_lately", "24h"] == 3
    assert values["ended_lately", "1h"] == 0
    assert values["expiring", "86400"] == 0
    assert values["expiring", "1209600"] == 3
    assert values["latency_seconds", "cache"] > 0
    assert (("store_up", "database") in values) == (settings.SESSION_ENGINE == CACHED_DB_ENGINE)
    assert all(family.documentation for family in families.values())
    assert families[f"{prefix}evicted_keys"].type == "counter"


def test_watching_goes_on_until_interrupted(sessions, monkeypatch):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    output = io.StringIO()
    with pytest.raises(CommandError) as error:
        call_command("sessionstats", "--json", "--watch", "7", stdout=output)
    assert error.value.returncode == 130
    assert pauses == [7, 7, 7]
    assert [json.loads(line)["live"]["anonymous"] for line in output.getvalue().splitlines()] == [
        2
    ] * 3


def test_it_ends_quietly_when_nobody_reads_on(sessions, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        call_command("sessionstats", "--watch", "1", stdout=output)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("hits", "misses", "told"),
    [(0, 10, "0.0%"), (3, 1, "75.0%"), (0, 0, "not told"), (None, 1, "not told")],
)
def test_a_hit_rate_of_nothing_is_told(sessions, hits, misses, told):
    stats = live.stats()
    cache = replace(stats.cache, keyspace_hits=hits, keyspace_misses=misses)
    assert dict(sessionstats._lines(replace(stats, cache=cache)))["  hit rate"] == told


@pytest.mark.parametrize(
    "arguments",
    [
        ["--watch", "0"],
        ["--watch", "-1"],
        ["--watch", "x"],
        ["--json", "--prometheus"],
        ["--prometheus", "--watch", "1"],
    ],
)
def test_options_that_make_no_sense_are_refused(sessions, arguments):
    with pytest.raises(CommandError):
        run(*arguments)


def test_asking_costs_few_round_trips(relay, settings):
    live.stats()
    with relay.recording() as tape:
        live.stats()
    assert tape.round_trips == 4
