"""What waits in a hash is lost with it: that is counted, and told once a minute."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command

from django_elasticache_sessions import live, occurrences
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.events import total
from django_elasticache_sessions.handing_over import hand_over
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.keys import SessionName
from django_elasticache_sessions.prometheus import render

from .conftest import point_sessions_at
from .servers.valkey import Valkey

LOGGER = "django_elasticache_sessions"


@pytest.fixture(autouse=True)
def _behind(settings, valkey, fallback_database):
    settings.SESSION_ENGINE = SessionStore.__module__
    fallback_database("sqlite")
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind", "INDEX_BUCKETS": 4}


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def waiting(**data: object) -> str:
    """A session of which something waits."""
    session = SessionStore(saved(a=1, **data))
    session["a"] = 2
    session.save()
    return str(session.session_key)


def name_of(session_key: str) -> SessionName:
    return get_configuration().naming.session(session_key)


def synchronized() -> None:
    call_command("syncsessions", stdout=io.StringIO())


def bring_over(name: SessionName) -> None:
    sync.get_driver("sessions").run(hand_over(get_homes(), get_configuration().naming, [name]))


def lost() -> int:
    return total(live.stats().cache.events.hours, "lost") or 0


@pytest.mark.parametrize("user", [{}, {SESSION_KEY: "7"}], ids=["anonymous", "signed in"])
def test_a_hash_that_is_gone_with_what_waited_in_it_is_counted(valkey, user):
    session_key = waiting(**user)
    valkey.delete(name_of(session_key).hash_key)
    synchronized()
    assert lost() == 1
    synchronized()
    assert lost() == 1
    assert SessionStore(session_key)["a"] == 1


def test_so_is_one_that_a_reader_filled_in_again(valkey):
    session_key = waiting()
    valkey.delete(name_of(session_key).hash_key)
    assert SessionStore(session_key)["a"] == 1
    synchronized()
    assert lost() == 1
    assert SessionStore(session_key)["a"] == 1


def test_so_is_one_whose_index_was_lost_too(valkey):
    name = name_of(waiting())
    valkey.delete(name.hash_key, name.index_key)
    synchronized()
    assert lost() == 1


def test_so_is_a_session_that_the_database_never_had(valkey, monkeypatch):
    homes = get_homes()
    homes.database.failed()
    session_key = saved(a=1)
    homes.give_another_chance()
    valkey.delete(name_of(session_key).hash_key)
    synchronized()
    assert lost() == 1


def end(valkey, session_key: str) -> None:
    SessionStore(session_key).delete(session_key)


def end_as_staff(valkey, session_key: str) -> None:
    live.end(name_of(session_key).sid)


def expire(valkey, session_key: str) -> None:
    name = name_of(session_key)
    valkey.pexpire(name.hash_key, 1)
    while valkey.exists(name.hash_key):
        pass
    [score] = valkey.zmscore(name.index_key, [name.sid])
    valkey.zadd(name.index_key, {name.sid: -1 if score < 0 else 1})


@pytest.mark.parametrize("leave", [end, end_as_staff, expire])
def test_what_has_ended_or_expired_is_not(valkey, leave: Callable[[object, str], None]):
    session_key = waiting()
    # As one that was noted again too late.
    leave(valkey, session_key)
    valkey.sadd(
        get_configuration().naming.pending_set(name_of(session_key).bucket),
        name_of(session_key).sid,
    )
    synchronized()
    assert lost() == 0


def test_what_another_process_has_handed_over_meanwhile_is_not(valkey):
    name = name_of(waiting())
    synchronized()
    # Found in the set before.
    bring_over(name)
    valkey.delete(name.hash_key)
    bring_over(name)
    assert lost() == 0


def test_it_is_logged_once_a_minute_with_their_number(valkey, caplog, monkeypatch):
    def lose(number: int) -> list[str]:
        for _ in range(number):
            valkey.delete(name_of(waiting()).hash_key)
        caplog.clear()
        synchronized()
        return [record.getMessage()[:31] for record in caplog.records]

    assert lose(1) == ["1 session lost changes that wai"]
    assert lose(3) == lose(2) == []
    monkeypatch.setattr(get_homes().losses, "_next_telling", 0.0)
    # Nothing more is lost: the rest is told all the same.
    assert lose(0) == []
    bring_over(name_of(saved(a=1)))
    assert [record.getMessage()[:15] for record in caplog.records] == ["5 sessions lost"]


def test_metrics_and_statistics_tell_of_it(valkey):
    valkey.delete(name_of(waiting()).hash_key)
    synchronized()
    assert 'django_elasticache_sessions_lost_lately{within="1h"} 1' in render(live.stats())
    stdout = io.StringIO()
    call_command("sessionstats", stdout=stdout)
    [line] = [line for line in stdout.getvalue().splitlines() if "lost while waiting" in line]
    assert line.split()[-1] == "1"


def test_cloudwatch_is_told_where_it_is_used(valkey, settings):
    settings.ELASTICACHE_SESSIONS |= {
        "CLOUDWATCH": {"REPLICATION_GROUP_ID": "shop", "REGION": "eu-central-1"}
    }
    valkey.delete(name_of(waiting()).hash_key)
    synchronized()
    collecting = occurrences.collect(get_configuration().naming)
    assert sync.get_driver("sessions").run(collecting).counts["lost_waits"] == 1


def test_a_server_that_evicts_is_found_out(settings):
    with Valkey(config={"maxmemory-policy": "volatile-lru"}) as server:
        point_sessions_at(settings, server.url)
        keys = [waiting(filler="x" * 2000) for _ in range(30)]
        client = server.client()
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 40_000)
        evicted = sum(not client.exists(name_of(key).hash_key) for key in keys)
        assert evicted
        client.config_set("maxmemory", 0)
        synchronized()
        assert lost() == evicted
        waits = sum(SessionStore(key)["a"] == 2 for key in keys)
        assert waits == len(keys) - evicted
