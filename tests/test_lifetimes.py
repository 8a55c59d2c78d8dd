"""How long sessions live: Django's rules, and the ages of `ELASTICACHE_SESSIONS`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth import SESSION_KEY
from django.utils import timezone

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration

from .contents import stored_keys

DAY = 86_400


@pytest.fixture
def clock(monkeypatch, settings):
    """Move this process's clock; the server's stays."""
    real_time, real_ns = time.time, time.time_ns

    def now() -> datetime:
        return datetime.fromtimestamp(time.time(), tz=UTC if settings.USE_TZ else None)

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: real_time() + seconds)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(seconds * 1e9))
        monkeypatch.setattr(timezone, "now", now)

    return move


def ttl(valkey, session: SessionStore) -> int:
    return valkey.ttl(get_configuration().naming.from_sid(session.session_id).hash_key)


def close_to(seconds: float):
    return pytest.approx(seconds, abs=3)


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        (100, 100),
        (1.2, 2),
        (timedelta(hours=1), 3600),
        (10**12, 2**31 - 1),
        (0, 14 * DAY),
        (None, 14 * DAY),
    ],
)
def test_the_servers_ttl_follows_set_expiry(valkey, new_session, expiry, seconds):
    session = new_session(a=1)
    session.set_expiry(expiry)
    session.save()
    assert ttl(valkey, session) == close_to(seconds)


def test_an_expiry_at_a_date_beyond_2038_is_kept(valkey, new_session):
    session = new_session(a=1)
    date = timezone.now().replace(year=timezone.now().year + 30, month=2, day=28)
    session.set_expiry(date)
    session.save()
    assert ttl(valkey, session) == close_to((date - timezone.now()).total_seconds())
    assert SessionStore(session.session_key).get_expiry_date() == date


@pytest.mark.parametrize("expiry", [-1, timedelta(days=-1)])
def test_an_expiry_in_the_past_ends_the_session(valkey, new_session, expiry):
    session = new_session(a=1)
    session.set_expiry(expiry)
    session.save()
    assert not SessionStore().exists(session.session_key)
    assert stored_keys(valkey) == []


def test_a_session_created_in_the_past_is_never_stored(valkey):
    session = SessionStore()
    session["a"] = 1
    session.set_expiry(-1)
    session.save()
    assert valkey.dbsize() == 0


class TestAbsoluteAge:
    @pytest.fixture(autouse=True)
    def one_day(self, settings):
        settings.ELASTICACHE_SESSIONS = {"ABSOLUTE_AGE": DAY}

    def test_it_bounds_ttl_cookie_age_and_date(self, valkey, new_session):
        session = new_session(a=1)
        assert ttl(valkey, session) == close_to(DAY)
        assert session.get_expiry_age() == close_to(DAY)
        assert session.get_expiry_date() - timezone.now() <= timedelta(days=1)

    async def test_it_bounds_the_asynchronous_age_and_date(self, valkey):
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        assert await session.aget_expiry_age() == close_to(DAY)
        assert await session.aget_expiry_date() - timezone.now() <= timedelta(days=1)

    def test_activity_does_not_prolong_it(self, valkey, new_session, clock):
        session = new_session(a=1)
        clock(DAY - 100)
        request = SessionStore(session.session_key)
        request["a"] = 2
        request.save()
        assert ttl(valkey, session) == close_to(100)
        assert request.get_expiry_age() == close_to(100)

    def test_beyond_it_the_session_is_missing(self, valkey, new_session, clock):
        session = new_session(a=1)
        clock(DAY + 1)
        assert SessionStore(session.session_key).get("a") is None

    def test_a_shorter_expiry_still_counts(self, valkey, new_session):
        session = new_session(a=1)
        session.set_expiry(60)
        session.save()
        assert ttl(valkey, session) == close_to(60)

    def test_a_new_key_of_the_same_sign_in_does_not_prolong_it(self, valkey, new_session, clock):
        session = new_session(**{SESSION_KEY: "7"})
        clock(DAY - 100)
        session.cycle_key()
        assert ttl(valkey, session) == close_to(100)

    def test_nor_does_it_after_a_change_of_the_secret_key(
        self, valkey, new_session, clock, settings
    ):
        session = new_session(**{SESSION_KEY: "7"})
        clock(DAY - 100)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new secret", [settings.SECRET_KEY]
        request = SessionStore(session.session_key)
        request.cycle_key()
        assert ttl(valkey, request) == close_to(100)

    def test_a_login_begins_a_new_life(self, valkey, new_session, clock):
        session = new_session(cart=[])
        clock(DAY - 100)
        session.cycle_key()
        assert ttl(valkey, session) == close_to(DAY)

    def test_a_clock_that_steps_back_adds_no_life(self, valkey, new_session, clock):
        session = new_session(a=1)
        clock(-30 * DAY)
        request = SessionStore(session.session_key)
        request["a"] = 2
        request.save()
        assert ttl(valkey, session) == close_to(DAY)


class TestAnonymousAge:
    @pytest.fixture(autouse=True)
    def ten_minutes(self, settings):
        settings.ELASTICACHE_SESSIONS = {"ANONYMOUS_AGE": 600}

    def test_a_session_without_a_user_lives_shorter(self, valkey, new_session):
        session = new_session(cart=[])
        assert ttl(valkey, session) == close_to(600)
        assert session.get_expiry_age() == 600

    def test_a_login_gives_the_full_age(self, valkey, new_session, settings):
        session = new_session(cart=[])
        session[SESSION_KEY] = "7"
        session.save()
        assert ttl(valkey, session) == close_to(settings.SESSION_COOKIE_AGE)

    def test_an_explicit_expiry_wins(self, valkey, new_session):
        session = new_session(cart=[])
        session.set_expiry(7200)
        session.save()
        assert ttl(valkey, session) == close_to(7200)


class TestRefreshAfter:
    @pytest.fixture(autouse=True)
    def one_hour(self, settings):
        settings.ELASTICACHE_SESSIONS = {"REFRESH_AFTER": 3600}

    def test_a_young_session_is_left_alone(self, valkey, new_session, clock):
        session = new_session(a=1)
        clock(3500)
        request = SessionStore(session.session_key)
        request["a"]
        assert not request.modified

    def test_an_older_one_is_marked_for_a_touch_when_it_is_accessed(
        self, valkey, new_session, clock
    ):
        session = new_session(a=1)
        name = get_configuration().naming.session(session.session_key)
        before = valkey.hgetall(name.hash_key)
        valkey.expire(name.hash_key, 5000)
        clock(3700)
        request = SessionStore(session.session_key)
        assert not request.modified
        request["a"]
        assert request.modified
        request.save()
        assert ttl(valkey, session) == close_to(14 * DAY)
        after = valkey.hgetall(name.hash_key)
        assert after[b"a"] == before[b"a"]
        assert after[b"~"].split(b" ")[3] == before[b"~"].split(b" ")[3]

    def test_the_cookie_is_renewed_too(self, valkey, new_session, clock, client, settings):
        session = new_session(a=1)
        client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
        assert settings.SESSION_COOKIE_NAME not in client.get("/read/").cookies
        clock(3700)
        assert client.get("/read/").cookies[settings.SESSION_COOKIE_NAME].value == (
            session.session_key
        )


def test_a_clock_that_jumps_ahead_ends_no_session(valkey, new_session, clock):
    session = new_session(a=1)
    clock(365 * DAY)
    request = SessionStore(session.session_key)
    assert request["a"] == 1
    request["a"] = 2
    request.save()
    assert ttl(valkey, session) == close_to(14 * DAY)


#: Half an hour before a leap day, the end of a year, and the two changes of summer time in Berlin.
MOMENTS = ("2028-02-28T23:30", "2026-12-31T23:30", "2027-03-28T01:30", "2026-10-25T01:30")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    ("use_tz", "expiry", "after_an_hour"),
    [
        (True, 7200, 7200),
        (False, 7200, 7200),
        # Kept as a date. Without time zones Django's dates are those of the clock on the wall.
        (True, timedelta(hours=2), 3600),
    ],
)
def test_hours_last_as_long_whatever_the_calendar_does(
    engine, valkey, clock, settings, moment, use_tz, expiry, after_an_hour
):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "Europe/Berlin"
    there = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    distance = there.timestamp() - time.time()
    clock(distance)
    session = engine()
    session.update({SESSION_KEY: "7", "a": 1})
    session.set_expiry(expiry)
    session.save()
    assert ttl(valkey, session) == close_to(7200)
    clock(distance + 3600)
    request = engine(session.session_key)
    request["a"] += 1
    request.save()
    assert ttl(valkey, session) == close_to(after_an_hour)
    assert request.get_expiry_age() == close_to(after_an_hour)
    assert engine(session.session_key)["a"] == 2


def test_the_index_is_pruned_by_the_servers_clock(valkey, new_session, clock):
    session = new_session(a=1)
    name = get_configuration().naming.session(session.session_key)
    clock(365 * DAY)
    SessionStore.clear_expired()
    assert valkey.zscore(name.index_key, name.sid) is not None
