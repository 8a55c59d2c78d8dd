"""G9: what lies in the store is of no use to who steals it."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY

from django_elasticache_sessions.backends.cache import SessionStore

from .contents import session_hashes

SECRETS = {SESSION_KEY: "4242424242", HASH_SESSION_KEY: "canary-hash", "note": "canary-note" * 200}


def whole_dump(valkey) -> bytes:
    """Everything the store can tell: names, types, values, scores."""
    parts = []
    for key in valkey.keys("*"):
        parts.append(key)
        kind = valkey.type(key)
        if kind == b"hash":
            parts.extend(part for pair in valkey.hgetall(key).items() for part in pair)
        else:
            assert kind == b"zset"
            parts.extend(member for member, _ in valkey.zscan_iter(key))
    return b"\n".join(parts)


def test_a_session_is_one_hash_with_a_ttl(valkey, new_session, settings):
    new_session(**SECRETS)
    [key] = session_hashes(valkey)
    assert settings.SESSION_COOKIE_AGE - 5 <= valkey.ttl(key) <= settings.SESSION_COOKIE_AGE
    assert set(valkey.hkeys(key)) == {b"~"} | {name.encode() for name in SECRETS}


def test_neither_the_session_key_nor_a_value_is_anywhere_in_the_store(valkey, new_session):
    session = new_session(**SECRETS)
    dump = whole_dump(valkey)
    assert session.session_key.encode() not in dump
    for value in ("4242424242", "canary"):
        assert value.encode() not in dump


def test_a_snapshot_file_holds_neither_the_session_key_nor_a_value(server, valkey, new_session):
    session = new_session(**SECRETS)
    valkey.config_set("rdbcompression", "no")
    valkey.save()
    [directory] = valkey.config_get("dir").values()
    with open(f"{directory}/{valkey.config_get('dbfilename')['dbfilename']}", "rb") as file:
        snapshot = file.read()
    assert SESSION_KEY.encode() in snapshot
    assert session.session_key.encode() not in snapshot
    assert b"canary" not in snapshot


def test_the_stored_name_is_no_use_as_a_cookie(valkey, new_session):
    new_session(a=1)
    [key] = session_hashes(valkey)
    sid = key.decode().rpartition(":")[2]
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", sid)
    for guess in (sid, key.decode()):
        assert SessionStore(guess).get("a") is None
        assert not SessionStore().exists(guess)


def test_equal_values_look_different_in_two_sessions_and_two_fields(valkey, new_session):
    new_session(a="same", b="same")
    new_session(a="same", b="same")
    values = [
        value
        for key in session_hashes(valkey)
        for name, value in valkey.hgetall(key).items()
        if not name.startswith(b"~")
    ]
    assert len(set(values)) == 4


def test_without_encryption_values_are_readable_and_sessions_still_hashed(
    valkey, new_session, settings
):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": False}
    session = new_session(note="readable")
    dump = whole_dump(valkey)
    assert b'"readable"' in dump
    assert session.session_key.encode() not in dump


@pytest.mark.parametrize("action", ["delete", "flush"])
def test_an_ended_session_leaves_nothing_behind(valkey, new_session, action):
    session = new_session(**SECRETS)
    [old] = session_hashes(valkey)
    getattr(session, action)()
    sid = old.rpartition(b":")[2]
    assert not valkey.exists(old)
    assert sid not in whole_dump(valkey)


def test_a_rotation_leaves_nothing_of_the_old_session_key_behind(valkey, new_session):
    session = new_session(**SECRETS)
    [key] = session_hashes(valkey)
    before = valkey.hget(key, "~").split(b" ")[5]
    session.cycle_key()
    assert session_hashes(valkey) == [key]
    assert before not in whole_dump(valkey)


def test_what_is_stored_of_a_session_key_is_no_session_key(valkey, new_session):
    session = new_session(**SECRETS)
    [hash_key] = session_hashes(valkey)
    stored = valkey.hget(hash_key, "~").split(b" ")[5].decode()
    assert not set(session.session_key[15:]) <= set(stored)
    for guess in (stored, session.session_key[:15] + stored, stored + session.session_key):
        assert SessionStore(guess).get("token") is None
        assert not SessionStore().exists(guess)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["new", "saved", "loaded", "never loaded"])
def test_a_session_goes_into_no_pickle(new_session, kind, protocol):
    session = SessionStore() if kind == "new" else new_session(a="canary")
    if "loaded" in kind:
        session = SessionStore(session.session_key)
    if kind != "never loaded":
        session["a"] = "canary"
    with pytest.raises(TypeError, match=r"Use dict\(session\.items\(\)\)"):
        pickle.dumps(session, protocol)
    with pytest.raises(TypeError, match=r"Use dict\(session\.items\(\)\)"):
        pickle.dumps(session._session, protocol)


def test_what_is_taken_out_of_a_session_can_be_pickled(new_session):
    session = SessionStore(new_session(a=[1]).session_key)
    assert pickle.loads(pickle.dumps(dict(session.items()))) == {"a": [1]}
    assert pickle.loads(pickle.dumps(session._session.copy())) == {"a": [1]}


def test_a_session_can_be_copied(new_session):
    session = new_session(a=1)
    twin = copy.copy(session)
    assert (type(twin), twin.session_key, twin["a"]) == (SessionStore, session.session_key, 1)
    twin["b"] = 2
    twin.save()
    assert SessionStore(session.session_key)["b"] == 2
