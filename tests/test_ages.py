"""How long ago live sessions were created: of all by the rows, of a random sample by the cache."""

from __future__ import annotations

import io
import json
import re
from collections import Counter

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command
from django.db import connections
from prometheus_client.parser import text_string_to_metric_families

from django_elasticache_sessions import listing, live, ranges
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.keys import Naming
from django_elasticache_sessions.listing import Counts
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.ranges import Ages
from django_elasticache_sessions.stats import Stats

from .contents import backdate

HOUR, DAY = 3_600, 86_400


def make(store, valkey, *, age: float = 0, user: str = "") -> SessionStore:
    session = store()
    session["a"] = 1
    if user:
        session[SESSION_KEY] = user
    session.save()
    backdate(valkey, session, created=age)
    return session


@pytest.fixture
def of_all_ages(engine, valkey) -> list[SessionStore]:
    """Sessions on both sides of each end of a range, two of them signed in."""
    ages = (0, HOUR - 60, HOUR + 60, DAY + 60, 6 * DAY, 8 * DAY, 15 * DAY, 31 * DAY, 400 * DAY)
    anonymous = [make(engine, valkey, age=age) for age in ages]
    return [*anonymous, *(make(engine, valkey, age=age, user="7") for age in (60, 20 * DAY))]


@pytest.fixture
def hashes_alone(engine, settings) -> None:
    """For what the rows know better."""
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        pytest.skip("the rows tell the ages")


def told(ages: Ages | None) -> tuple[list[int], list[int]]:
    """How many are in each range: signed in, and anonymous."""
    assert ages is not None
    return [one.signed_in for one in ages.ranges], [one.anonymous for one in ages.ranges]


def shown(*arguments: str) -> str:
    output = io.StringIO()
    call_command("sessionstats", *arguments, stdout=output)
    return output.getvalue()


def test_each_session_is_in_the_range_of_its_age(of_all_ages):
    ages = live.stats().ages
    assert (ages.sampled, ages.live, ages.is_exact) == (11, 11, True)
    assert [one.within_seconds for one in ages.ranges] == [
        *(HOUR, DAY, 7 * DAY, 14 * DAY, 30 * DAY),
        None,
    ]
    assert told(ages) == ([1, 0, 0, 0, 1, 0], [2, 1, 2, 1, 1, 2])


async def test_asyncio_is_told_the_same(valkey):
    for age in (0, 2 * HOUR):
        session = SessionStore()
        session["a"] = 1
        await session.asave()
        backdate(valkey, session, created=age)
    ages = (await live.astats()).ages
    assert ages.is_exact
    assert told(ages) == ([0] * 6, [1, 1, 0, 0, 0, 0])


def test_where_nothing_lives_there_is_no_age(engine):
    ages = live.stats().ages
    assert (ages.sampled, ages.live, ages.is_exact) == (0, 0, True)
    assert told(ages) == ([0] * 6, [0] * 6)


def test_a_clock_ahead_of_the_server_s_makes_a_session_new(engine, valkey):
    make(engine, valkey, age=-300)
    assert told(live.stats().ages)[1] == [1, 0, 0, 0, 0, 0]


def test_ended_and_expired_sessions_have_no_age(of_all_ages, settings):
    live.end(of_all_ages[0].session_id)
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        rows = FallbackSession.objects.using(get_configuration().options.fallback_database)
        name = get_configuration().naming.from_sid(of_all_ages[1].session_id)
        rows.filter(sid=name.digest.hex()).update(expires=1000)
        assert told(live.stats().ages)[1] == [0, 1, 2, 1, 1, 2]
    else:
        assert told(live.stats().ages)[1] == [1, 1, 2, 1, 1, 2]


def test_while_the_database_is_away_the_cache_is_asked(of_all_ages, settings):
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        with connections[get_configuration().options.fallback_database].cursor() as cursor:
            cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")
    assert told(live.stats().ages) == ([1, 0, 0, 0, 1, 0], [2, 1, 2, 1, 1, 2])


def test_of_many_sessions_a_sample_is_read(of_all_ages, hashes_alone, monkeypatch):
    monkeypatch.setattr(ranges, "SAMPLE_SIZE", 5)
    ages = live.stats().ages
    assert (ages.sampled, ages.live, ages.is_exact) == (5, 11, False)
    signed_in, anonymous = told(ages)
    assert sum(signed_in) + sum(anonymous) == 5
    most = [1, 0, 0, 0, 1, 0, 2, 1, 2, 1, 1, 2]
    assert all(one <= of for one, of in zip(signed_in + anonymous, most, strict=True))


