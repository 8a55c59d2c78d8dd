""" "Your devices": users see and end their own sessions, and nobody else's."""

from __future__ import annotations

import html
import re
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client as Browser
from django.urls import include, path

from django_elasticache_sessions import live
from django_elasticache_sessions import urls as our_urls
from django_elasticache_sessions.client import MAX_USER_AGENT, Client
from django_elasticache_sessions.conf import CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.signals import session_ended

from .conftest import point_sessions_at
from .servers.valkey import Valkey

pytestmark = pytest.mark.django_db
LIST = "/devices/"
OTHERS = "/devices/end-others/"
UNKNOWN_ID = "A" * 22
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)


@pytest.fixture(autouse=True)
def login_url(settings) -> None:
    settings.LOGIN_URL = "/signed-out/"


@pytest.fixture
def anna(engine) -> User:
    user = User(username="anna")
    user.set_password("leaf-and-kettle")
    user.save()
    return user


def sign_in(
    user: User, *, agent: str = FIREFOX, address: str = "192.0.2.7", **sent: str
) -> Browser:
    """Sign in by Django's own login view, as a browser does."""
    browser = Browser(headers={"user-agent": agent}, REMOTE_ADDR=address, **sent)
    credentials = {"username": user.username, "password": "leaf-and-kettle"}
    assert browser.post("/admin/login/?next=/devices/", credentials).status_code in (200, 302)
    if SESSION_KEY not in browser.session:
        browser.force_login(user)
    return browser


def end(session_id: str) -> str:
    return f"/devices/{session_id}/end/"


def shown(browser: Browser) -> str:
    response = browser.get(LIST)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


@pytest.fixture
def staff_anna(anna) -> User:
    anna.is_staff = True
    anna.save()
    return anna


def test_a_user_sees_the_own_devices_this_one_first_and_marked(staff_anna):
    phone = sign_in(staff_anna, agent=IPHONE, address="2001:db8::1")
    desk = sign_in(staff_anna)
    stranger = User.objects.create(username="berta")
    Browser(REMOTE_ADDR="203.0.113.9").force_login(stranger)
    page = shown(desk)
    assert page.index("Firefox on Linux") < page.index("Mobile Safari on iOS")
    assert page.count("This device") == 1
    assert "192.0.2.7" in page
    assert "2001:db8::1" in page
    assert page.count("<li>") == 2
    assert phone.session.session_id in page


def test_a_device_is_ended_at_once(staff_anna):
    phone, desk = sign_in(staff_anna, agent=IPHONE), sign_in(staff_anna)
    reasons = []

    def ended(sender, reason, **kwargs):
        reasons.append(reason)

    session_ended.connect(ended)
    try:
        response = desk.post(end(phone.session.session_id), follow=True)
    finally:
        session_ended.disconnect(ended)
    assert "The device was signed out." in response.content.decode()
    assert reasons == ["device"]
    assert phone.get(LIST).status_code == 302
    assert desk.get(LIST).status_code == 200


def test_all_other_devices_are_ended(staff_anna):
    others = [sign_in(staff_anna) for _ in range(3)]
    desk = sign_in(staff_anna)
    assert "3 other devices were signed out." in desk.post(OTHERS, follow=True).content.decode()
    assert all(other.get(LIST).status_code == 302 for other in others)
    assert desk.get(LIST).status_code == 200
    assert len(live.for_user(staff_anna)) == 1


def test_ending_this_device_signs_out(staff_anna):
    desk = sign_in(staff_anna)
    session_id = desk.session.session_id
    assert desk.post(end(session_id)).status_code == 302
    assert live.get(session_id) is None
    assert desk.get(LIST).status_code == 302


def test_anothers_device_is_as_unknown_as_none(staff_anna, engine):
    desk = sign_in(staff_anna)
    other = engine()
    other[SESSION_KEY] = "4711"
    other.save()
    anonymous = engine()
    anonymous["cart"] = 1
    anonymous.save()
    unknown = desk.post(end(UNKNOWN_ID))
    for session_id in (other.session_id, anonymous.session_id, other.session_key, "x", "%00"):
        response = desk.post(end(session_id))
        assert response.status_code == unknown.status_code == 404
        assert response.content == unknown.content
    assert live.get(other.session_id)
    assert live.get(anonymous.session_id)


