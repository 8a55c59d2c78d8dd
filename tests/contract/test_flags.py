"""`accessed`, `modified` and the session key after any calls: as with Django's own `db` engine.

Django's middleware sends `Vary: Cookie` by `accessed`. Where a session is made or rotated and it is
not set, the per-site cache gives one visitor's page, with the cookie in it, to everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import (
    SessionStore as CachedDatabaseSessionStore,
)

from .face import Face

pytestmark = pytest.mark.django_db(transaction=True)

CALLS: dict[str, Callable[[Face], object]] = {
    "get": lambda session: session.get("a"),
    "set": lambda session: session.set("a", 1),
    "pop": lambda session: session.pop("a", None),
    "setdefault": lambda session: session.setdefault("a", 2),
    "update": lambda session: session.update({"b": 1}),
    "has_key": lambda session: session.has_key("a"),
    "keys": lambda session: list(session.keys()),
    "items": lambda session: list(session.items()),
    "clear": lambda session: session.clear(),
    "is_empty": lambda session: session.is_empty(),
    "set_expiry": lambda session: session.set_expiry(60),
    "get_expiry_age": lambda session: session.get_expiry_age(),
    "get_expiry_date": lambda session: session.get_expiry_date(),
    "get_expire_at_browser_close": lambda session: session.get_expire_at_browser_close(),
    "set_test_cookie": lambda session: session.set_test_cookie(),
    "test_cookie_worked": lambda session: session.test_cookie_worked(),
    "exists": lambda session: session.exists(session.session_key or "a" * 32),
    "create": lambda session: session.create(),
    "save": lambda session: session.save(),
    "delete": lambda session: session.delete(),
    "flush": lambda session: session.flush(),
    "cycle_key": lambda session: session.cycle_key(),
    "load": lambda session: session.load(),
}


def flags(face: Face, calls: list[str]) -> list[tuple[object, ...]]:
    """Return what a session says of itself after each call, and whether its key changed."""
    seen: list[tuple[object, ...]] = []
    for name in calls:
        key = face.session.session_key
        try:
            CALLS[name](face)
            problem = ""
        except UpdateError:
            problem = "ended"
        after = face.session.session_key
        seen.append((name, problem, face.touched, bool(after), after != key))
        if problem:
            # What a session is good for that has ended is nobody's promise.
            break
    return seen


def opened(store: type[SessionBase], *, is_stored: bool) -> SessionBase:
    if not is_stored:
        return store()
    first = store()
    first.update({"a": 1})
    first.save()
    return store(first.session_key)


@pytest.fixture(params=[SessionStore, CachedDatabaseSessionStore], ids=["cache", "cached_db"])
def store(request, valkey) -> type[SessionBase]:
    return request.param


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "new"])
@pytest.mark.parametrize("name", CALLS)
def test_after_one_call(store, name, is_stored):
    theirs = flags(Face(opened(DatabaseSessionStore, is_stored=is_stored), None), [name])
    assert flags(Face(opened(store, is_stored=is_stored), None), [name]) == theirs
    if store is SessionStore:
        with asyncio.Runner() as runner:
            ours = Face(opened(store, is_stored=is_stored), runner)
            assert flags(ours, [name]) == theirs


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.booleans(), st.lists(st.sampled_from(sorted(CALLS)), min_size=2, max_size=6))
def test_after_several_calls(store, is_stored, calls):
    theirs = flags(Face(opened(DatabaseSessionStore, is_stored=is_stored), None), calls)
    assert flags(Face(opened(store, is_stored=is_stored), None), calls) == theirs


def begin(request: HttpRequest) -> HttpResponse:
    if not request.session.session_key:
        request.session.create()
    return HttpResponse("a page of " + str(request.session.session_key))


urlpatterns = [path("", begin)]


def test_two_strangers_do_not_share_a_session(store, settings, valkey):
    """The per-site cache keeps a page for those who have the same cookie."""
    settings.SESSION_ENGINE = store.__module__
    settings.ROOT_URLCONF = __name__
    settings.CACHES = {
        **settings.CACHES,
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "site"},
    }
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]

    def visit() -> Any:
        return Client().get("/")

    answer = visit()
    assert answer["Vary"] == "Cookie"
    assert visit().cookies["sessionid"].value != answer.cookies["sessionid"].value