def test_any_session_is_drawn_and_nothing_that_has_expired():
    naming = Naming("session", 3, (b"n" * 32,))
    counts = [Counts(signed_in=2, anonymous=3), Counts(0, 0), Counts(signed_in=1, anonymous=0)]
    first, _, last = naming.live_indexes()
    # Behind the three anonymous ones and before the two signed in ones there may be others.
    expected = {(first, 0), (first, 1), (first, 2), (first, -2), (first, -1), (last, -1)}

    def drawn(limit: int) -> list[tuple[str, int]]:
        commands = listing._draw_commands(naming, counts, limit)
        return [(key, rank) for _, key, rank, _ in commands]

    assert sorted(drawn(1000)) == sorted(expected)
    # One is missed by all of these once in 10**53 runs.
    found = Counter(place for _ in range(300) for place in drawn(2))
    assert set(found) == expected
    assert found.total() == 600


def test_entries_that_have_expired_are_passed_over(of_all_ages, hashes_alone, valkey):
    naming = get_configuration().naming
    now = int(valkey.time(**_on_any_node(valkey))[0])
    for number in range(40):
        name = naming.session(f"expired-{number}")
        valkey.zadd(name.index_key, {name.sid: (now - 100) * (-1) ** number})
    ages = live.stats().ages
    assert (ages.sampled, ages.live) == (11, 11)


def test_what_was_evicted_is_not_among_the_sampled(of_all_ages, hashes_alone, valkey):
    name = get_configuration().naming.from_sid(of_all_ages[0].session_id)
    valkey.delete(name.hash_key)
    ages = live.stats().ages
    assert (ages.sampled, ages.live, ages.is_exact) == (10, 11, False)
    assert told(ages)[1] == [1, 1, 2, 1, 1, 2]


def test_a_damaged_session_is_not_among_the_sampled(of_all_ages, hashes_alone, valkey):
    first, second, *_ = (
        get_configuration().naming.from_sid(session.session_id).hash_key for session in of_all_ages
    )
    valkey.hset(first, "~", "not metadata")
    valkey.delete(second)
    valkey.set(second, "foreign")
    ages = live.stats().ages
    assert (ages.sampled, ages.live) == (9, 11)


def test_where_none_of_the_sessions_can_be_read_nobody_knows(engine, hashes_alone, valkey):
    session = make(engine, valkey)
    valkey.delete(get_configuration().naming.from_sid(session.session_id).hash_key)
    assert live.stats().ages is None
    assert "created within" not in shown()
    assert "age_share" not in shown("--prometheus")


def test_no_store_at_all_is_no_age():
    assert Stats(cache=None, database=None, problems={}, breakers={}).ages is None


def test_the_sample_takes_two_round_trips_however_many_sessions_live(engine, relay, valkey):
    def round_trips() -> int:
        with relay.recording() as tape:
            live.stats()
        return tape.round_trips

    live.stats()
    is_told_by_rows = live.stats().database is not None
    assert round_trips() == 4
    counts = []
    for _ in range(2):
        for _ in range(20):
            make(engine, valkey)
        counts.append(round_trips())
    assert counts == ([4, 4] if is_told_by_rows else [6, 6])


def test_json_says_of_how_many_the_ages_are(of_all_ages, settings, monkeypatch):
    monkeypatch.setattr(ranges, "SAMPLE_SIZE", 5)
    data = json.loads(shown("--json"))
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        assert data["cache"]["ages"] is None
        ages = data["database"]["ages"]
        assert (ages["sampled"], ages["live"]) == (11, 11)
    else:
        ages = data["cache"]["ages"]
        assert (ages["sampled"], ages["live"]) == (5, 11)
    assert sum(one["signed_in"] + one["anonymous"] for one in ages["ranges"]) == ages["sampled"]


def test_the_table_has_counts_or_says_that_shares_are_estimated(of_all_ages, settings, monkeypatch):
    def lines() -> dict[str, str]:
        parts = (re.split("  +", line.strip(), maxsplit=1) for line in shown().splitlines())
        return {part[0]: part[-1] for part in parts}

    exact = lines()
    assert (exact["created within 1 h"], exact["created within 30 days"]) == ("3", "9")
    assert "shares estimated from" not in exact
    monkeypatch.setattr(ranges, "SAMPLE_SIZE", 5)
    seen = lines()
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        assert "shares estimated from" not in seen
    else:
        assert seen["shares estimated from"] == "5 of 11 sessions"
        assert re.fullmatch(r"\d+\.0%", seen["created within 30 days"])


def test_prometheus_is_told_shares_and_of_how_many(of_all_ages):
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(shown("--prometheus"))
        for sample in family.samples
    }
    prefix = "django_elasticache_sessions_age"
    assert values[f"{prefix}_sampled",] == 11
    assert values[f"{prefix}_share", str(HOUR)] == pytest.approx(3 / 11)
    assert values[f"{prefix}_share", str(30 * DAY)] == pytest.approx(9 / 11)


def _on_any_node(valkey) -> dict[str, object]:
    """Return what a cluster's client must be told."""
    nodes = getattr(valkey, "get_primaries", list)()
    return {"target_nodes": nodes[0]} if nodes else {}
