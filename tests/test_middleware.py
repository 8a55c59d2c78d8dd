"""Our session middleware: Django's answers, native async saves, and 503 while the store is down.

Where behaviour must be Django's, the same test runs under Django's middleware too.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator

import pytest
from django.contrib.sessions.backends.cache import SessionStore as CacheSessionStore
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpResponse
from django.test import AsyncClient, RequestFactory

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.middleware import SessionMiddleware

from . import views
from .contents import session_hashes
from .pages.visitor import AsyncVisitor, Visitor

OURS = "django_elasticache_sessions.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
UNKNOWN_KEY = "a-key-of-the-right-length-that-names-none"
SHORT_KEY = "a-key-that-is-too-short"
TWO_WEEKS = 14 * 86_400


@pytest.fixture(params=[Visitor, AsyncVisitor], ids=["WSGI", "ASGI"])
def visitor(request, valkey) -> Iterator[Visitor]:
    with request.param() as visitor:
        yield visitor


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "Django's"])
def middleware(request, settings) -> str:
    """Either middleware: what is asserted holds for both."""
    settings.MIDDLEWARE = [request.param, AUTHENTICATION]
    return request.param


@pytest.fixture
def meanwhile(monkeypatch):
    """Set what happens while a view runs, at its step "meanwhile"."""
    return lambda happening: monkeypatch.setattr(views, "meanwhile", happening)


def session_cookie(answer):
    """Return the session cookie that an answer sets or deletes, `None` if it does neither."""
    return answer.cookies.get("sessionid")


def is_deletion(cookie) -> bool:
    return cookie.value == "" and cookie["max-age"] == 0


@pytest.mark.usefixtures("middleware")
class TestEitherMiddleware:
    def test_a_view_that_ignores_the_session_gets_neither_cookie_nor_vary(self, visitor):
        answer = visitor.take()
        assert session_cookie(answer) is None
        assert "Vary" not in answer

    def test_a_view_that_reads_the_session_varies_on_the_cookie_and_sets_none(self, visitor):
        answer = visitor.read()
        assert session_cookie(answer) is None
        assert answer["Vary"] == "Cookie"

    def test_a_stored_session_that_is_only_read_sets_no_cookie(self, visitor, new_session):
        visitor.session_key = new_session(a=1).session_key
        answer = visitor.read()
        assert answer.json() == {"a": 1}
        assert session_cookie(answer) is None
        assert answer["Vary"] == "Cookie"

    def test_a_stored_session_that_is_ignored_sets_no_cookie_and_no_vary(
        self, visitor, new_session
    ):
        visitor.session_key = new_session(a=1).session_key
        answer = visitor.take()
        assert session_cookie(answer) is None
        assert "Vary" not in answer

    def test_a_first_value_is_stored_and_the_cookie_set(self, visitor):
        answer = visitor.take(("set", "a", 1))
        cookie = session_cookie(answer)
        assert SessionStore(cookie.value)["a"] == 1
        assert (cookie["max-age"], bool(cookie["expires"])) == (TWO_WEEKS, True)
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, "", "Lax")
        assert answer["Vary"] == "Cookie"
        assert visitor.read().json() == {"a": 1}

    def test_the_cookies_attributes_are_the_settings(self, visitor, settings):
        settings.SESSION_COOKIE_NAME = "other"
        settings.SESSION_COOKIE_AGE = 60
        settings.SESSION_COOKIE_DOMAIN = ".example.org"
        settings.SESSION_COOKIE_PATH = "/shop"
        settings.SESSION_COOKIE_SECURE = True
        settings.SESSION_COOKIE_HTTPONLY = False
        settings.SESSION_COOKIE_SAMESITE = "Strict"
        cookie = visitor.take(("set", "a", 1)).cookies["other"]
        assert {name: value for name, value in cookie.items() if value and name != "expires"} == {
            "max-age": 60,
            "domain": ".example.org",
            "path": "/shop",
            "secure": True,
            "samesite": "Strict",
        }

    def test_a_session_till_the_browser_closes_has_a_cookie_without_an_age(self, visitor):
        cookie = session_cookie(visitor.take(("set", "a", 1), ("set_expiry", 0)))
        assert (cookie["max-age"], cookie["expires"]) == ("", "")

    def test_a_session_of_its_own_age_has_a_cookie_of_that_age(self, visitor):
        cookie = session_cookie(visitor.take(("set", "a", 1), ("set_expiry", 60)))
        assert cookie["max-age"] == 60

    def test_a_flush_deletes_session_and_cookie(self, visitor, new_session, settings):
        settings.SESSION_COOKIE_DOMAIN = ".example.org"
        settings.SESSION_COOKIE_PATH = "/shop"
        session_key = visitor.session_key = new_session(a=1).session_key
        answer = visitor.take(("flush",))
        cookie = session_cookie(answer)
        assert is_deletion(cookie)
        assert (cookie["domain"], cookie["path"]) == (".example.org", "/shop")
        assert cookie["samesite"] == "Lax"
        assert answer["Vary"] == "Cookie"
        assert not SessionStore().exists(session_key)

    def test_a_flush_without_a_cookie_sets_none(self, visitor):
        answer = visitor.take(("flush",))
        assert session_cookie(answer) is None
        assert answer["Vary"] == "Cookie"

    def test_a_cookie_of_no_session_is_deleted_when_the_session_is_read(self, visitor):
        visitor.session_key = UNKNOWN_KEY
        answer = visitor.read()
        assert is_deletion(session_cookie(answer))
        assert answer["Vary"] == "Cookie"

    def test_a_cookie_of_no_session_is_left_alone_when_the_session_is_ignored(self, visitor):
        visitor.session_key = UNKNOWN_KEY
        assert session_cookie(visitor.take()) is None

    def test_a_cookie_that_is_no_session_key_is_deleted_though_the_session_is_ignored(
        self, visitor
    ):
        visitor.session_key = SHORT_KEY
        assert is_deletion(session_cookie(visitor.take()))

    def test_a_cookie_of_no_session_is_replaced_when_something_is_stored(self, visitor):
        visitor.session_key = UNKNOWN_KEY
        cookie = session_cookie(visitor.take(("set", "a", 1)))
        assert cookie.value != UNKNOWN_KEY
        assert SessionStore(cookie.value)["a"] == 1

    @pytest.mark.parametrize("emptied_by", ["pop", "clear"])
    def test_an_emptied_session_stays_stored_and_keeps_its_cookie(
        self, visitor, new_session, emptied_by
    ):
        session_key = visitor.session_key = new_session(a=1).session_key
        step = ("pop", "a") if emptied_by == "pop" else ("clear",)
        answer = visitor.take(step)
        assert session_cookie(answer).value == session_key
        assert SessionStore().exists(session_key)
        assert dict(SessionStore(session_key).items()) == {}

    def test_rotation_sets_the_new_cookie(self, visitor, new_session):
        before = visitor.session_key = new_session(a=1).session_key
        cookie = session_cookie(visitor.take(("cycle_key",)))
        assert cookie.value != before
        assert visitor.read().json() == {"a": 1}

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_an_answer_of_5xx_saves_nothing_and_sets_no_cookie(self, visitor, new_session, status):
        session_key = visitor.session_key = new_session(a=1).session_key
        answer = visitor.take(("set", "a", 2), status=status)
        assert answer.status_code == status
        assert session_cookie(answer) is None
        assert answer["Vary"] == "Cookie"
        assert SessionStore(session_key)["a"] == 1

    def test_an_error_in_the_view_saves_nothing(self, visitor, new_session):
        session_key = visitor.session_key = new_session(a=1).session_key
        answer = visitor.take(("set", "a", 2), ("fail",))
        assert answer.status_code == 500
        assert session_cookie(answer) is None
        assert SessionStore(session_key)["a"] == 1

    @pytest.mark.parametrize("status", [302, 404])
    def test_an_answer_below_500_saves(self, visitor, new_session, status):
        session_key = visitor.session_key = new_session(a=1).session_key
        visitor.take(("set", "a", 2), status=status)
        assert SessionStore(session_key)["a"] == 2

    def test_a_view_that_forbids_saves_what_it_has_set(self, visitor, new_session):
        session_key = visitor.session_key = new_session(a=1).session_key
        assert visitor.take(("set", "a", 2), ("forbid",)).status_code == 403
        assert SessionStore(session_key)["a"] == 2

    @pytest.mark.parametrize("how", ["delete", "flush", "cycle_key"])
    def test_a_session_ended_while_the_view_ran_is_a_bad_request(
        self, visitor, new_session, meanwhile, how
    ):
        session_key = visitor.session_key = new_session(a=1).session_key
        meanwhile(lambda: act_elsewhere(session_key, how))
        answer = visitor.take(("set", "a", 2), ("meanwhile",))
        assert answer.status_code == 400
        assert session_cookie(answer) is None
        assert not SessionStore().exists(session_key)

    def test_a_session_of_another_engine_ended_while_the_view_ran_is_a_bad_request(
        self, settings, meanwhile
    ):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        settings.SESSION_CACHE_ALIAS = "default"
        visitor = Visitor()
        visitor.take(("set", "a", 1))
        meanwhile(lambda: CacheSessionStore(visitor.session_key).delete())
        answer = visitor.take(("set", "a", 2), ("meanwhile",))
        assert answer.status_code == 400
        assert session_cookie(answer) is None

    def test_a_request_whose_session_was_taken_away_is_served(self, visitor):
        answer = visitor.take(("drop",))
        assert answer.status_code == 200
        assert session_cookie(answer) is None


def act_elsewhere(session_key: str, method: str) -> None:
    """Have another request do something to a session, in a thread of its own as servers do."""
    thread = threading.Thread(target=getattr(SessionStore(session_key), method))
    thread.start()
    thread.join()


@pytest.mark.usefixtures("middleware")
class TestSavingEveryRequest:
    @pytest.fixture(autouse=True)
    def every_request(self, settings):
        settings.SESSION_SAVE_EVERY_REQUEST = True

    def test_renews_the_cookie_of_a_session_that_was_ignored(self, visitor, new_session):
        session_key = visitor.session_key = new_session(a=1).session_key
        answer = visitor.take()
        cookie = session_cookie(answer)
        assert (cookie.value, cookie["max-age"]) == (session_key, TWO_WEEKS)
        assert answer["Vary"] == "Cookie"

    def test_puts_off_the_end_and_rewrites_no_value(self, visitor, new_session, valkey):
        visitor.session_key = new_session(a=1).session_key
        [name] = session_hashes(valkey)
        before = valkey.hget(name, "a")
        valkey.expire(name, 100)
        visitor.take()
        assert valkey.ttl(name) == pytest.approx(TWO_WEEKS, abs=5)
        assert valkey.hget(name, "a") == before

    def test_makes_no_session_where_there_is_none(self, visitor, valkey):
        for answer in (visitor.take(), visitor.read()):
            assert session_cookie(answer) is None
        assert valkey.dbsize() == 0

    def test_saves_nothing_with_an_answer_of_5xx(self, visitor, new_session):
        visitor.session_key = new_session(a=1).session_key
        assert session_cookie(visitor.take(status=500)) is None


STEPS = {
    "ignored": (),
    "read": (("get", "a"),),
    "changed": (("set", "b", 2),),
    "emptied": (("clear",),),
    "flushed": (("flush",),),
    "rotated": (("cycle_key",),),
    "short": (("set_expiry", 60),),
    "till the browser closes": (("set_expiry", 0),),
    "past": (("set_expiry", -60),),
}
SETTINGS = {
    "SESSION_SAVE_EVERY_REQUEST": (False, True),
    "SESSION_EXPIRE_AT_BROWSER_CLOSE": (False, True),
    "SESSION_COOKIE_SAMESITE": ("None", False),
    "SESSION_COOKIE_SECURE": (False, True),
}


@pytest.mark.parametrize("cookie", ["none", "unknown", "short", "stored"])
@pytest.mark.parametrize("steps", STEPS)
def test_both_middlewares_give_the_same_answer(visitor, new_session, settings, steps, cookie):
    for values in itertools.product(*SETTINGS.values()):
        for name, value in zip(SETTINGS, values, strict=True):
            setattr(settings, name, value)
        for status in (200, 500):
            answers = []
            for middleware in (OURS, DJANGOS):
                settings.MIDDLEWARE = [middleware]
                visitor.forget()
                session_key = new_session(a=1).session_key
                if cookie != "none":
                    sent = {"unknown": UNKNOWN_KEY, "short": SHORT_KEY, "stored": session_key}
                    visitor.session_key = sent[cookie]
                answers.append(described(visitor.take(*STEPS[steps], status=status), session_key))
            assert answers[0] == answers[1]


def described(answer, session_key: str) -> tuple[object, ...]:
    """Return an answer without what differs from one request to the next."""
    cookie = session_cookie(answer)
    shown = cookie and {name: value for name, value in cookie.items() if name != "expires"}
    keeps = cookie and {"": "deleted", session_key: "kept"}.get(cookie.value, "new")
    has_date = bool(cookie and cookie["expires"])
    return answer.status_code, answer.get("Vary"), shown, keeps, has_date


class TestAsynchronousSaves:
    @pytest.fixture
    def savers(self, monkeypatch) -> list[int]:
        """The threads in which sessions are saved, sync or async."""
        threads: list[int] = []
        save, asave = SessionStore.save, SessionStore.asave

        def watched(self, must_create=False):
            threads.append(threading.get_ident())
            return save(self, must_create)

        async def awatched(self, must_create=False):
            threads.append(threading.get_ident())
            return await asave(self, must_create)

        monkeypatch.setattr(SessionStore, "save", watched)
        monkeypatch.setattr(SessionStore, "asave", awatched)
        return threads

    def visit(self, *steps: tuple[object, ...]) -> int:
        """Have an async view take steps; return the event loop's thread."""
        with AsyncVisitor() as visitor:
            assert visitor.take(*steps).status_code == 200
        return threading.get_ident()

    def test_are_made_in_the_event_loops_thread(self, valkey, settings, savers):
        settings.MIDDLEWARE = [OURS]
        thread = self.visit(("set", "a", 1))
        assert savers == [thread]

    def test_are_made_in_another_thread_by_djangos(self, valkey, settings, savers):
        settings.MIDDLEWARE = [DJANGOS]
        thread = self.visit(("set", "a", 1))
        assert savers
        assert thread not in savers

    def test_use_no_synchronous_connection(self, valkey, settings, monkeypatch):
        settings.MIDDLEWARE = [OURS]
        monkeypatch.setattr(sync.Driver, "run", refused)
        self.visit(("set", "a", 1), ("get", "a"), ("set_expiry", 60))

    async def test_start_no_thread(self, valkey, monkeypatch):
        async def view(request) -> HttpResponse:
            await request.session.aset("a", 1)
            return HttpResponse()

        monkeypatch.setattr(threading.Thread, "start", refused)
        answer = await SessionMiddleware(view)(RequestFactory().get("/"))
        assert await SessionStore(session_cookie(answer).value).aget("a") == 1

    async def test_are_made_side_by_side(self, valkey, settings):
        settings.MIDDLEWARE = [OURS]
        client = AsyncClient()
        query = {"steps": '[["set", "a", 1]]', "status": "200"}
        answers = await asyncio.gather(
            *(client.get("/async/steps/", query_params=query) for _ in range(20))
        )
        assert len({session_cookie(answer).value for answer in answers}) == 20


