"""Adversaries 11 to 16: what a visitor can do with the cookie, which is nothing."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth import get_user_model

from django_elasticache_sessions.backends.cache import SessionStore

from . import views
from .contents import session_hashes
from .contract.face import Face
from .pages.visitor import AsyncVisitor, Visitor

PASSWORD = "a password of the tests"
UNKNOWN_KEY = "a-key-that-names-no-session-at-all"
#: What a cookie may be made to hold; none of it names a session.
HOSTILE = {
    "empty": "",
    "a space": " ",
    "short": "1" * 29,
    "well formed": "0123456789abcdef0123456789abcdef01234567",
    "long": "k" * 256,
    "one megabyte": "k" * 1024 * 1024,
    "not ASCII": "ключ-сессии-\U0001f511",
    "lone surrogate": "session-\udcff-key" * 2,
    "NUL": "session\x00key" * 3,
    "only NUL": "\x00" * 40,
    "CR and LF": "session\r\nSet-Cookie: admin=1\r\n\r\nkey",
    "RESP": "*1\r\n$8\r\nFLUSHALL\r\n" * 2,
    "braces": "{0}{1}{}session-key" * 2,
    "hash tag": "}:{7}:session-key" * 2,
    "pattern": "*",
    "long pattern": "?" * 40,
    "pattern of keys": "session:{*}:*" + "?" * 22,
    "index of a bucket": "session:{0}:live" * 2,
    "fields' names": "~ ~~ ~c ~v ~u ~!~k ~!~e ~l x p",
    "quotes and backslashes": "\"'\\\"'\\session" * 3,
    "script": "<script>alert(document)</script>",
    "template": "{{ settings.SECRET_KEY }}",
    "path": "../../../../../../../etc/passwd",
    "format": "%s%s%n%(key)s" * 3,
    "number": "-1" * 20,
}


def real_sid(valkey) -> str:
    return session_hash(valkey).rpartition(":")[2]


def session_hash(valkey) -> str:
    [name] = session_hashes(valkey)
    return name.decode()


def live_index(valkey) -> str:
    return session_hash(valkey).rpartition(":")[0] + ":live"


def user_index(valkey) -> str:
    [name] = [key.decode() for key in valkey.keys("*") if b":user:" in key]
    return name


def user_tag(valkey) -> str:
    return user_index(valkey).rpartition(":")[2]


#: What somebody who has seen the store would put into a cookie.
SEEN = [real_sid, session_hash, live_index, user_index, user_tag]


@pytest.fixture(params=["sync", "async"])
def open_session(request, valkey) -> Iterator[Callable[[object], Face]]:
    """Open a session by whatever a cookie holds, to be used in the parameter's way."""
    if request.param == "sync":
        yield lambda session_key: Face(SessionStore(session_key), None)
        return
    with asyncio.Runner() as runner:
        yield lambda session_key: Face(SessionStore(session_key), runner)


@pytest.fixture(params=[Visitor, AsyncVisitor], ids=["WSGI", "ASGI"])
def visitor(request, valkey) -> Iterator[Visitor]:
    with request.param() as visitor:
        yield visitor


@pytest.fixture(params=[True, False], ids=["quoted", "bare"])
def cookie(request) -> Callable[[str], dict[str, str]]:
    """Make the header of a cookie as a client sends it that keeps, or breaks, RFC 6265."""

    def header(value: str) -> dict[str, str]:
        data = value.encode("utf-8", "surrogatepass")
        if request.param:
            # Octal escapes bring any byte through: Django undoes them.
            sent = '"' + "".join(f"\\{byte:03o}" for byte in data) + '"'
        else:
            sent = data.decode("latin-1")
        return {"cookie": f"sessionid={sent}"}

    return header


@pytest.fixture
def bystander(new_session) -> SessionStore:
    """Somebody else's stored session, signed in."""
    return new_session(_auth_user_id="7", a=1)


@pytest.fixture
def keys_before(valkey, bystander) -> int:
    return valkey.dbsize()


def assert_harmless(answer) -> None:
    """Assert that a page was served without a session, and that no cookie was set."""
    assert answer.status_code == 200
    assert answer.json() == {}
    assert all(morsel.value == "" for morsel in answer.cookies.values())


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
class TestAnyBytesInTheCookie:
    def test_are_no_error_and_make_no_record(self, visitor, cookie, valkey, keys_before, value):
        assert_harmless(visitor.read(headers=cookie(value)))
        assert valkey.dbsize() == keys_before

    def test_are_not_adopted_by_what_is_stored_then(
        self, visitor, cookie, valkey, bystander, value
    ):
        answer = visitor.take(("set", "mine", True), headers=cookie(value))
        session_key = answer.cookies["sessionid"].value
        assert (len(session_key), session_key.isalnum()) == (40, True)
        assert session_key != value
        assert dict(SessionStore(session_key).items()) == {"mine": True}
        assert dict(SessionStore(bystander.session_key).items()) == {"_auth_user_id": "7", "a": 1}

    def test_end_no_session_at_a_logout(self, visitor, cookie, bystander, value):
        visitor.take(("flush",), headers=cookie(value))
        assert SessionStore().exists(bystander.session_key)

    @pytest.mark.parametrize("method", ["load", "delete", "flush"])
    def test_name_no_session_of_the_engine(self, open_session, valkey, keys_before, value, method):
        getattr(open_session(value), method)()
        assert valkey.dbsize() == keys_before

    def test_name_no_session_to_ask_for_or_to_delete(
        self, open_session, valkey, keys_before, value
    ):
        session = open_session(None)
        assert session.exists(value) is False
        session.delete(value)
        assert valkey.dbsize() == keys_before


