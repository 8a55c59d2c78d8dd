"""G8: how often each operation asks the server, and how much it sends, counted at the wire."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from django_elasticache_sessions.backends.cache import SessionStore

USER = {
    SESSION_KEY: "7",
    BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
    HASH_SESSION_KEY: "0" * 64,
}
#: The commands of a load, sent together.
READ = (b"HGETALL", b"TTL")


@pytest.fixture
def counted(relay, valkey):
    """Count the round trips and commands of a block, on a connection that is already open."""
    SessionStore().exists("warm-up-session-" * 2)

    @contextmanager
    def count(*commands: bytes):
        with relay.recording() as tape:
            yield tape
        assert [command[0].upper() for command in tape.commands] == list(commands)
        assert tape.round_trips == (1 if commands else 0)

    return count


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return session.session_key


def test_a_session_that_is_not_accessed_costs_nothing(counted):
    with counted():
        SessionStore("some-session-key-" * 2).is_empty()


def test_a_load_is_one_round_trip_however_many_keys_are_read(counted):
    session_key = saved(a=1, b=2)
    with counted(*READ):
        session = SessionStore(session_key)
        assert session["a"] + session["b"] == 3
        assert "c" not in session


def test_a_missing_session_is_one_round_trip(counted):
    with counted(*READ):
        assert SessionStore("no-such-session-" * 2).get("a") is None


def test_a_save_is_one_round_trip_after_the_load(counted):
    session = SessionStore(saved(a=1))
    session["a"] = 2
    with counted(b"EVALSHA"):
        session.save()


def test_a_touch_is_one_round_trip_and_sends_no_field(counted):
    session = SessionStore(saved(a="x" * 500))
    session["a"]
    with counted(b"EVALSHA") as tape:
        session.save()
    assert tape.bytes_to_server < 300


def test_a_new_session_is_one_round_trip(counted):
    session = SessionStore()
    session["a"] = 1
    with counted(b"EVALSHA"):
        session.save()


def test_a_delete_is_one_round_trip(counted):
    session = SessionStore(saved(a=1))
    session["a"]
    with counted(b"EVALSHA"):
        session.delete()


def test_a_rotation_is_one_round_trip(counted):
    session = SessionStore(saved(a=1))
    session["a"]
    with counted(b"EVALSHA"):
        session.cycle_key()


def test_exists_is_one_round_trip(counted):
    session_key = saved(a=1)
    with counted(*READ):
        assert SessionStore().exists(session_key)


def test_a_login_is_three_round_trips(counted, relay):
    session_key = saved(cart=["tea"])
    with relay.recording() as tape:
        session = SessionStore(session_key)
        session.get("cart")
        session.cycle_key()
        session.update(USER)
        session.save()
    assert tape.round_trips == 3
    assert len(tape.commands) == len(READ) + 3


def test_a_logout_is_two_round_trips_with_the_load(counted, relay):
    session_key = saved(**USER)
    with relay.recording() as tape:
        session = SessionStore(session_key)
        session.get(SESSION_KEY)
        session.flush()
    assert tape.round_trips == 2


def test_a_logout_without_a_load_takes_the_session_out_of_its_users_index(counted, relay, valkey):
    session_key = saved(**USER)
    assert any(key.startswith(b"session:user:") for key in valkey.keys("*"))
    with relay.recording() as tape:
        SessionStore(session_key).delete()
    assert tape.round_trips == 2
    assert not any(key.startswith(b"session:user:") for key in valkey.keys("*"))


def test_an_older_index_key_costs_a_round_trip_only_on_a_miss(counted, settings, relay):
    session_key = saved(a=1)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new secret key", [settings.SECRET_KEY]
    with relay.recording() as tape:
        assert SessionStore(session_key)["a"] == 1
    assert tape.round_trips == 2
    fresh = saved(a=2)
    with counted(*READ):
        assert SessionStore(fresh)["a"] == 2


def test_one_changed_key_of_a_large_session_sends_two_percent_of_it(counted):
    data = {f"key-{n}": "x" * 1000 for n in range(20)}
    session = SessionStore(saved(**data))
    for name in data:
        session[name]
    session["key-3"] = "changed"
    with counted(b"EVALSHA") as tape:
        session.save()
    assert tape.bytes_to_server <= len(json.dumps(data)) * 0.02


def test_an_unchanged_session_under_save_every_request_is_a_touch(counted, settings, client):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    session = SessionStore(saved(a=1))
    with counted(*READ):
        session.load()
    session["a"]
    with counted(b"EVALSHA") as tape:
        session.save()
    assert b"a" not in tape.commands[0]


def test_asynchronous_operations_cost_the_same(relay, valkey):
    async def use() -> list[int]:
        trips = []
        session = SessionStore()
        await session.aset("warm", 1)
        await session.asave()
        for step in ("aload", "asave", "acycle_key", "adelete"):
            if step != "aload":
                await session.aset("a", step)
            with relay.recording() as tape:
                await getattr(session, step)()
            trips.append(tape.round_trips)
        return trips

    assert asyncio.run(use()) == [1, 1, 1, 1]


@pytest.mark.parametrize("operation", ["load", "save", "cycle_key", "delete", "create"])
def test_a_server_that_lost_its_scripts_is_given_them_once(relay, valkey, operation):
    session = SessionStore(saved(a=1))
    session["a"] = 2
    valkey.script_flush()
    getattr(session, operation)()
    with relay.recording() as tape:
        SessionStore().exists("no-such-session-" * 2)
    assert tape.round_trips == 1
