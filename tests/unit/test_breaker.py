"""The breaker: a store that does not serve is left alone, and found again cheaply."""

from __future__ import annotations

import time

import pytest

from django_elasticache_sessions import breaker
from django_elasticache_sessions.breaker import Breaker, Patience
from django_elasticache_sessions.exceptions import SessionStoreUnavailable


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves on, in seconds."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


def test_a_store_that_serves_is_always_asked():
    assert all(Breaker().admits() for _ in range(3))
    assert not Breaker().is_open


def test_a_store_that_failed_is_left_alone_for_a_pause(clock):
    store = Breaker()
    store.failed()
    assert store.is_open
    assert not store.admits()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert store.admits()


def test_one_caller_per_pause_tries_it(clock):
    store = Breaker()
    store.failed()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert [store.admits() for _ in range(5)] == [True, False, False, False, False]


def test_pauses_grow_up_to_a_limit(clock):
    store = Breaker()
    store.failed()
    pauses = []
    for _ in range(6):
        began = clock.now
        while not store.admits():
            clock.now += 0.25
        pauses.append(clock.now - began)
        store.failed()
    assert pauses[0] == breaker.FIRST_PAUSE_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == breaker.LONGEST_PAUSE_SECONDS


def test_a_store_that_fails_at_once_is_asked_each_time(clock):
    store = Breaker()
    assert store.failed(at_once=True)
    assert store.is_open
    for _ in range(3):
        clock.now += 0.001
        assert store.admits()
        assert not store.failed(at_once=True)
    assert store.admits()
    store.served()
    assert not store.is_open


def test_many_that_were_on_their_way_count_as_one_failure(clock):
    store = Breaker()
    for _ in range(50):
        store.failed()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert store.admits()


def test_an_attempt_that_succeeds_closes_it(clock):
    store = Breaker()
    store.failed()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert store.admits()
    store.served()
    assert not store.is_open
    assert all(store.admits() for _ in range(3))


def test_an_attempt_that_never_ends_does_not_keep_others_from_trying(clock):
    store = Breaker()
    store.failed()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert store.admits()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    assert store.admits()


def attempt(server: Patience, error: BaseException | None) -> None:
    began = server.begin()
    if error is None:
        server.answered()
    else:
        server.failed(error, began)


def test_patience_outlasts_one_stall_however_many_wait(clock):
    server = Patience()
    attempts = [server.begin() for _ in range(9)]
    for began in attempts:
        clock.now += 0.25
        server.failed(TimeoutError(), began)
    assert not server.is_at_an_end


def test_patience_ends_when_who_comes_next_waits_in_vain_too(clock):
    server = Patience()
    for _ in range(2):
        assert not server.is_at_an_end
        attempt(server, TimeoutError())
        clock.now += 0.25
    with pytest.raises(SessionStoreUnavailable, match="a moment ago"):
        server.begin()
    clock.now += breaker.FIRST_PAUSE_SECONDS
    attempt(server, None)
    assert not server.is_at_an_end


def test_an_answer_restores_patience(clock):
    server = Patience()
    for error in (TimeoutError(), None, TimeoutError(), ConnectionRefusedError(), TimeoutError()):
        attempt(server, error)
        clock.now += 0.25
    assert not server.is_at_an_end
