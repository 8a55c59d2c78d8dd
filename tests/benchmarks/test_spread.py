"""Where keys lie, and the cluster's tables, from a real store and from made-up numbers."""

from __future__ import annotations

import pytest
from django.contrib.auth import SESSION_KEY
from redis.crc import key_slot

from benchmarks import cluster_report, spread
from benchmarks.scenarios import EVERY_SCENARIO, QUESTIONS, WARM_UP, measure
from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore

COST = {
    "standalone": {"wall_us": 100, "cpu_us": 50, "least_wall_us": 80, "least_cpu_us": 40},
    "cluster": {"wall_us": 120, "cpu_us": 75, "least_wall_us": 80, "least_cpu_us": 44},
}
CROSSED = {"round_trips": 2.0, "waits": 2.0, "sent_bytes": 300.0, "received_bytes": 100.0}


def counted(sessions: int, indexes: int) -> dict[str, int]:
    return dict.fromkeys(spread.KINDS, 0) | {
        "sessions": sessions,
        "indexes of users": indexes,
    }


@pytest.fixture
def results():
    return {
        "environment": {"Python": "3.13"},
        "amounts": {"sessions": 4000},
        "spread": {
            "nodes": {"primary 1": counted(1000, 500), "primary 2": counted(3000, 500)},
            "slots": {"sessions": {"slots": 256, "most": 20, "least": 9}},
            "bytes": {"primary 1": 1000, "primary 2": 2000, "standalone": 3100},
        },
        "commands": {"visit": {"primary 1": {"HGETALL": 30}, "primary 2": {"EVALSHA": 10}}},
        "timings": {"read": COST},
        "traffic": {
            "login": {"standalone": CROSSED, "cluster": CROSSED | {"round_trips": 3.0}},
        },
    }


def line(results, beginning: str) -> list[str]:
    lines = cluster_report.render(results).splitlines()
    return next(found for found in lines if found.startswith(beginning)).split()


def test_each_key_is_of_the_kind_that_it_is(valkey):
    for user in ("7", "7", "8", None):
        session = SessionStore()
        session["a"] = 1
        if user:
            session[SESSION_KEY] = user
        session.save()
    found = spread.look({"one": valkey})
    buckets = len(list(valkey.scan_iter("session:{*}:live")))
    assert found["nodes"] == {
        "one": {
            "sessions": 4,
            "indexes of buckets": buckets,
            "indexes of users": 2,
            "counts over time": buckets,
        }
    }
    assert sum(found["nodes"]["one"].values()) == valkey.dbsize()
    assert found["slots"]["indexes of users"]["slots"] == len(
        {key_slot(key) for key in valkey.scan_iter("session:user:*")}
    )


def test_a_kind_that_is_not_there_has_no_slots(valkey):
    assert spread.look({"one": valkey})["slots"] == {}


def test_shares_are_of_the_sum():
    assert spread.shares({"a": 1, "b": 3}) == {"a": 0.25, "b": 0.75}
    assert spread.shares({"a": 0}) == {"a": 0.0}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_asked_of_our_engine_alone_can_be_measured(valkey, question):
    items = EVERY_SCENARIO[question].prepare(SessionStore, "0.6 KB", WARM_UP + 2)
    assert measure(SessionStore, question, items).wall_us > 0


def test_each_visit_changes_a_session_of_its_own(valkey):
    assert len(set(QUESTIONS["visit"].prepare(SessionStore, "0.6 KB", 30))) == 30
    assert sum(live.count()) == 30


def test_nodes_are_told_with_their_shares(results):
    first = ["primary", "1", "1,000", "25.0%", "500", "50.0%", "1,000", "33.3%"]
    assert line(results, "primary 1 ") == first
    assert line(results, "most to least")[3:] == ["3.00", "1.00", "2.00"]
    assert line(results, "single server")[2:] == ["3,100"]


def test_commands_are_told_by_node(results):
    assert line(results, "visit") == ["visit", "75.0%", "25.0%", "40"]


def test_the_cluster_is_compared_with_the_single_server(results):
    assert line(results, "read") == ["read", "100", "120", "1.20", "80", "80", "1.00"]
    assert line(results, "login") == ["login", "2.00", "3.00", "2.00", "1.50", "1.00"]
