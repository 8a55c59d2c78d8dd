"""Adversaries 6-10: a writer in the store gains nothing; what he forges is a missing session."""

from __future__ import annotations

import json
import logging
import os
import pickle
import zlib

import pytest
from django.contrib.sessions.backends.base import UpdateError

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import UnknownFormat


@pytest.fixture
def where(valkey):
    """Return the key of a session's hash."""

    def find(session: SessionStore) -> str:
        return get_configuration().naming.session(session.session_key).hash_key

    return find


def assert_missing(session_key: str, caplog: pytest.LogCaptureFixture) -> None:
    """The session gives nothing, is not saved under its key, and the security log knows."""
    caplog.clear()
    request = SessionStore(session_key)
    with caplog.at_level(logging.WARNING, "django.security"):
        assert request.get("role") is None
    assert request.session_key is None
    assert request.is_empty()
    assert [record.name for record in caplog.records] == ["django.security.SuspiciousSession"]
    assert session_key not in caplog.text


def assert_unknown(session_key: str) -> None:
    """The session gives nothing, as a missing one: that is no sign of a forgery."""
    request = SessionStore(session_key)
    assert request.get("role") is None
    assert request.session_key is None
    assert request.is_empty()


def forge(valkey, key: str, value: bytes) -> None:
    valkey.hset(key, "role", value)


def test_a_value_of_another_session_is_rejected(valkey, new_session, where, caplog):
    admin, thief = new_session(role="admin"), new_session(role="guest")
    forge(valkey, where(thief), valkey.hget(where(admin), "role"))
    assert_missing(thief.session_key, caplog)


def test_a_value_of_another_field_is_rejected(valkey, new_session, where, caplog):
    session = new_session(role="guest", nickname="admin")
    forge(valkey, where(session), valkey.hget(where(session), "nickname"))
    assert_missing(session.session_key, caplog)


def test_a_whole_session_copied_under_another_name_is_missing(valkey, new_session, where):
    admin, thief = new_session(role="admin"), new_session(role="guest")
    valkey.delete(where(thief))
    valkey.hset(where(thief), mapping=valkey.hgetall(where(admin)))
    valkey.expire(where(thief), 100)
    assert_unknown(thief.session_key)


@pytest.mark.parametrize("whose", ["admin", "thief"])
def test_the_values_of_another_session_under_ones_own_key_are_rejected(
    valkey, new_session, where, caplog, whose
):
    admin, thief = new_session(role="admin"), new_session(role="guest")
    metadata = valkey.hget(where(thief), "~")
    valkey.hset(where(thief), mapping=valkey.hgetall(where(admin)))
    valkey.hset(where(thief), "~", metadata)
    if whose == "admin":
        valkey.delete(where(admin))
    assert_missing(thief.session_key, caplog)


def test_the_key_of_ones_own_session_opens_no_other_session(valkey, new_session, where):
    admin, thief = new_session(role="admin"), new_session(role="guest")
    valkey.hset(where(admin), "~", valkey.hget(where(thief), "~"))
    for session_key in (
        thief.session_key[:15] + admin.session_key[15:],
        admin.session_key[:15] + thief.session_key[15:],
        admin.session_key,
    ):
        assert_unknown(session_key)


def test_a_changed_creation_time_makes_the_session_missing(valkey, new_session, where):
    session = new_session(role="guest")
    created, rest = valkey.hget(where(session), "~").split(b" ", 1)
    valkey.hset(where(session), "~", b"%d %s" % (int(created) + 1, rest))
    assert_unknown(session.session_key)


@pytest.mark.parametrize("position", [0, 1, 5, 17, -1])
def test_a_flipped_bit_is_rejected(valkey, new_session, where, caplog, position):
    session = new_session(role="guest")
    value = bytearray(valkey.hget(where(session), "role"))
    value[position] ^= 1
    forge(valkey, where(session), bytes(value))
    assert_missing(session.session_key, caplog)


@pytest.mark.parametrize("kept", [0, 1, 5, 20, 33, -1])
def test_a_truncated_value_is_rejected(valkey, new_session, where, caplog, kept):
    session = new_session(role="guest")
    forge(valkey, where(session), valkey.hget(where(session), "role")[:kept])
    assert_missing(session.session_key, caplog)


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(b"\x10" + bytes(6) + b'"admin"', id="an unencrypted value"),
        pytest.param(
            b"\x12" + bytes(6) + zlib.compress(b'"admin"'), id="an unencrypted compressed value"
        ),
        pytest.param(b"\x0f" + os.urandom(60), id="an earlier format"),
        pytest.param(pickle.dumps({"role": "admin"}), id="a pickle"),
        pytest.param(json.dumps("admin").encode(), id="plain JSON"),
        pytest.param(b"\x11" + os.urandom(60), id="random bytes"),
    ],
)
def test_a_planted_value_is_rejected(valkey, new_session, where, caplog, planted):
    session = new_session(role="guest")
    forge(valkey, where(session), planted)
    assert_missing(session.session_key, caplog)


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(b"\x15" + os.urandom(60), id="a later format"),
        pytest.param(b"\x1f" + os.urandom(60), id="the last of them"),
    ],
)
def test_what_may_be_of_a_later_release_is_not_read_and_keeps_its_session_key(
    valkey, new_session, where, planted
):
    session = new_session(role="guest")
    forge(valkey, where(session), planted)
    request = SessionStore(session.session_key)
    with pytest.raises(UnknownFormat):
        request.get("role")
    assert request.session_key == session.session_key
    SessionStore().delete(session.session_key)
    assert not valkey.exists(where(session))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        b"",
        b"soon",
        b"1 2 3 4",
        b"1 2 3 x ",
        b"1 2 3 4 \xff",
        b"1 2 3 4 a b",
        b"1 2 3 4  " + b"k" * 31,
    ],
)
def test_damaged_metadata_make_the_session_missing(valkey, new_session, where, caplog, metadata):
    session = new_session(role="guest")
    if metadata is None:
        valkey.hdel(where(session), "~")
    else:
        valkey.hset(where(session), "~", metadata)
    assert_missing(session.session_key, caplog)


