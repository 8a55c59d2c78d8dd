"""G2: a session that has ended never comes back."""

from __future__ import annotations

import asyncio

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from django_elasticache_sessions.backends.cache import SessionStore


def end_by_delete(session: SessionStore) -> None:
    SessionStore().delete(session.session_key)


def end_by_flush(session: SessionStore) -> None:
    SessionStore(session.session_key).flush()


def end_by_rotation(session: SessionStore) -> None:
    SessionStore(session.session_key).cycle_key()


def end_by_asynchronous_flush(session: SessionStore) -> None:
    asyncio.run(SessionStore(session.session_key).aflush())


def end_by_expiry_in_the_past(session: SessionStore) -> None:
    other = SessionStore(session.session_key)
    other.set_expiry(-1)
    other.save()


endings = pytest.mark.parametrize(
    "end",
    [
        end_by_delete,
        end_by_flush,
        end_by_rotation,
        end_by_asynchronous_flush,
        end_by_expiry_in_the_past,
    ],
)


@endings
def test_a_late_save_gets_an_update_error_and_stores_nothing(valkey, new_session, end):
    session = new_session(a=1)
    late = SessionStore(session.session_key)
    late["b"] = 2
    end(session)
    with pytest.raises(UpdateError):
        late.save()
    assert not SessionStore().exists(session.session_key)
    assert SessionStore(session.session_key).get("a") is None


@endings
def test_a_late_touch_gets_an_update_error(new_session, end):
    session = new_session(a=1)
    late = SessionStore(session.session_key)
    late["a"]
    end(session)
    with pytest.raises(UpdateError):
        late.save()


@endings
def test_a_signed_in_session_that_has_ended_cannot_be_rotated_back(new_session, end):
    session = new_session(**{SESSION_KEY: "7"})
    late = SessionStore(session.session_key)
    late[SESSION_KEY]
    end(session)
    with pytest.raises(UpdateError):
        late.cycle_key()


def test_an_anonymous_visit_that_has_expired_can_still_sign_in(valkey, new_session):
    session = new_session(cart=["tea"])
    login = SessionStore(session.session_key)
    login["cart"]
    valkey.flushall()
    login.cycle_key()
    assert SessionStore(login.session_key)["cart"] == ["tea"]
    assert login.session_key != session.session_key


def test_an_update_error_raised_in_a_view_is_a_bad_request(valkey, new_session):
    session = new_session(a=1)
    late = SessionStore(session.session_key)
    late["a"] = 2
    valkey.flushall()
    with pytest.raises(SessionInterrupted):
        late.save()


def test_a_missing_sessions_key_is_never_adopted(valkey):
    session = SessionStore("made-up-by-a-visitor-" * 2)
    session["a"] = 1
    session.save()
    assert session.session_key != "made-up-by-a-visitor-" * 2
    assert not SessionStore().exists("made-up-by-a-visitor-" * 2)


def test_deleting_what_is_not_there_is_harmless(valkey):
    SessionStore().delete("never-was-a-session-" * 2)
    SessionStore().delete()
    assert valkey.dbsize() == 0


def test_saving_after_the_data_was_cleared_unseen_still_needs_the_session(valkey, new_session):
    session = new_session(a=1)
    late = SessionStore(session.session_key)
    late.clear()
    late["b"] = 2
    valkey.flushall()
    with pytest.raises(UpdateError):
        late.save()


async def test_an_asynchronous_late_save_gets_an_update_error(new_session):
    session = await asyncio.to_thread(new_session, a=1)
    late = SessionStore(session.session_key)
    await late.aset("b", 2)
    await SessionStore(session.session_key).aflush()
    with pytest.raises(UpdateError):
        await late.asave()
