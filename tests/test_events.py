"""Counting what is created and ended, on the way of the scripts that do it."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command

from django_elasticache_sessions import live, operations
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.synchronization import synchronize

from .conftest import point_sessions_at
from .servers.valkey import Valkey
from .test_acl import documented_user

HOUR = 3600


@pytest.fixture
def new(engine):
    """Make a session."""

    def make(**data: object):
        session = engine()
        session.update(data or {"a": 1})
        session.save()
        return session

    return make


def counted() -> tuple[int, int]:
    """What was created and ended in the last hour, and in the last day, which is the same here."""
    events = live.stats().cache.events
    sums = {
        (
            sum(period.created or 0 for period in periods),
            sum(period.ended or 0 for period in periods),
        )
        for periods in (events.minutes, events.hours)
    }
    [both] = sums
    return both


def event_keys(valkey) -> list[bytes]:
    return valkey.keys("session:events:*")


def log_out(session) -> None:
    session.flush()


def log_out_unseen(session) -> None:
    type(session)().delete(session.session_key)


def end_by_id(session) -> None:
    live.end(session.session_id)


def expire(session) -> None:
    session.set_expiry(-1)
    session.save()


def rotate_away(session) -> None:
    session.set_expiry(-1)
    session.cycle_key()


def purge(session) -> None:
    call_command("clearsessions_cache", "--all", "--no-input", verbosity=0)


def test_nothing_is_told_before_anything_was_counted(engine):
    events = live.stats().cache.events
    assert {period.created for period in (*events.minutes, *events.hours)} == {None}


def test_what_is_created_is_counted(new):
    for _ in range(7):
        new()
    assert counted() == (7, 0)


@pytest.mark.parametrize(
    "end",
    [log_out, log_out_unseen, end_by_id, expire, rotate_away, purge],
    ids=lambda end: end.__name__,
)
def test_what_is_ended_is_counted_once(new, end):
    session = new()
    end(session)
    assert counted() == (1, 1)
    type(session)().delete(session.session_key)
    assert counted() == (1, 1)


def test_reading_saving_and_touching_count_nothing(new, engine):
    session = engine(new().session_key)
    session["b"] = 2
    session.save()
    session.save()
    assert counted() == (1, 0)


def test_a_login_is_no_creation_and_no_end(new):
    session = new()
    session.cycle_key()
    session[SESSION_KEY] = "7"
    session.save()
    assert counted() == (1, 0)


def test_another_user_in_the_same_browser_ends_one_and_begins_one(new):
    session = new(**{SESSION_KEY: "7"})
    session.flush()
    session[SESSION_KEY] = "8"
    session.save()
    assert counted() == (2, 1)


def test_a_dry_run_of_a_purge_counts_nothing(new):
    new()
    call_command("clearsessions_cache", "--all", "--dry-run", verbosity=0)
    assert counted() == (1, 0)


def test_sessions_over_the_limit_are_counted_as_ended(new, settings):
    settings.ELASTICACHE_SESSIONS |= {"MAX_SESSIONS_PER_USER": 1}
    new(**{SESSION_KEY: "7"})
    new(**{SESSION_KEY: "7"})
    assert counted() == (2, 1)


async def test_asyncio_counts_the_same(engine):
    session = engine()
    await session.aset("a", 1)
    await session.asave()
    await session.aflush()
    events = (await live.astats()).cache.events
    assert (events.hours[-1].created, events.hours[-1].ended) == (1, 1)


def test_a_lost_reply_counts_nothing_twice(engine, relay, settings):
    session = engine()
    session["warm"] = 1
    session.save()
    session.delete()
    before = counted()
    session = engine()
    session["a"] = 1
    relay.drop_reply_once(on="EVALSHA")
    session.save()
    relay.drop_reply_once(on="EVALSHA")
    session.delete()
    assert counted() == (before[0] + 1, before[1] + 1)


@pytest.fixture
def durable(engine, settings):
    """The `cached_db` engine."""
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE:
        pytest.skip("the cache engine has no database")
    return engine


def test_while_the_database_is_away_the_same_is_counted(durable, new):
    ended, kept = new(), new()
    kept.load()
    ended.load()
    get_homes().database.failed()
    new()
    ended.flush()
    kept.cycle_key()
    assert counted() == (3, 1)
    get_homes().give_another_chance()
    assert synchronize(batch_size=10).waiting == 0
    assert counted() == (3, 1)


def test_filling_the_cache_again_is_no_creation(durable, new, valkey):
    session = new()
    valkey.flushall()
    assert durable(session.session_key)["a"] == 1
    assert event_keys(valkey) == []


def test_counts_expire_and_have_a_key_that_is_no_sessions(valkey, new_session):
    session = new_session()
    [key] = event_keys(valkey)
    assert 25 * HOUR < valkey.ttl(key) <= 26 * HOUR
    naming = get_configuration().naming
    [found] = sync.get_driver("sessions").run(operations.scan(naming, b"0", 10_000))[1:]
    assert [name.sid for name in found] == [session.session_id]


def test_what_is_older_than_is_shown_is_forgotten_within_the_hour(valkey, new_session, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 1}
    now = int(time.time())
    kept = {
        f"cm{now // 60 - 50}": 1,
        f"em{now // 60 - 50}": 1,
        f"ch{now // HOUR - 22}": 1,
        f"eh{now // HOUR - 22}": 1,
    }
    gone = {
        f"cm{now // 60 - 70}": 1,
        f"em{now // 60 - 70}": 1,
        f"ch{now // HOUR - 26}": 1,
        f"eh{now // HOUR - 26}": 1,
        "planted": "x",
    }
    valkey.hset("session:events:{0}", mapping=kept | gone)
    new_session()
    left = {field.decode() for field in valkey.hkeys("session:events:{0}")}
    assert kept.keys() <= left
    assert not gone.keys() & left


@pytest.mark.parametrize("planted", ["text", "list", "garbage", "overflow"])
def test_a_foreign_value_under_the_counts_costs_no_session(valkey, new_session, settings, planted):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 1}
    key, now = "session:events:{0}", int(time.time())
    match planted:
        case "text":
            valkey.set(key, "planted")
        case "list":
            valkey.rpush(key, "planted")
        case "garbage" | "overflow":
            value = "x" if planted == "garbage" else 2**63 - 1
            fields = {
                f"c{scale}{number}": value for number in (now // 60, now // 60 + 1) for scale in "m"
            }
            valkey.hset(key, mapping=fields | {f"ch{now // HOUR}": value})
    session = new_session(a=1)
    assert SessionStore(session.session_key)["a"] == 1
    session.delete()
    assert counted() == (1, 1)


def test_garbage_among_the_counts_is_not_added_up(valkey, engine):
    now = int(time.time())
    valkey.hset(
        "session:events:{0}",
        mapping={f"cm{now // 60}": "x", f"ch{now // HOUR}": -5, "ch": 1, "zz9": 1, "chx": "1"},
    )
    valkey.set("session:events:{1}", "planted")
    events = live.stats().cache.events
    assert {period.created for period in events.hours} == {None}


def test_without_the_permission_to_count_sessions_are_made_and_ended_all_the_same(settings):
    rules = documented_user().replace(" +hincrby", "")
    assert "hincrby" not in rules
    with Valkey(acl=[rules]) as server:
        point_sessions_at(settings, f"redis://app:password@{server.host}:{server.port}/0")
        assert settings.SESSION_ENGINE == CACHE_ENGINE
        session = SessionStore()
        session["a"] = 1
        session.save()
        session.flush()
        assert server.client().dbsize() == 0