@pytest.mark.parametrize("seen", SEEN)
class TestWhatLiesInTheStoreIsNoCookie:
    def test_for_reading(self, visitor, cookie, valkey, keys_before, seen):
        assert_harmless(visitor.read(headers=cookie(seen(valkey))))
        assert valkey.dbsize() == keys_before

    def test_for_writing(self, visitor, cookie, valkey, bystander, seen):
        answer = visitor.take(("set", "a", 2), headers=cookie(value := seen(valkey)))
        assert answer.cookies["sessionid"].value not in (value, bystander.session_key)
        assert SessionStore(bystander.session_key)["a"] == 1

    def test_for_ending(self, visitor, cookie, valkey, bystander, seen):
        visitor.take(("flush",), headers=cookie(seen(valkey)))
        assert SessionStore().exists(bystander.session_key)

    def test_for_the_engine(self, open_session, valkey, keys_before, seen):
        value = seen(valkey)
        session = open_session(value)
        assert session.exists(value) is False
        assert session.load() == {}
        session.delete(value)
        assert valkey.dbsize() == keys_before


@pytest.mark.parametrize(
    "name", ["not ASCII", "lone surrogate", "NUL", "CR and LF", "one megabyte"]
)
def test_what_no_session_key_looks_like_is_dropped_unasked(open_session, name):
    assert open_session(HOSTILE[name]).session_key is None


@pytest.mark.parametrize("value", [b"b" * 40, 10**39, ["a"] * 40, object()])
def test_what_is_no_text_is_no_session_key(open_session, valkey, value):
    session = open_session(value)
    assert session.session_key is None
    assert session.exists(value) is False
    session.delete(value)
    assert session.load() == {}
    assert valkey.dbsize() == 0


class TestGuessing:
    def test_costs_the_store_the_same_round_trip_whatever_is_guessed(
        self, visitor, relay, new_session
    ):
        real = new_session(a=1).session_key
        guesses = (real, UNKNOWN_KEY, real[:-1], real[:15] + "0" * 25, "0" * 15 + real[15:])
        costs = [cost(relay, visitor, guess) for guess in guesses]
        assert costs == costs[:1] * 5
        assert costs[0][0] == 1

    def test_with_what_cannot_be_a_session_key_costs_the_store_nothing(self, visitor, relay):
        assert cost(relay, visitor, "1" * 29) == (0, [])
        assert cost(relay, visitor, "k" * 1024 * 1024) == (0, [])

    def test_has_over_128_bits_to_guess(self, valkey, new_session):
        keys = {new_session().session_key for _ in range(200)}
        assert len(keys) == 200
        assert len(set("".join(keys))) == 36  # 36 ** 40 is above 2 ** 206
        for place in range(40):
            assert len({key[place] for key in keys}) > 20

    def test_has_over_128_bits_to_guess_for_who_knew_the_key_before_a_login(
        self, valkey, new_session
    ):
        session = new_session()
        before, keys = session.session_key, set()
        for _ in range(100):
            session.cycle_key()
            keys.add(session.session_key)
        assert len(keys) == 100
        assert {key[:15] for key in keys} == {before[:15]}
        assert {len(key) for key in keys} == {40}
        for place in range(15, 40):  # 36 ** 25 is above 2 ** 129
            assert len({key[place] for key in keys}) > 20

    def test_knows_nothing_from_a_prefix_of_a_key(self, valkey, new_session):
        session_key = new_session(a=1).session_key
        for guess in (session_key[:-1], session_key + "0", session_key.upper(), session_key + " "):
            assert SessionStore(guess).get("a") is None


def cost(relay, visitor: Visitor, session_key: str) -> tuple[int, list[str]]:
    """Return the round trips and the commands of a page that reads the session."""
    visitor.session_key = session_key
    visitor.read()
    visitor.session_key = session_key
    with relay.recording() as tape:
        visitor.read()
    return tape.round_trips, tape.names


@pytest.mark.parametrize("every_request", [False, True])
class TestAFlood:
    @pytest.fixture(autouse=True)
    def saved(self, settings, every_request):
        settings.SESSION_SAVE_EVERY_REQUEST = every_request

    @pytest.mark.parametrize("steps", [(), (("get", "a"),), (("pop", "a", 0),), (("keys",),)])
    def test_without_cookies_makes_no_record_and_sets_no_cookie(self, visitor, valkey, steps):
        for _ in range(20):
            visitor.forget()
            assert not visitor.take(*steps).cookies
        assert valkey.dbsize() == 0

    @pytest.mark.parametrize("steps", [(), (("keys",),), (("pop", "a", 0),)])
    def test_with_made_up_cookies_makes_no_record(self, visitor, valkey, steps):
        for _ in range(20):
            visitor.session_key = secrets.token_hex(20)
            visitor.take(*steps)
        assert valkey.dbsize() == 0

    def test_of_logouts_makes_no_record(self, visitor, valkey):
        for _ in range(20):
            visitor.session_key = secrets.token_hex(20)
            visitor.take(("flush",))
        assert valkey.dbsize() == 0