def refused(*arguments: object, **named: object) -> None:
    raise AssertionError("this must not be used")


class ReadingInProcessView:
    """Another project's middleware that reads the session before the view."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

    def process_view(self, request, view, arguments, named) -> None:
        request.session.get("a")


class ReadingBefore:
    """Another project's middleware that reads the session of each request."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request):
        request.session.get("a")
        return self.get_response(request)


class SpoilingAfter:
    """Another project's middleware that fails when the view is done."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request):
        self.get_response(request)
        raise RuntimeError("another middleware's own error")


def assert_unavailable(answer) -> None:
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) > 0
    assert "no-store" in answer["Cache-Control"]
    assert not answer.cookies
    assert answer.content


class TestAnUnavailableStore:
    def test_in_a_view_is_503(self, visitor, relay, new_session):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert_unavailable(visitor.read())

    def test_in_a_view_is_no_unhandled_exception(self, visitor, relay, new_session, caplog):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        visitor.read()
        reported = [record for record in caplog.records if record.exc_info]
        assert [record for record in reported if record.name.startswith("django")] == []

    def test_in_the_save_after_the_view_is_503(self, visitor, relay, new_session, meanwhile):
        visitor.session_key = new_session(a=1).session_key
        meanwhile(relay.refuse)
        assert_unavailable(visitor.take(("set", "a", 2), ("meanwhile",)))

    def test_in_the_save_of_a_new_session_is_503(self, visitor, relay):
        relay.refuse()
        assert_unavailable(visitor.take(("set", "a", 1)))

    @pytest.mark.parametrize("other", [ReadingInProcessView, ReadingBefore])
    def test_in_another_middleware_is_503(self, visitor, relay, new_session, settings, other):
        settings.MIDDLEWARE = [OURS, f"{__name__}.{other.__name__}"]
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert_unavailable(visitor.take())

    @pytest.mark.parametrize("step", ["cycle_key", "flush"])
    def test_at_a_login_or_logout_is_503(self, visitor, relay, new_session, step):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert_unavailable(visitor.take((step,)))

    def test_while_every_request_is_saved_is_503(self, visitor, relay, new_session, settings):
        settings.SESSION_SAVE_EVERY_REQUEST = True
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert_unavailable(visitor.take())

    def test_in_a_request_that_ignores_the_session_is_not_noticed(
        self, visitor, relay, new_session
    ):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert visitor.take().status_code == 200

    def test_with_debugging_on_is_503_too(self, visitor, relay, new_session, settings):
        settings.DEBUG = True
        settings.MIDDLEWARE = [OURS, f"{__name__}.{ReadingBefore.__name__}"]
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert_unavailable(visitor.take())

    def test_ends_without_anybody_logged_out(self, visitor, relay, new_session):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        visitor.read()
        visitor.take(("flush",))
        relay.heal()
        assert visitor.read().json() == {"a": 1}

    @pytest.mark.usefixtures("middleware")
    @pytest.mark.parametrize(
        "steps", [(("get", "a"),), (("set", "a", 2),), (("flush",),), (("cycle_key",),)]
    )
    def test_touches_no_cookie_under_either_middleware(self, visitor, relay, new_session, steps):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        answer = visitor.take(*steps)
        assert answer.status_code >= 500
        assert not answer.cookies

    def test_leaves_a_views_own_error_a_500(self, visitor, relay, new_session):
        visitor.session_key = new_session(a=1).session_key
        relay.refuse()
        assert visitor.take(("fail",)).status_code == 500

    def test_after_a_rotation_leaves_a_session_that_works(
        self, visitor, relay, new_session, meanwhile
    ):
        visitor.session_key = new_session(cart=1).session_key
        meanwhile(relay.refuse)
        answer = visitor.take(("cycle_key",), ("set", "user", 2), ("meanwhile",))
        assert answer.status_code == 503
        assert session_cookie(answer)["httponly"]
        assert answer["Vary"] == "Cookie"
        relay.heal()
        assert visitor.read().json() == {"cart": 1}

    @pytest.mark.parametrize("step", [("fail",), ("get", "a")])
    def test_after_a_rotation_so_does_a_view_that_fails(self, visitor, new_session, step):
        visitor.session_key = new_session(cart=1).session_key
        assert visitor.take(("cycle_key",), step, status=500).status_code == 500
        assert visitor.read().json() == {"cart": 1}

    def test_is_answered_with_the_projects_page(self, visitor, relay, settings, tmp_path):
        (tmp_path / "503.html").write_text("<h1>Back in a {{ 'minute'|upper }}</h1>")
        settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
        relay.refuse()
        answer = visitor.take(("set", "a", 1))
        assert_unavailable(answer)
        assert answer.content == b"<h1>Back in a MINUTE</h1>"

    def test_is_answered_without_any_template_engine(self, visitor, relay, settings):
        settings.TEMPLATES = []
        relay.refuse()
        assert_unavailable(visitor.take(("set", "a", 1)))


class TestServedAnonymously:
    """`ON_UNAVAILABLE = "anonymous"`."""

    @pytest.fixture(autouse=True)
    def anonymous(self, settings):
        settings.ELASTICACHE_SESSIONS = {"ON_UNAVAILABLE": "anonymous"}

    @pytest.fixture
    def cut_off(self, visitor, relay, new_session) -> str:
        """The key of the visitor's stored session, which the store no longer serves."""
        session = new_session(a=1)
        visitor.session_key = session.session_key
        relay.refuse()
        return session.session_key

    def test_the_request_is_served_without_its_session(self, visitor, cut_off):
        answer = visitor.read()
        assert (answer.status_code, answer.json()) == (200, {})

    def test_reading_touches_no_cookie(self, visitor, cut_off):
        assert session_cookie(visitor.read()) is None

    @pytest.mark.parametrize("steps", [(("set", "a", 2),), (("pop", "a", 0),), (("clear",),)])
    def test_writing_stores_nothing_and_keeps_the_cookie(self, visitor, relay, cut_off, steps):
        assert visitor.take(*steps).status_code == 200
        assert visitor.session_key == cut_off
        relay.heal()
        assert visitor.read().json() == {"a": 1}

    def test_writing_leaves_the_cookie_the_age_it_had(self, visitor, relay, new_session):
        session = new_session(a=1)
        session.set_expiry(365 * 86_400)
        session.save()
        visitor.session_key = session.session_key
        relay.refuse()
        assert session_cookie(visitor.take(("set", "a", 2))) is None

    def test_a_store_that_comes_back_within_the_request_stores_nothing(
        self, visitor, relay, cut_off, meanwhile
    ):
        meanwhile(relay.heal)
        visitor.take(("get", "a"), ("meanwhile",), ("set", "a", 2))
        assert visitor.read().json() == {"a": 1}

    def test_a_store_lost_before_the_save_stores_nothing(
        self, visitor, relay, new_session, meanwhile
    ):
        visitor.session_key = new_session(a=1).session_key
        meanwhile(relay.refuse)
        assert visitor.take(("set", "a", 2), ("meanwhile",)).status_code == 200
        relay.heal()
        assert visitor.read().json() == {"a": 1}

    def test_a_new_visitor_is_served_and_nothing_stored(self, visitor, relay, valkey):
        relay.refuse()
        assert visitor.take(("set", "a", 1)).status_code == 200
        relay.heal()
        assert visitor.read().json() == {}
        assert valkey.dbsize() == 0

    @pytest.mark.parametrize("step", ["cycle_key", "flush", "delete"])
    def test_a_login_or_logout_is_refused_with_503(self, visitor, relay, cut_off, step):
        assert_unavailable(visitor.take((step,)))
        relay.heal()
        assert visitor.read().json() == {"a": 1}

    def test_a_login_is_refused_even_when_the_store_is_back_within_the_request(
        self, visitor, relay, cut_off, meanwhile
    ):
        meanwhile(relay.heal)
        assert_unavailable(visitor.take(("get", "a"), ("meanwhile",), ("cycle_key",)))
        assert visitor.read().json() == {"a": 1}

    def test_a_views_own_error_stays_a_500(self, visitor, cut_off):
        assert visitor.take(("get", "a"), ("fail",)).status_code == 500

    def test_another_middlewares_own_error_stays_a_500(self, visitor, cut_off, settings):
        settings.MIDDLEWARE = [OURS, f"{__name__}.{SpoilingAfter.__name__}"]
        assert visitor.take(("get", "a")).status_code == 500


def test_it_is_djangos_middleware_for_whoever_asks():
    assert issubclass(SessionMiddleware, DjangoSessionMiddleware)


def test_it_serves_a_plain_get_response(valkey):
    def view(request):
        request.session["a"] = 1
        return HttpResponse()

    answer = SessionMiddleware(view)(RequestFactory().get("/"))
    assert SessionStore(session_cookie(answer).value)["a"] == 1
