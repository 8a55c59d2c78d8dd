"""The live index of each bucket and the index of each user, kept right by the writes."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth import SESSION_KEY
from redis.crc import key_slot

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration


def name_of(session: SessionStore):
    return get_configuration().naming.session(session.session_key)


def metadata(valkey, session: SessionStore) -> list[int]:
    """Created, saved, expires, version."""
    parts = valkey.hget(name_of(session).hash_key, "~").split(b" ")
    return [int(part) for part in parts[:4]]


def live(valkey, session: SessionStore) -> float | None:
    """When the index says that a session expires."""
    name = name_of(session)
    score = valkey.zscore(name.index_key, name.sid)
    return None if score is None else abs(score)


def user_index(user_id: str) -> str:
    naming = get_configuration().naming
    return naming.user_index(naming.user(user_id))


def of_user(valkey, user_id: str) -> set[str]:
    return {member.decode() for member in valkey.zrange(user_index(user_id), 0, -1)}


def test_a_session_is_in_its_buckets_index_at_its_expiry(valkey, new_session, settings):
    session = new_session(a=1)
    expiry = live(valkey, session)
    assert abs(expiry - time.time() - settings.SESSION_COOKIE_AGE) < 5
    assert metadata(valkey, session)[2] == expiry


def test_a_touch_moves_the_index_entry(valkey, new_session):
    session = new_session(a=1)
    session.set_expiry(100)
    session.save()
    session.set_expiry(5000)
    session.save()
    assert abs(live(valkey, session) - time.time() - 5000) < 5


@pytest.mark.parametrize("action", ["delete", "flush"])
def test_an_ended_session_leaves_the_indexes(valkey, new_session, action):
    session = new_session(**{SESSION_KEY: "7"})
    old = name_of(session)
    assert of_user(valkey, "7") == {old.sid}
    getattr(session, action)()
    assert valkey.zscore(old.index_key, old.sid) is None
    assert old.sid not in of_user(valkey, "7")


def test_a_session_with_a_new_key_stays_where_it_is_in_the_indexes(valkey, new_session):
    session = new_session(**{SESSION_KEY: "7"})
    old = name_of(session)
    session.cycle_key()
    assert name_of(session) == old
    assert live(valkey, session) == metadata(valkey, session)[2]
    assert of_user(valkey, "7") == {old.sid}


def test_a_session_that_is_ended_unseen_leaves_its_users_index(valkey, new_session):
    session = new_session(**{SESSION_KEY: "7"})
    SessionStore().delete(session.session_key)
    assert of_user(valkey, "7") == set()


def test_a_login_enters_the_users_index(valkey, new_session):
    session = new_session(cart=[])
    login = SessionStore(session.session_key)
    login.cycle_key()
    login[SESSION_KEY] = "7"
    login.save()
    assert of_user(valkey, "7") == {name_of(login).sid}
    assert valkey.ttl(user_index("7")) > valkey.ttl(name_of(login).hash_key)


def test_another_user_in_the_same_session_moves_it_to_his_index(valkey, new_session):
    session = new_session(**{SESSION_KEY: "7"})
    session[SESSION_KEY] = "8"
    session.save()
    assert of_user(valkey, "7") == set()
    assert of_user(valkey, "8") == {name_of(session).sid}
    del session[SESSION_KEY]
    session.save()
    assert of_user(valkey, "8") == set()
    assert valkey.hget(name_of(session).hash_key, "~").split(b" ")[4] == b""


def test_a_replaced_session_keeps_its_user_only_with_the_users_id(valkey, new_session):
    session = new_session(**{SESSION_KEY: "7"})
    request = SessionStore(session.session_key)
    request.clear()
    request["a"] = 1
    request.save()
    assert of_user(valkey, "7") == set()


def test_a_touch_that_moves_the_expiry_far_renews_the_users_index(valkey, new_session):
    session = new_session(**{SESSION_KEY: "7"})
    session.set_expiry(800)
    session.save()
    now = int(time.time())
    created, saved, _, version = metadata(valkey, session)
    rest = valkey.hget(name_of(session).hash_key, "~").decode().split(" ", 4)[4]
    # As if it had been saved last 300 seconds ago.
    valkey.hset(name_of(session).hash_key, "~", f"{created} {saved} {now + 500} {version} {rest}")
    valkey.zadd(user_index("7"), {name_of(session).sid: now + 600})
    request = SessionStore(session.session_key)
    request[SESSION_KEY]
    request.save()
    assert valkey.zscore(user_index("7"), name_of(session).sid) >= live(valkey, session)


def test_a_touch_that_hardly_moves_the_expiry_leaves_the_users_index_alone(
    relay, valkey, new_session
):
    session = new_session(**{SESSION_KEY: "7"})
    request = SessionStore(session.session_key)
    request[SESSION_KEY]
    with relay.recording() as tape:
        request.save()
    assert len(tape.commands) == 1


def test_expired_entries_leave_the_index_a_few_at_a_time(valkey, new_session, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 1}
    valkey.zadd("session:{0}:live", {f"dead-{n}": n + 1 for n in range(50)})
    for left in (31, 12, 3):
        new_session(a=1)
        assert valkey.zcard("session:{0}:live") == left


def test_of_either_engine_new_sessions_alone_empty_the_index_of_what_has_expired(
    engine, valkey, settings
):
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 1}
    valkey.zadd("session:{0}:live", {f"dead-{n}": n + 1 for n in range(400)})
    for _ in range(20):
        engine().save()
    assert valkey.zcard("session:{0}:live") == 20


@pytest.mark.parametrize("method", ["clear_expired", "aclear_expired"])
async def test_clear_expired_empties_the_indexes_of_what_has_expired(valkey, settings, method):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    later = time.time() + 1000
    for bucket in range(4):
        valkey.zadd(f"session:{{{bucket}}}:live", {f"dead-{n}": n + 1 for n in range(2500)})
        valkey.zadd(f"session:{{{bucket}}}:live", {"alive": later})
    result = getattr(SessionStore, method)()
    if method.startswith("a"):
        await result
    assert [valkey.zcard(f"session:{{{bucket}}}:live") for bucket in range(4)] == [1] * 4


def test_a_foreign_value_under_an_index_costs_no_session(valkey, settings, new_session):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 1}
    valkey.set("session:{0}:live", "planted")
    session = new_session(a=1)
    assert SessionStore(session.session_key)["a"] == 1
    assert live(valkey, session) is not None


def test_every_key_a_script_touches_lies_in_one_slot(valkey, new_session):
    session = new_session(a=1)
    old = name_of(session)
    session.cycle_key()
    new = name_of(session)
    slots = {
        key_slot(key.encode()) for key in (old.hash_key, old.index_key, new.hash_key, new.index_key)
    }
    assert len(slots) == 1
