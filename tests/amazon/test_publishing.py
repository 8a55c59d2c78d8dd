"""Telling CloudWatch of the sessions: names, units, dimensions, batches, and what was counted."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from django_elasticache_sessions import cloudwatch, live
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.cloudwatch import publishing
from django_elasticache_sessions.exceptions import AWSUnavailable
from django_elasticache_sessions.homes import get_homes
from tests.conftest import point_sessions_at
from tests.servers.http import Answer

DIMENSIONS = [{"Name": "Cache", "Value": "shop"}, {"Name": "KeyPrefix", "Value": "session"}]


@pytest.fixture
def durable(valkey, settings, fallback_database, group) -> str:
    """The `cached_db` engine on SQLite; the alias of its database."""
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    return fallback_database("sqlite")


@pytest.fixture
def totals(ask):
    """Sum up what was published of a metric."""

    def sum_up(name: str, *, namespace: str = "ElastiCacheSessions") -> list[float]:
        now = datetime.now(UTC)
        found = ask("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=DIMENSIONS,
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=1),
            Period=7200,
            Statistics=["Sum"],
            Unit="Count",
        )
        return [point["Sum"] for point in found["Datapoints"]]

    return sum_up


def publish() -> int:
    return cloudwatch.publish(cloudwatch.gather(live.stats()))


def save(**data: object) -> DurableSessionStore:
    session = DurableSessionStore()
    session.update(data)
    session.save()
    return session


def test_the_sessions_are_told_by_name_unit_and_dimensions(durable, totals):
    save(a=1)
    save(_auth_user_id="7")
    # Two more where a minute has just ended.
    assert publish() in (4, 6)
    assert totals("LiveSessions") == [2.0]
    assert totals("SignedInSessions") == [1.0]
    assert totals("FallbackLoads") == [0.0]
    assert totals("BreakerOpenings") == [0.0]


def test_they_go_to_the_namespace_of_the_settings(durable, totals, settings):
    settings.ELASTICACHE_SESSIONS["CLOUDWATCH"]["NAMESPACE"] = "Shop/Sessions"
    settings.ELASTICACHE_SESSIONS = dict(settings.ELASTICACHE_SESSIONS)
    publish()
    assert totals("LiveSessions", namespace="Shop/Sessions") == [0.0]
    assert totals("LiveSessions") == []


def test_a_read_from_the_database_is_counted(durable, valkey, totals):
    session = save(a=1)
    valkey.flushall()
    assert DurableSessionStore(session.session_key)["a"] == 1
    assert DurableSessionStore(session.session_key)["a"] == 1
    publish()
    assert totals("FallbackLoads") == [1.0]


def test_a_cookie_without_a_session_is_no_read_from_the_database(durable, totals):
    DurableSessionStore("no-such-session-key-of-anybody").get("a")
    publish()
    assert totals("FallbackLoads") == [0.0]


def test_what_happened_in_an_outage_is_told_after_it(durable, relay, totals):
    session = save(a=1)
    relay.refuse()
    assert DurableSessionStore(session.session_key)["a"] == 1
    assert DurableSessionStore(session.session_key)["a"] == 1
    relay.heal()
    get_homes().give_another_chance()
    assert DurableSessionStore(session.session_key)["a"] == 1
    publish()
    assert totals("FallbackLoads") == [2.0]
    assert totals("BreakerOpenings") == [1.0]


def test_what_could_not_be_sent_is_kept(durable, relay, totals):
    session = save(a=1)
    relay.refuse()
    for _ in range(2):
        assert DurableSessionStore(session.session_key)["a"] == 1
        # The next one tries the cache once more, with what was counted on the way.
        get_homes().give_another_chance()
    relay.heal()
    assert DurableSessionStore(session.session_key)["a"] == 1
    publish()
    assert totals("FallbackLoads") == [2.0]
    assert totals("BreakerOpenings") == [2.0]


def test_what_was_told_is_not_told_again(durable, valkey, totals):
    session = save(a=1)
    valkey.flushall()
    DurableSessionStore(session.session_key).get("a")
    publish()
    publish()
    assert totals("FallbackLoads") == [1.0]


def test_what_was_created_and_ended_is_told_once_for_each_whole_minute(durable, valkey, totals):
    minute = int(time.time()) // 60
    valkey.hset("session:events:{0}", mapping={f"cm{minute - 2}": 3, f"em{minute - 2}": 1})
    valkey.hset("session:events:{1}", mapping={f"cm{minute - 1}": 4, f"ch{minute // 60}": 7})
    publish()
    publish()
    assert totals("CreatedSessions") == [7.0]
    assert totals("EndedSessions") == [1.0]


def test_what_amazon_did_not_take_is_told_the_next_time(durable, valkey, totals, amazon):
    session = save(a=1)
    valkey.flushall()
    DurableSessionStore(session.session_key).get("a")
    amazon.answers["PutMetricData"] = Answer(status=400)
    with pytest.raises(AWSUnavailable, match="cloudwatch:PutMetricData"):
        publish()
    amazon.answers.clear()
    publish()
    assert totals("FallbackLoads") == [1.0]


def test_counting_takes_no_round_trip_of_its_own(durable, relay, valkey):
    def reading() -> int:
        session = save(a=1)
        valkey.flushall()
        with relay.recording() as tape:
            DurableSessionStore(session.session_key).get("a")
        return tape.round_trips

    reading()
    assert reading() == 3


def test_nothing_is_counted_where_nobody_will_ask(durable, valkey, settings):
    settings.ELASTICACHE_SESSIONS = {
        key: value for key, value in settings.ELASTICACHE_SESSIONS.items() if key != "CLOUDWATCH"
    }
    session = save(a=1)
    valkey.flushall()
    DurableSessionStore(session.session_key).get("a")
    assert not valkey.exists("session:occurrences")


def test_counts_that_nobody_asks_for_go_by_themselves(durable, valkey):
    session = save(a=1)
    valkey.flushall()
    DurableSessionStore(session.session_key).get("a")
    assert 0 < valkey.ttl("session:occurrences") <= 3600


def test_a_foreign_value_in_the_place_of_the_counts_does_no_harm(durable, valkey, totals):
    session = save(a=1)
    valkey.flushall()
    valkey.set("session:occurrences", "planted")
    assert DurableSessionStore(session.session_key)["a"] == 1
    publish()
    assert totals("FallbackLoads") == [0.0]


def test_what_nobody_knows_is_not_told(durable, totals, settings):
    point_sessions_at(settings, "redis://127.0.0.1:1/0")
    assert publish() == 2
    assert totals("LiveSessions") == [0.0]
    assert totals("FallbackLoads") == []


def test_many_data_go_in_batches_of_a_thousand(group, amazon, valkey):
    now = datetime.now(UTC)
    data = [cloudwatch.Datum(name="Many", value=n, at=now) for n in range(2001)]
    assert cloudwatch.publish(data) == 2001
    assert amazon.calls["PutMetricData"] == 3


def test_batches_stay_below_a_megabyte(group, amazon, valkey, monkeypatch):
    monkeypatch.setattr(publishing, "MOST_BYTES", 1000)
    now = datetime.now(UTC)
    cloudwatch.publish([cloudwatch.Datum(name="Many", value=n, at=now) for n in range(10)])
    assert amazon.calls["PutMetricData"] > 1