def test_a_device_that_ended_between_list_and_click_is_as_unknown_as_none(staff_anna):
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    address = end(phone.session.session_id)
    phone.post("/logout/")
    assert desk.post(address).status_code == 404
    assert desk.get(LIST).status_code == 200


def test_ending_one_of_many_devices_does_not_list_them_all(staff_anna, monkeypatch):
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    monkeypatch.delattr(live, "for_user")
    assert desk.post(end(phone.session.session_id)).status_code == 302


@pytest.mark.parametrize(
    ("urls", "at"),
    [
        ([path("", include(our_urls, namespace="mine"))], ""),
        (
            [path("account/", include(([path("", include(our_urls))], "account")))],
            "/account",
        ),
        ([path("", include((our_urls.urlpatterns, "other")))], ""),
        (our_urls.urlpatterns, ""),
    ],
    ids=["instance", "nested", "another", "none"],
)
def test_the_project_s_namespace_is_kept(staff_anna, urlconf, urls, at):
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    urlconf(*urls)
    page = html.unescape(desk.get(f"{at}/").content.decode())
    assert f'action="{at}/{phone.session.session_id}/end/"' in page
    assert f'action="{at}/end-others/"' in page
    for address in (f"{at}/{phone.session.session_id}/end/", f"{at}/end-others/"):
        assert desk.post(address).headers["Location"] == f"{at}/"


@pytest.fixture
def urlconf(settings):
    """Serve other addresses."""

    def serve(*patterns: object) -> None:
        module = ModuleType("urls_of_a_test")
        module.urlpatterns = list(patterns)
        settings.ROOT_URLCONF = module

    return serve


DJANGO_S = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_S = "django_elasticache_sessions.middleware.SessionMiddleware"


@pytest.mark.parametrize("middleware", [DJANGO_S, OUR_S])
@pytest.mark.parametrize("address", [LIST, OTHERS, end(UNKNOWN_ID)])
def test_without_the_store_it_is_503_and_nobody_is_signed_out(
    staff_anna, settings, address, middleware
):
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    desk = sign_in(staff_anna)
    take_stores_away(settings)
    response = desk.get(address) if address == LIST else desk.post(address)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert "no-store" in response.headers["Cache-Control"]
    assert response.content.decode() == (
        "The service is temporarily unavailable. Please try again shortly."
    )
    assert settings.SESSION_COOKIE_NAME not in response.cookies


@pytest.mark.parametrize("middleware", [DJANGO_S, OUR_S])
def test_a_store_that_is_lost_in_mid_request_is_503(staff_anna, settings, middleware, monkeypatch):
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE[1:]]
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    address = end(phone.session.session_id)
    found = live.get

    def get_and_lose(session_id: str) -> live.LiveSession | None:
        session = found(session_id)
        take_stores_away(settings)
        return session

    monkeypatch.setattr(live, "get", get_and_lose)
    assert desk.post(address).status_code == 503


def take_stores_away(settings) -> None:
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        with connections[get_configuration().options.fallback_database].cursor() as cursor:
            cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")
    with Valkey() as server:
        point_sessions_at(settings, server.url)


@pytest.mark.parametrize("address", [OTHERS, end(UNKNOWN_ID)])
def test_a_get_ends_nothing(staff_anna, address):
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    assert desk.get(address).status_code == 405
    assert desk.get(end(phone.session.session_id)).status_code == 405
    assert len(live.for_user(staff_anna)) == 2


def test_a_post_without_the_csrf_token_ends_nothing(staff_anna):
    phone, desk = sign_in(staff_anna), sign_in(staff_anna)
    strict = Browser(enforce_csrf_checks=True)
    strict.cookies = desk.cookies
    assert strict.post(OTHERS).status_code == 403
    assert strict.post(end(phone.session.session_id)).status_code == 403
    assert len(live.for_user(staff_anna)) == 2


