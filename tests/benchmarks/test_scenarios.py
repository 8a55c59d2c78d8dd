"""What the scenarios do to a session, with our engine."""

from __future__ import annotations

import pickle

import pytest

from benchmarks.scenarios import (
    CHANGED_KEY,
    POOL,
    SCENARIOS,
    SIZES,
    WARM_UP,
    make_data,
    measure,
    shared_pool,
)
from django_elasticache_sessions.backends.cache import SessionStore


@pytest.fixture(autouse=True)
def new_pool():
    shared_pool.cache_clear()


@pytest.mark.parametrize(("size", "size_bytes"), [("0.6 KB", 600), ("10 KB", 10_000)])
def test_sessions_are_as_large_as_they_are_called(size, size_bytes):
    length = len(pickle.dumps(make_data(size, 1)))
    assert length == pytest.approx(size_bytes, rel=0.1)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("size", SIZES)
def test_every_scenario_runs_on_every_size(valkey, scenario, size):
    items = SCENARIOS[scenario].prepare(SessionStore, size, WARM_UP + 2)
    cost = measure(SessionStore, scenario, items)
    assert cost.wall_us > 0


def test_the_changed_key_is_stored(valkey):
    (session_key,) = SCENARIOS["change"].prepare(SessionStore, "0.6 KB", 1)
    before = SessionStore(session_key)[CHANGED_KEY]
    SCENARIOS["change"].operate(SessionStore, session_key, 0)
    assert SessionStore(session_key)[CHANGED_KEY] > before


def test_a_login_moves_the_session_and_a_logout_ends_it(valkey):
    (anonymous,) = SCENARIOS["login"].prepare(SessionStore, "0.6 KB", 1)
    SCENARIOS["login"].operate(SessionStore, anonymous, 0)
    assert not SessionStore().exists(anonymous)
    (signed_in,) = SCENARIOS["logout"].prepare(SessionStore, "0.6 KB", 1)
    SCENARIOS["logout"].operate(SessionStore, signed_in, 0)
    assert not SessionStore().exists(signed_in)


def test_reads_share_a_pool_of_sessions(valkey):
    assert len(set(SCENARIOS["read"].prepare(SessionStore, "0.6 KB", POOL * 2))) == POOL