@pytest.fixture
def user(db):
    return get_user_model().objects.create_user("alice", password=PASSWORD)


def log_in(browser: Visitor) -> None:
    answer = browser.post("/login/", {"username": "alice", "password": PASSWORD})
    assert answer.json() == {"user": "alice"}


def name_at(browser: Visitor) -> str:
    return browser.get("/user/").json()["user"]


def browser_with(session_key: str | None) -> Visitor:
    browser = Visitor()
    if session_key is not None:
        browser.session_key = session_key
    return browser


@pytest.mark.usefixtures("user", "valkey")
class TestFixation:
    def test_an_id_that_was_made_up_is_not_adopted_by_a_login(self):
        victim = browser_with(UNKNOWN_KEY)
        log_in(victim)
        assert victim.session_key != UNKNOWN_KEY
        assert name_at(victim) == "alice"
        assert name_at(browser_with(UNKNOWN_KEY)) == ""

    def test_an_id_that_the_attacker_holds_is_left_by_a_login_and_dead_at_once(self):
        attacker = Visitor()
        attacker.take(("set", "planted", True))
        victim = browser_with(attacker.session_key)
        log_in(victim)
        assert victim.session_key != attacker.session_key
        assert name_at(victim) == "alice"
        assert not SessionStore().exists(attacker.session_key)
        assert name_at(browser_with(attacker.session_key)) == ""

    def test_an_id_that_the_attacker_held_ends_and_changes_nothing_after_a_login(self):
        attacker = Visitor()
        attacker.take(("set", "planted", True))
        held = attacker.session_key
        victim = browser_with(held)
        log_in(victim)
        for steps in ([("set", "role", "admin")], [("cycle_key",)], [("flush",)]):
            attacker.session_key = held
            attacker.take(*steps)
        SessionStore().delete(held)
        assert name_at(victim) == "alice"
        assert "role" not in victim.read().json()

    def test_a_login_keeps_what_the_visitor_had(self):
        visitor = Visitor()
        visitor.take(("set", "cart", ["tea"]))
        log_in(visitor)
        assert visitor.read().json()["cart"] == ["tea"]

    def test_another_users_session_is_not_taken_over_by_a_login(self, new_session):
        get_user_model().objects.create_user("bob", password=PASSWORD)
        browser = Visitor()
        browser.post("/login/", {"username": "bob", "password": PASSWORD})
        browser.take(("set", "secret", "bob's"))
        bobs = browser.session_key
        log_in(browser)
        assert "secret" not in browser.read().json()
        assert name_at(browser_with(bobs)) == ""


@pytest.mark.usefixtures("valkey")
class TestReplay:
    @pytest.fixture
    def browser(self, user) -> Visitor:
        """A browser in which alice is signed in."""
        browser = Visitor()
        log_in(browser)
        return browser

    def test_after_a_logout_is_anonymous(self, browser, valkey):
        session_key = browser.session_key
        browser.post("/logout/")
        assert name_at(browser_with(session_key)) == ""
        assert session_hashes(valkey) == []

    def test_after_a_password_change_is_anonymous_and_ends_the_session(self, browser, user):
        user.set_password("another password")
        user.save()
        session_key = browser.session_key
        assert name_at(browser) == ""
        assert not SessionStore().exists(session_key)

    def test_after_the_session_was_ended_elsewhere_is_anonymous(self, browser):
        SessionStore().delete(browser.session_key)
        assert name_at(browser) == ""

    def test_after_the_absolute_age_is_anonymous(self, browser, settings, monkeypatch):
        settings.ELASTICACHE_SESSIONS = {"ABSOLUTE_AGE": 3600}
        assert name_at(browser) == "alice"
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3601)
        assert name_at(browser) == ""

    def test_after_the_user_was_deactivated_is_anonymous(self, browser, user):
        user.is_active = False
        user.save()
        assert name_at(browser) == ""

    def test_of_a_rotated_session_is_anonymous(self, browser):
        before = browser.session_key
        browser.take(("cycle_key",))
        assert name_at(browser) == "alice"
        assert name_at(browser_with(before)) == ""

    def test_while_another_tab_saves_brings_nothing_back(self, browser, monkeypatch, valkey):
        session_key = browser.session_key
        other_tab = browser_with(session_key)
        monkeypatch.setattr(views, "meanwhile", lambda: browser.post("/logout/"))
        answer = other_tab.take(("set", "a", 1), ("meanwhile",))
        assert answer.status_code == 400
        assert name_at(browser_with(session_key)) == ""
        assert session_hashes(valkey) == []