def test_a_session_with_damaged_metadata_is_not_saved_to(valkey, new_session, where):
    session = new_session(role="guest")
    valkey.hset(where(session), "~", "damaged")
    session["role"] = "admin"
    with pytest.raises(UpdateError):
        session.save()


def test_a_session_without_expiry_is_rejected(valkey, new_session, where, caplog):
    session = new_session(role="guest")
    valkey.persist(where(session))
    assert_missing(session.session_key, caplog)


@pytest.mark.parametrize("plant", ["set", "rpush", "sadd"])
def test_a_foreign_type_under_a_sessions_name_is_a_missing_session(
    valkey, new_session, where, caplog, plant
):
    session = new_session(role="guest")
    valkey.delete(where(session))
    getattr(valkey, plant)(where(session), "planted")
    assert_missing(session.session_key, caplog)
    assert not SessionStore().exists(session.session_key)


def test_a_foreign_type_is_not_saved_over_and_no_obstacle_to_a_logout(valkey, new_session, where):
    session = new_session(role="guest")
    valkey.delete(where(session))
    valkey.set(where(session), "planted")
    session["role"] = "admin"
    with pytest.raises(Exception, match="ended"):
        session.save()
    SessionStore().delete(session.session_key)
    key = where(session)
    session.flush()
    assert session.session_key is None
    assert not valkey.exists(key)


def test_more_fields_than_any_session_has_are_rejected(valkey, new_session, where, caplog):
    session = new_session(role="guest")
    for start in range(0, 40_000, 10_000):
        valkey.hset(where(session), mapping={str(start + n): "x" for n in range(10_000)})
    assert_missing(session.session_key, caplog)


@pytest.mark.parametrize("plant", ["one huge value", "a million fields"])
def test_of_a_reply_without_end_only_so_much_is_read(
    relay, valkey, new_session, where, caplog, plant
):
    session = new_session(role="guest")
    if plant == "one huge value":
        forge(valkey, where(session), b"x" * 50_000_000)
    else:
        for start in range(0, 1_000_000, 50_000):
            valkey.hset(where(session), mapping={str(start + n): "xx" for n in range(50_000)})
    with relay.recording() as tape:
        assert_missing(session.session_key, caplog)
    # What the kernel buffers on the way counts too; the rest of the reply is never sent.
    assert tape.bytes_to_client < 6 * get_configuration().load_limit_bytes


async def test_an_asynchronous_reader_stops_too(relay, valkey, caplog):
    session = SessionStore()
    await session.aset("role", "guest")
    await session.asave()
    key = get_configuration().naming.session(session.session_key).hash_key
    forge(valkey, key, b"x" * 50_000_000)
    request = SessionStore(session.session_key)
    with caplog.at_level(logging.WARNING, "django.security"):
        assert await request.aget("role") is None
    assert "larger than any session" in caplog.text


def test_a_decompression_bomb_is_stopped(valkey, new_session, where, caplog, settings):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": False}
    session = new_session(role="guest")
    forge(
        valkey,
        where(session),
        b"\x12" + bytes(6) + zlib.compress(b'"' + b"a" * 100_000_000 + b'"', 9),
    )
    assert_missing(session.session_key, caplog)


def test_a_forged_field_ends_the_request_as_signed_out(valkey, new_session, where, caplog):
    session = new_session(role="guest", other=1)
    value = bytearray(valkey.hget(where(session), "role"))
    value[-1] ^= 1
    forge(valkey, where(session), bytes(value))
    request = SessionStore(session.session_key)
    assert request["other"] == 1
    assert request.get("role") is None
    assert "other" not in request
    assert dict(request.items()) == {}
    request["new"] = 1
    request.save()
    assert request.session_key not in (None, session.session_key)


def test_an_older_value_of_the_same_field_is_accepted(valkey, new_session, where):
    """What is not covered: a replay within one session and field; see the security page."""
    session = new_session(role="guest")
    old = valkey.hget(where(session), "role")
    session["role"] = "admin"
    session.save()
    forge(valkey, where(session), old)
    assert SessionStore(session.session_key)["role"] == "guest"


def test_a_users_field_with_a_metadata_name_is_a_field_like_others(valkey, new_session):
    data = {"~v": "mine", "~": 1, "~~c": 2, "": 3, "~~": "admin"}
    session = new_session(**data)
    assert dict(SessionStore(session.session_key).items()) == data
    request = SessionStore(session.session_key)
    del request["~v"]
    request["~c"] = "also mine"
    request.save()
    assert SessionStore(session.session_key)["~c"] == "also mine"
    assert "~v" not in SessionStore(session.session_key)
