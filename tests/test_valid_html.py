"""Every page of ours is valid HTML: no parse error, no id twice, every reference to one there."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.test import Client
from html5lib import HTMLParser

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

pytestmark = pytest.mark.django_db
LIST = "/admin/django_elasticache_sessions/livesession/"
ODD = "<i>\"&'</i>\x1b[31m\0\x7f\x85\ud800"


@pytest.fixture
def staff(valkey) -> Client:
    client = Client(headers={"user-agent": ODD[:12]})
    client.force_login(User.objects.create(username=ODD[:9], is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def session_ids(staff) -> list[str]:
    """Return the ids of sessions with all that may be odd about them, on two pages of the list."""
    sessions = [SessionStore() for _ in range(130)]
    for number, session in enumerate(sessions):
        session[ODD] = [ODD]
        if number % 2:
            session[SESSION_KEY] = ODD[:9] if number % 3 else "1"
            session["_client"] = {"ip": "2001:db8::1", "agent": ODD}
        session.save()
    return [session.session_id for session in sessions]


def refuse_errors(response, *, status: int = 200) -> None:
    assert response.status_code == status
    parser = HTMLParser()
    document = parser.parse(response.content.decode())
    assert [(place, code) for place, code, _ in parser.errors] == []
    elements = [element for element in document.iter() if isinstance(element.tag, str)]
    ids = [element.get("id") for element in elements if element.get("id")]
    assert len(ids) == len(set(ids))
    references = ("for", "aria-describedby", "aria-labelledby")
    referred = [element.get(name) for element in elements for name in references]
    assert {name for text in referred if text for name in text.split()} <= set(ids)


def post(client: Client, action: str, session_ids: list[str]):
    return client.post(LIST, {"action": action, "_selected_action": session_ids})


@pytest.mark.parametrize("query", ["", "?whose=mine", "?q=nobody", "?after=forged", "OLDER"])
def test_the_list(staff, session_ids, query):
    if query == "OLDER":
        query = re.search(r'href="(\?after=[^"]+)"', staff.get(LIST).content.decode())[1]
    refuse_errors(staff.get(LIST + query))


def test_a_session(staff, session_ids):
    for session_id in (*session_ids[:4], staff.session.session_id):
        refuse_errors(staff.get(f"{LIST}{quote(session_id)}/change/"))
        refuse_errors(staff.get(f"{LIST}{quote(session_id)}/delete/"))
        refuse_errors(staff.get(f"{LIST}{quote(session_id)}/history/"))


@pytest.mark.parametrize("action", ["delete_selected", "end_for_users"])
def test_the_questions_before_many_are_ended(staff, session_ids, action):
    refuse_errors(post(staff, action, session_ids[:4]))


def test_the_message_after_many_were_ended(staff, session_ids):
    data = {"action": "end_for_users", "_selected_action": session_ids[:4], "post": "yes"}
    refuse_errors(staff.post(LIST, data, follow=True))


@pytest.mark.parametrize("name", ["dashboard", "sizes"])
def test_the_pages_of_figures(staff, session_ids, name):
    refuse_errors(staff.get(f"{LIST}{name}/"))


def test_the_store_that_is_away(staff, monkeypatch):
    def away(*args, **kwargs):
        raise SessionStoreUnavailable("The store did not serve.")

    monkeypatch.setattr(live, "page", away)
    refuse_errors(staff.get(LIST), status=503)


def test_the_devices(staff, session_ids):
    refuse_errors(staff.get("/devices/"))
    refuse_errors(staff.post("/devices/end-others/", follow=True))
