"""`live`: counting, listing and ending sessions, the same on both engines."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from django_elasticache_sessions import live
from django_elasticache_sessions.conf import CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.signals import session_created, session_ended

from .conftest import point_sessions_at
from .servers.valkey import Valkey

UNKNOWN_ID = "A" * 22


@pytest.fixture
def new(engine):
    """Make and save a session; `age` in seconds."""

    def make(user: object = None, *, age: int | None = None, **data: object):
        session = engine()
        session.update(data)
        if user is not None:
            session[SESSION_KEY] = str(user)
        if age is not None:
            session.set_expiry(age)
        session.save()
        return session

    return make


def ids(sessions) -> list[str]:
    return [session.session_id for session in sessions]


def test_sessions_are_counted_by_whether_somebody_is_signed_in(new):
    for user in (None, None, 7, 7, 8):
        new(user)
    assert live.count() == (3, 2)


def test_a_login_moves_a_session_from_one_count_to_the_other(new, engine):
    session = new(cart=1)
    login = engine(session.session_key)
    login.cycle_key()
    login[SESSION_KEY] = "7"
    login.save()
    assert live.count() == (1, 0)
    login.flush()
    assert live.count() == (0, 0)


def test_no_session_is_no_session(engine):
    assert live.count() == (0, 0)
    assert live.page() == live.Page(sessions=(), newer=None, older=None)
    assert live.for_user(7) == []


def test_a_page_lists_the_last_to_expire_first(new):
    sessions = {age: new(age=age) for age in random.sample(range(1000, 9000, 7), 50)}
    expected = [sessions[age].session_id for age in sorted(sessions, reverse=True)]
    assert ids(live.page().sessions) == expected


@pytest.mark.parametrize("kind", ["all", "signed-in", "anonymous"])
def test_paging_there_and_back_shows_every_session_once(new, kind):
    # Few ages: many expire in the same second.
    made = [new(n % 3 or None, age=1000 + n % 4) for n in range(61)]
    wanted = {
        session.session_id
        for session in made
        if kind == "all" or (SESSION_KEY in session) == (kind == "signed-in")
    }
    page = live.page(limit=7, kind=kind)
    assert page.newer is None
    there = [ids(page.sessions)]
    while page.older:
        page = live.page(page.older, 7, kind=kind)
        there.append(ids(page.sessions))
    assert {len(sids) for sids in there[:-1]} == {7}
    assert sorted(sid for sids in there for sid in sids) == sorted(wanted)
    back = [there[-1]]
    while page.newer:
        page = live.page(limit=7, before=page.newer, kind=kind)
        back.append(ids(page.sessions))
    assert list(chain(*reversed(back))) == list(chain(*there))


def test_pages_stay_right_while_sessions_come_and_go(new):
    made = [new(age=5000 - 100 * n) for n in range(20)]
    first = live.page(limit=5)
    new(age=9000)
    made[4].delete()
    made[7].delete()
    second = live.page(first.older, 5)
    assert ids(second.sessions) == [made[n].session_id for n in (5, 6, 8, 9, 10)]


def test_a_page_whose_sessions_have_gone_leads_back_to_those_that_are_left(new):
    made = [new(age=5000 - 100 * n) for n in range(4)]
    older = live.page(limit=2).older
    newer = live.page(older, 2).newer
    for session in made[2:]:
        session.delete()
    page = live.page(older, 2)
    assert (ids(page.sessions), page.older) == ([], None)
    assert page.newer
    assert ids(live.page(limit=2, before=page.newer).sessions) == ids(made[:2])
    for session in made[:2]:
        session.delete()
    last = new(age=1000)
    page = live.page(limit=2, before=newer)
    assert (ids(page.sessions), page.newer) == ([], None)
    assert page.older
    assert ids(live.page(page.older, 2).sessions) == ids([last])


def test_the_way_back_from_beyond_either_end_is_a_place(new):
    session = new()
    page = live.page("a0." + UNKNOWN_ID)
    assert page.newer
    assert ids(live.page(before=page.newer).sessions) == ids([session])
    page = live.page(before="a999999999999." + UNKNOWN_ID)
    assert page.older
    assert ids(live.page(page.older).sessions) == ids([session])


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "s1", "s1.", "s1." + "A" * 21 + "B", "q1." + UNKNOWN_ID, "s-1." + UNKNOWN_ID],
)
def test_a_forged_place_is_refused(engine, cursor):
    with pytest.raises(ValueError, match="not a place"):
        live.page(cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_is_neither_empty_nor_endless(engine, limit):
    with pytest.raises(ValueError, match="expected 1 to 1000"):
        live.page(limit=limit)


@pytest.mark.parametrize("limit", [2.5, "2", None])
def test_a_limit_that_is_no_whole_number_is_refused_and_costs_no_store(new, limit):
    new()
    questions = [live.page, live.sample]
    if limit is not None:
        questions.append(partial(live.for_user, 7))
    for question in questions:
        with pytest.raises(TypeError, match="integer"):
            question(limit=limit)
    assert "open" not in live.stats().breakers.values()
    assert len(live.page(limit=1).sessions) == 1


def test_a_kind_that_is_none_is_refused(engine):
    with pytest.raises(ValueError, match="expected 'all', 'signed-in' or 'anonymous'"):
        live.page(kind="evil")


def test_one_goes_either_way(engine):
    with pytest.raises(ValueError, match="not both"):
        live.page("s1." + UNKNOWN_ID, before="s1." + UNKNOWN_ID)


def test_a_session_shows_when_it_was_made_whose_it_is_and_what_takes_room(new):
    session = new(7, age=500, cart=["x" * 300])
    [shown] = live.page().sessions
    assert shown == live.get(session.session_id)
    assert shown.user_id == "7"
    assert shown.is_signed_in
    now = datetime.now(UTC)
    assert now - timedelta(seconds=5) <= shown.created <= now
    assert shown.expires - shown.saved == timedelta(seconds=500)
    assert set(shown.field_sizes) == {SESSION_KEY, "cart", "_session_expiry"}
    assert shown.field_sizes["cart"] > 300
    assert shown.size_bytes == sum(len(name) + size for name, size in shown.field_sizes.items())
    assert shown.values is None


def test_values_are_shown_only_where_they_are_asked_for(new):
    session = new(7, cart=["apple"], **{"~odd": 1})
    shown = live.get(session.session_id, with_values=True)
    assert shown.values == {SESSION_KEY: "7", "cart": ["apple"], "~odd": 1}
    assert "apple" not in repr(shown)
    assert session.session_key not in str(asdict(shown))


def test_a_session_key_is_no_session_id(new):
    session = new(7)
    assert live.get(session.session_key) is None
    assert live.end(session.session_key) is False
    assert live.count() == (1, 0)


@pytest.mark.parametrize("value", ["", "x", UNKNOWN_ID + "A", "../" + UNKNOWN_ID, "é" * 22])
def test_what_is_no_session_id_is_no_session(engine, value):
    assert live.get(value) is None
    assert live.end(value) is False


def test_several_are_found_at_once_and_what_is_none_is_left_out(new):
    made = [new(7).session_id, new().session_id]
    wanted = [made[1], UNKNOWN_ID, made[0], made[1], "x", new(8).session_key]
    assert ids(live.get_all(wanted)) == [made[1], made[0]]
    assert live.get_all([]) == []


@pytest.mark.parametrize("act", [live.get_all, live.end_all])
def test_one_id_in_the_place_of_several_is_refused(new, act):
    session_id = new(7).session_id
    with pytest.raises(TypeError, match="session ids"):
        act(session_id)
    assert live.get(session_id)


def test_what_is_no_session_id_is_not_kept_and_nothing_ends(new):
    session = new(7)
    for keep in (session.session_key, "", "x"):
        with pytest.raises(ValueError, match="not a session id") as error:
            live.end_for_user(7, keep=keep)
        assert session.session_key not in str(error.value)
    assert ids(live.for_user(7)) == [session.session_id]


def test_a_users_sessions_are_found_by_user_or_by_id(new):
    mine = {new(7).session_id, new(7).session_id}
    new(8)
    new()
    for user in (7, "7", User(pk=7)):
        assert set(ids(live.for_user(user))) == mine


def test_a_users_sessions_are_found_after_the_secret_key_was_rotated(new, settings):
    old = new(7).session_id
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new secret key, which secures nothing"
    young = new(7).session_id
    assert set(ids(live.for_user(7))) == {old, young}


def test_an_ended_session_is_gone_and_stays_gone(new, engine):
    session = new(7)
    late = engine(session.session_key)
    late["late"] = 1
    assert live.end(session.session_id) is True
    assert live.end(session.session_id) is False
    assert live.get(session.session_id) is None
    assert live.for_user(7) == []
    assert live.count() == (0, 0)
    with pytest.raises(UpdateError):
        late.save()


def test_all_of_a_users_sessions_end_but_the_one_to_keep(new, engine):
    own, *others = (new(7) for _ in range(4))
    other_user = new(8)
    assert live.end_for_user(7, keep=own) == 3
    assert ids(live.for_user(7)) == [own.session_id]
    assert live.end_for_user(User(pk=7), keep=own.session_id) == 0
    assert live.end_for_user(7) == 1
    assert ids(live.page().sessions) == [other_user.session_id]
    assert not any(engine().exists(session.session_key) for session in (own, *others))


def test_a_user_may_have_thousands_of_sessions(new, settings):
    for _ in range(1100):
        new(7)
    assert len(live.for_user(7)) == 1100
    assert live.end_for_user(7) == 1100
    assert live.count() == (0, 0)


async def test_asyncio_has_the_same(engine):
    session = engine()
    session[SESSION_KEY] = "7"
    await session.asave()
    sid = session.session_id
    assert await live.acount() == (1, 0)
    assert ids((await live.apage()).sessions) == [sid]
    assert ids(await live.afor_user(7)) == [sid]
    assert (await live.aget(sid)).user_id == "7"
    assert ids(await live.aget_all([sid])) == [sid]
    assert await live.aend(sid) is True
    assert await live.aend_for_user(7) == 0
    assert await live.aend_all([sid]) == 0


def test_what_was_evicted_leaves_the_index_when_somebody_looks(valkey, new_session, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 2}
    sessions = [new_session(**{SESSION_KEY: "7"}) for _ in range(30)]
    for session in sessions[:-1]:
        valkey.delete(get_configuration().naming.from_sid(session.session_id).hash_key)
    assert live.count() == (30, 0)
    assert ids(live.page(limit=2).sessions) == [sessions[-1].session_id]
    assert live.count() == (1, 0)
    assert ids(live.for_user(7)) == [sessions[-1].session_id]
    assert sum(valkey.zcard(key) for key in valkey.keys("session:user:*")) == 1


def test_foreign_values_in_the_place_of_indexes_and_sessions_are_passed_over(
    valkey, new_session, settings
):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 2}
    session = new_session(**{SESSION_KEY: "7"})
    naming = get_configuration().naming
    name = naming.from_sid(session.session_id)
    other = next(key for key in naming.live_indexes() if key != name.index_key)
    valkey.set(other, "planted")
    planted = naming.from_digest(name.digest[:15] + b"x")
    valkey.zadd(name.index_key, {"no sid": 9e9, planted.sid: 8e9, "é": 7e9})
    valkey.set(planted.hash_key, "planted")
    assert ids(live.page().sessions) == [session.session_id]


@pytest.mark.parametrize("buckets", [1, 256])
def test_a_page_is_one_pipeline_over_the_index_and_one_over_its_sessions(
    relay, new_session, settings, buckets
):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": buckets}
    made: Counter[int] = Counter()
    while made.total() < 150:
        session = new_session()
        bucket = get_configuration().naming.session(session.session_key).bucket
        # Now and then chance puts more into one bucket, which costs another round trip.
        if buckets > 1 and made[bucket] == 4:
            session.flush()
        else:
            made[bucket] += 1
    with relay.recording() as tape:
        assert len(live.page(limit=100).sessions) == 100
    assert tape.round_trips == 2
    with relay.recording() as tape:
        assert live.count() == (0, 150)
    assert tape.round_trips == 1


def test_an_unreachable_store_is_no_empty_store(engine, settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        assert live.count() == (0, 0)
        alias = get_configuration().options.fallback_database
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")
    for question in (live.count, live.page, lambda: live.for_user(7), lambda: live.end(UNKNOWN_ID)):
        with pytest.raises(SessionStoreUnavailable):
            question()


def test_another_packages_sessions_cannot_be_listed(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    with pytest.raises(ImproperlyConfigured, match="cannot be listed"):
        live.count()


def test_sessions_are_announced_when_they_begin_and_end(new, engine):
    told: list[tuple[str, str, object]] = []

    def created(sender, session_id, **kwargs):
        assert sender is engine
        told.append(("created", session_id, None))

    def ended(sender, session_id, reason, **kwargs):
        assert sender is engine
        told.append(("ended", session_id, reason))

    session_created.connect(created)
    session_ended.connect(ended)
    try:
        session = new(cart=1)
        first = session.session_id
        session["cart"] = 2
        session.save()
        # A rotation is neither: the session lives on under its id.
        session.cycle_key()
        assert session.session_id == first
        session.flush()
        second = new()
        engine().delete(second.session_key)
        third = new()
        live.end(third.session_id, reason="too loud")
    finally:
        session_created.disconnect(created)
        session_ended.disconnect(ended)
    assert told == [
        ("created", first, None),
        ("ended", first, "logout"),
        ("created", second.session_id, None),
        ("ended", second.session_id, "deleted"),
        ("created", third.session_id, None),
        ("ended", third.session_id, "too loud"),
    ]
    assert all(re.fullmatch(r"[\w-]{22}", sid) for _, sid, _ in told)


def test_a_login_above_the_limit_ends_the_oldest_others(new, engine, settings):
    settings.ELASTICACHE_SESSIONS = {**settings.ELASTICACHE_SESSIONS, "MAX_SESSIONS_PER_USER": 2}
    reasons: list[str] = []

    def ended(sender, reason, **kwargs):
        reasons.append(reason)

    session_ended.connect(ended)
    try:
        sessions = []
        for _ in range(4):
            # As Django signs in: the data of a visit under a new session key, then the user's id.
            login = engine(new(cart=1).session_key)
            login.cycle_key()
            login[SESSION_KEY] = "7"
            login.save()
            sessions.append(login)
    finally:
        session_ended.disconnect(ended)
    assert set(ids(live.for_user(7))) == {session.session_id for session in sessions[2:]}
    assert reasons.count("limit") == 2
    # Saving is no login.
    again = engine(sessions[2].session_key)
    again["cart"] = 2
    again.save()
    assert len(live.for_user(7)) == 2
