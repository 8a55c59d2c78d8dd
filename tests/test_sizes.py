"""What makes sessions large: how much is read to tell."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_elasticache_sessions import live, sizes
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration

from .contents import session_hashes


@pytest.fixture
def sixty_sessions(engine) -> None:
    """Sessions of some hundred bytes each, more than are looked at first."""
    make_sixty(engine)


def make_sixty(engine) -> None:
    for number in range(60):
        session = engine()
        session["cart"] = f"{number} " * 100
        session.save()


def test_all_are_looked_at_where_they_are_few_and_small(sixty_sessions):
    found = sizes.look()
    assert (found.seen, found.live, found.is_of_all) == (60, 60, True)


def test_any_session_may_be_among_those_that_are_looked_at(sixty_sessions):
    every = {session.session_id for session in live.page().sessions}
    drawn = [{session.session_id for session in live.sample(20)} for _ in range(100)]
    assert {len(ids) for ids in drawn} == {20}
    # Not those that expire last, or first. All of them: a session is left out of 100 samples with
    # a probability below one in a million.
    assert set().union(*drawn) == every


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_sample_is_no_larger_than_a_page(engine, limit):
    with pytest.raises(ValueError, match=f"limit is {limit}, expected 1 to 1000"):
        live.sample(limit)


def test_asyncio_draws_as_many(sixty_sessions):
    assert len(asyncio.run(live.asample(20))) == 20
    assert len(asyncio.run(live.asample(100))) == 60


@pytest.mark.parametrize("engine", ["cache"], indirect=True)
def test_a_look_takes_seven_round_trips_however_many_sessions_live(sixty_sessions, relay):
    live.count()
    # To count; then twice to count by buckets, to draw, to read.
    with relay.recording() as tape:
        assert sizes.look().seen == 60
    assert tape.round_trips == 1 + 2 * 3
    for _ in range(5):
        make_sixty(SessionStore)
    with relay.recording() as tape:
        assert sizes.look().seen == 360
    assert tape.round_trips == 1 + 2 * 3


@pytest.mark.django_db
def test_a_look_takes_five_statements_at_most(sixty_sessions, settings):
    if settings.SESSION_ENGINE.endswith(".cache"):
        pytest.skip("the cache engine has no database")
    connection = connections[get_configuration().options.fallback_database]
    with CaptureQueriesContext(connection) as captured:
        assert sizes.look().seen == 60
    # A count; then twice what follows a random place, and where that is too little, what is first.
    assert 3 <= len(captured) <= 5


@pytest.mark.parametrize("engine", ["cache"], indirect=True)
def test_evicted_sessions_hide_no_others(engine, valkey, monkeypatch):
    """Their entries stay in the index until they expire; the first drawn may all be such."""
    monkeypatch.setattr(sizes, "_FIRST", 1)
    naming = get_configuration().naming
    make_sixty(engine)
    _, *evicted = [key for key in session_hashes(valkey) if naming.from_hash_key(key)]
    valkey.delete(*evicted)
    for _ in range(5):
        assert sizes.look().seen == 1


def test_where_sessions_are_large_fewer_are_looked_at(sixty_sessions, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_SEEN_BYTES", 5_000)
    assert sizes.look().seen == 50


def test_no_more_are_looked_at_than_are_told(sixty_sessions, monkeypatch):
    monkeypatch.setattr(sizes, "MOST_SEEN", 55)
    found = sizes.look()
    assert (found.seen, found.live, found.is_of_all) == (55, 60, False)
