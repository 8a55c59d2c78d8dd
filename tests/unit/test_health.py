"""What is told when a store stops serving, and when it serves again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.health import Health
from django_elasticache_sessions.signals import store_recovered, store_unavailable

PROBLEM = SessionStoreUnavailable("The session store did not serve: it did not answer in time.")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture):
    """Return the levels and texts of what the package has logged so far."""
    caplog.set_level(logging.DEBUG, "django_elasticache_sessions")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_store_that_stops_serving_is_logged_once(logged):
    health = Health("sessions")
    for _ in range(3):
        health.failed(PROBLEM)
    assert not health.is_up
    [(level, text)] = logged()
    assert level == "ERROR"
    assert "'sessions'" in text
    assert "did not answer in time" in text


def test_a_store_that_serves_again_is_logged_once(logged):
    health = Health("sessions")
    health.failed(PROBLEM)
    for _ in range(3):
        health.answered()
    assert health.is_up
    assert [level for level, _ in logged()] == ["ERROR", "WARNING"]
    assert "'sessions'" in logged()[1][1]


def test_a_store_that_serves_all_the_time_is_not_worth_a_word(logged):
    health = Health("sessions")
    health.answered()
    assert health.is_up
    assert logged() == []


def test_each_outage_is_logged_anew(logged):
    health = Health("sessions")
    for _ in range(2):
        health.failed(PROBLEM)
        health.answered()
    assert [level for level, _ in logged()] == ["ERROR", "WARNING"] * 2


@pytest.fixture
def told():
    """Collect what the signals say: a receiver of each, and one that fails."""
    found: list[tuple[object, ...]] = []

    def unavailable(sender, alias, problem, **kwargs):
        found.append(("unavailable", sender, alias, problem))

    def recovered(sender, alias, **kwargs):
        found.append(("recovered", sender, alias))

    def broken(**kwargs):
        raise RuntimeError

    store_unavailable.connect(broken)
    store_unavailable.connect(unavailable)
    store_recovered.connect(recovered)
    yield found
    for receiver in (broken, unavailable):
        store_unavailable.disconnect(receiver)
    store_recovered.disconnect(recovered)


EDGES = [("unavailable", "database", "default", PROBLEM), ("recovered", "database", "default")]


def fail_and_recover():
    health = Health("default", "database")
    for _ in range(2):
        health.failed(PROBLEM)
    for _ in range(2):
        health.answered()


def test_signals_are_sent_at_the_edges(told):
    fail_and_recover()
    assert told == EDGES


async def test_signals_are_sent_at_the_edges_from_an_event_loop(told):
    async def coroutine(sender, **kwargs):
        told.append(("coroutine", sender))

    store_recovered.connect(coroutine)
    fail_and_recover()
    assert told == []
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    store_recovered.disconnect(coroutine)
    assert sorted(told, key=str) == sorted([*EDGES, ("coroutine", "database")], key=str)
