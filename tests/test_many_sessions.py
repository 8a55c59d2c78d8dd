"""Ten thousand sessions of one user: every page and command stays small, and ends them all."""

from __future__ import annotations

import html
import io
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from django_elasticache_sessions import live

pytestmark = pytest.mark.django_db
in_the_cache = pytest.mark.parametrize("engine", ["cache"], indirect=True)
in_either = pytest.mark.parametrize("engine", ["cache", "cached_db-sqlite"], indirect=True)
LIST = "/admin/django_elasticache_sessions/livesession/"
MANY = 10_000
MOST_BYTES = 150_000


@pytest.fixture
def crowd(engine) -> User:
    """A user with so many sessions."""
    user = User.objects.create_superuser("anna")
    for _ in range(MANY):
        session = engine()
        session[SESSION_KEY] = str(user.pk)
        session.save()
    return user


def text(response) -> str:
    assert response.status_code == 200
    assert len(response.content) < MOST_BYTES
    return html.unescape(response.content.decode())


@in_either
def test_every_page_is_bounded_and_all_are_ended(crowd):
    client = Client()
    client.force_login(crowd)
    assert text(client.get("/devices/")).count("<li>") == 100
    for query in ({"q": "anna"}, {"whose": "mine"}, {"whose": "signed-in"}):
        shown = text(client.get(LIST, query))
        assert f"{MANY + 1} live sessions" in shown
        assert len(re.findall(r"livesession/[^/]+/change", shown)) == 100
    selected = live.page(limit=1).sessions[0].session_id
    data = {"action": "end_for_users", "_selected_action": [selected]}
    shown = text(client.post(LIST, data))
    assert f"These {MANY + 1} sessions will be ended" in shown
    assert f"and {MANY - 99} more" in shown
    assert "your own, you will be signed out" in shown
    assert client.post(LIST, {**data, "post": "yes"}).status_code == 302
    assert live.for_user(crowd) == []
    assert LogEntry.objects.count() == MANY + 1


@in_the_cache
def test_the_user_keeps_this_device_alone(crowd):
    client = Client()
    client.force_login(crowd)
    assert f"{MANY} other devices were signed out." in text(
        client.post("/devices/end-others/", follow=True)
    )
    assert [session.session_id for session in live.for_user(crowd)] == [client.session.session_id]


@in_the_cache
def test_the_command_ends_them(crowd):
    output = io.StringIO()
    call_command("clearsessions_cache", "--user", "anna", "--no-input", stdout=output)
    assert output.getvalue() == f"{MANY} sessions ended.\n"
    assert live.count() == (0, 0)