@pytest.mark.parametrize("address", [LIST, OTHERS, end(UNKNOWN_ID)])
def test_who_is_not_signed_in_is_sent_to_the_login(engine, address):
    visitor = Browser()
    method = visitor.get if address == LIST else visitor.post
    response = method(address)
    assert response.status_code == 302
    assert response["Location"].startswith("/signed-out/")


@pytest.mark.parametrize("address", [LIST, OTHERS, end(UNKNOWN_ID)])
@pytest.mark.parametrize(
    ("login", "leads_to"),
    [("/signed-out/", LIST), ("https://id.example/in/", f"http://testserver{LIST}")],
)
def test_the_login_leads_to_the_list(engine, settings, address, login, leads_to):
    settings.LOGIN_URL = login
    visitor = Browser()
    response = visitor.get(address) if address == LIST else visitor.post(address)
    sent = urlsplit(response["Location"])
    assert parse_qs(sent.query) == {"next": [leads_to]}


def test_a_forwarded_address_is_not_believed(staff_anna):
    sign_in(
        staff_anna,
        address="192.0.2.7",
        HTTP_X_FORWARDED_FOR="198.51.100.1",
        HTTP_FORWARDED="for=198.51.100.2",
        HTTP_X_REAL_IP="198.51.100.3",
    )
    [session] = live.for_user(staff_anna)
    assert session.client.ip_address == "192.0.2.7"


def test_what_a_browser_says_is_escaped_and_cut(staff_anna):
    desk = sign_in(staff_anna, agent="<script>x</script>\x1b[31m" + "y" * 5000)
    page = desk.get(LIST).content.decode()
    assert "<script>" not in page
    [session] = live.for_user(staff_anna)
    assert len(session.client.user_agent) <= MAX_USER_AGENT
    assert session.client.user_agent.isprintable()


def test_nothing_is_recorded_where_it_is_switched_off(staff_anna, settings):
    settings.ELASTICACHE_SESSIONS = {**settings.ELASTICACHE_SESSIONS, "RECORD_CLIENT": False}
    desk = sign_in(staff_anna)
    assert "_client" not in desk.session
    assert "Unknown device" in shown(desk)


def test_the_page_has_no_session_key_script_or_style(staff_anna):
    desk = sign_in(staff_anna)
    page = shown(desk)
    assert desk.session.session_key not in page
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=", page)


def test_many_devices_are_counted(anna, engine):
    for _ in range(130):
        session = engine()
        session[SESSION_KEY] = str(anna.pk)
        session.save()
    desk = Browser()
    desk.force_login(anna)
    page = shown(desk)
    assert page.count("<li>") == 100
    assert "There are 131 sessions in all." in page


def test_no_more_devices_are_read_than_are_shown(anna, engine, monkeypatch):
    desk = Browser()
    desk.force_login(anna)
    # This one expires first: it is shown all the same.
    for _ in range(130):
        session = engine()
        session[SESSION_KEY] = str(anna.pk)
        session.set_expiry(10_000_000)
        session.save()
    read: list[str] = []
    shown_as = live._live
    monkeypatch.setattr(live, "_live", lambda item: read.append("one") or shown_as(item))
    page = shown(desk)
    assert page.count("<li>") == 100
    assert page.count("This device") == 1
    assert "There are 131 sessions in all." in page
    assert len(read) <= 101


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Mobile Safari on iOS"),
        ("curl/8.9.1", "curl"),
        ("something else", "something else"),
        ("", ""),
    ],
)
def test_a_browser_is_named(agent, name):
    assert Client(user_agent=agent).name == name


@pytest.mark.parametrize("value", [None, 1, "x", [], {"ip": "x", "agent": 5}, {"ip": "1.2.3"}])
def test_what_is_no_client_is_not_known(value):
    assert Client.parse(value) == Client()


def test_devices_that_may_still_be_signed_in_are_told(staff_anna, monkeypatch):
    desk = sign_in(staff_anna)
    assert "may still be signed in" not in desk.post(OTHERS, follow=True).content.decode()
    some = live.EndedCount(1, is_complete=False)
    monkeypatch.setattr(live, "end_for_user", lambda *args, **kwargs: some)
    assert "may still be signed in" in desk.post(OTHERS, follow=True).content.decode()
