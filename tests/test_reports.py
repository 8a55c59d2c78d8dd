"""G9 and adversary 5: no session key and no value in a log, a traceback, an error page, a repr."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
from django.views.debug import ExceptionReporter

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import (
    SessionEnded,
    SessionNotSerializable,
    SessionStoreUnavailable,
    SessionTooLarge,
)

CANARY = "canary-in-a-value"


def report_of(error: BaseException) -> str:
    """Render Django's full error page, which shows every frame's variables."""
    reporter = ExceptionReporter(None, type(error), error, error.__traceback__)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


@pytest.fixture
def session(new_session) -> SessionStore:
    session = SessionStore(new_session(note=CANARY).session_key)
    session.load()
    return session


def unavailable(session: SessionStore, relay, operation: str) -> None:
    relay.refuse()
    getattr(session, operation)()


def asynchronously_unavailable(session: SessionStore, relay, operation: str) -> None:
    relay.refuse()
    asyncio.run(getattr(session, f"a{operation}")())


def provoke(session: SessionStore, act) -> BaseException:
    """Return what an act raises, from a frame that itself shows nothing."""
    try:
        act()
    except Exception:
        return sys.exc_info()[1]
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("fail", [unavailable, asynchronously_unavailable])
@pytest.mark.parametrize("operation", ["load", "save", "create", "cycle_key", "delete", "flush"])
def test_an_outage_reports_neither_key_nor_value(relay, session, fail, operation, caplog):
    session["note"] = CANARY + " changed"
    session_key = session.session_key
    with caplog.at_level(logging.DEBUG):
        error = provoke(session, lambda: fail(session, relay, operation))
    assert isinstance(error, SessionStoreUnavailable)
    report = without_test_frames(error)
    assert CANARY not in report
    assert session_key not in report
    assert CANARY not in caplog.text
    assert session_key not in caplog.text


def without_test_frames(error: BaseException) -> str:
    """Report the frames of the package and below it, not those of this file."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    assert trace is not None
    return report_of(error.with_traceback(trace))


def test_exists_and_delete_of_another_session_report_no_key(relay, session):
    other = SessionStore()
    relay.refuse()
    key = session.session_key
    for act in (lambda: other.exists(key), lambda: other.delete(key)):
        assert key not in without_test_frames(provoke(other, act))


def test_a_value_that_cannot_be_serialised_is_named_not_shown(session):
    session["cart"] = {"line": CANARY, "bad": object()}
    error = provoke(session, session.save)
    assert isinstance(error, SessionNotSerializable)
    assert isinstance(error, TypeError)
    assert "'cart'" in str(error)
    assert "object" in str(error)
    assert CANARY not in without_test_frames(error)
    assert SessionStore(session.session_key).get("cart") is None


def test_a_value_that_shows_itself_in_the_serialisers_error_is_not_shown(session):
    session["note"] = [CANARY, float("nan"), {CANARY: {1, 2}}]
    error = provoke(session, session.save)
    assert CANARY not in without_test_frames(error)


def test_a_session_that_is_too_large_is_named_not_shown(session, settings):
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 2000, "COMPRESS_ABOVE_BYTES": None}
    session["cart"] = CANARY * 500
    error = provoke(session, session.save)
    assert isinstance(error, SessionTooLarge)
    assert "MAX_SESSION_BYTES" in str(error)
    assert CANARY not in without_test_frames(error)
    assert "cart" not in SessionStore(session.session_key)


def test_many_fields_that_are_too_large_together_are_refused(session, settings):
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 2000, "COMPRESS_ABOVE_BYTES": None}
    for n in range(3):
        session[f"part-{n}"] = str(n) * 650
        if n < 2:
            session.save()
    with pytest.raises(SessionTooLarge):
        session.save()
    assert len(SessionStore(session.session_key).load()) == 3


def test_a_session_above_a_lowered_limit_may_be_touched_and_emptied(session, settings):
    session["cart"], session["note"] = "c" * 900, "n" * 900
    session.save()
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 500}
    SessionStore(session.session_key).save()
    request = SessionStore(session.session_key)
    del request["note"]
    request.save()
    assert "note" not in SessionStore(session.session_key)


def test_a_small_value_that_inflates_above_the_limit_is_refused_at_the_save(session, settings):
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 2000}
    session["cart"] = "a" * 100_000
    with pytest.raises(SessionTooLarge):
        session.save()


def test_an_ended_session_is_reported_without_its_key(valkey, session):
    session["note"] = CANARY
    key = session.session_key
    valkey.flushall()
    error = provoke(session, session.save)
    assert isinstance(error, SessionEnded)
    report = without_test_frames(error)
    assert key not in report
    assert CANARY not in report


def test_a_representation_shows_nothing(session):
    configuration = get_configuration()
    shown = repr(
        [
            session,
            session._session,
            session._session.changes(),
            configuration.naming,
            configuration.policy,
            configuration.policy.ring,
            configuration,
        ]
    )
    assert CANARY not in shown
    assert session.session_key not in shown
    for key in configuration.policy.ring.by_id.values():
        assert repr(key.master)[2:-1] not in shown
    for index_key in configuration.naming.index_keys:
        assert repr(index_key)[2:-1] not in shown
