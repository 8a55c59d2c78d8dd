"""What staff sees and ends while one node of a cluster is lost, under the `cache` engine."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.signals import session_ended

from ..servers.cluster import ValkeyCluster
from ..servers.valkey import Valkey
from ..test_translations import english_in
from .conftest import point_sessions_at_cluster

pytestmark = pytest.mark.django_db
LIST = "/admin/django_elasticache_sessions/livesession/"


@pytest.fixture
def cluster(settings) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(replicas=False) as cluster:
        point_sessions_at_cluster(settings, cluster, is_patient=False)
        yield cluster


@pytest.fixture
def staff(cluster) -> Client:
    """A member of the staff who is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("anna"))
    return client


@pytest.fixture
def lost(cluster, staff) -> Valkey:
    """The node that will be lost: with neither the session of the staff, nor the user's index."""
    naming = get_configuration().naming
    used = (
        naming.session(staff.session.session_key).hash_key,
        naming.user_index(naming.user(str(User.objects.get().pk))),
    )
    needed = [cluster.primary_of(key) for key in used]
    return next(node for node in cluster.primaries if node not in needed)


@pytest.fixture
def pair(cluster, lost) -> dict[bool, str]:
    """A session's id on the node that will be lost (`True`), and one elsewhere."""
    found: dict[bool, str] = {}
    while len(found) < 2:
        session = SessionStore()
        session["a"] = 1
        session.save()
        hash_key = get_configuration().naming.session(session.session_key).hash_key
        is_lost = cluster.primary_of(hash_key) is lost
        if is_lost in found:
            session.flush()
        found.setdefault(is_lost, session.session_id)
    return found


@pytest.fixture
def ids(lost, pair) -> dict[bool, str]:
    """The same, now that it is lost."""
    lost.kill()
    return pair


def page(client: Client, address: str, status: int) -> str:
    response = client.get(address)
    assert response.status_code == status
    return html.unescape(response.content.decode())


@pytest.mark.parametrize("address", ["", "dashboard/", "sizes/"])
def test_what_is_of_all_sessions_is_unavailable_and_not_less(staff, ids, address):
    shown = page(staff, LIST + address, 503)
    assert "did not serve" in shown
    assert not re.search(r"\d+ live sessions", shown)


@pytest.mark.parametrize("language", ["de", "ja"])
@pytest.mark.parametrize("address", ["", "dashboard/", "sizes/"])
def test_it_is_told_in_the_language_of_its_reader(staff, settings, ids, address, language):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    response = staff.get(LIST + address, headers={"accept-language": language})
    assert english_in(response, language, status=503) == set()
    assert english_in(staff.get(LIST + address), language, status=503)


def test_a_session_elsewhere_is_shown_and_ended(staff, ids):
    address = f"{LIST}{quote(ids[False])}"
    assert ids[False] in page(staff, f"{address}/change/", 200)
    assert staff.post(f"{address}/delete/", {"post": "yes"}).status_code == 302
    assert live.get(ids[False]) is None
    assert [entry.object_id for entry in LogEntry.objects.all()] == [ids[False]]


def test_a_session_there_is_unavailable_and_not_missing(staff, ids):
    address = f"{LIST}{quote(ids[True])}"
    assert "does not serve" in page(staff, f"{address}/change/", 503)
    assert staff.post(f"{address}/delete/", {"post": "yes"}).status_code == 503
    assert not LogEntry.objects.exists()


def test_sessions_elsewhere_that_are_ended_along_with_it_are_told(ids):
    told: list[str] = []

    def listen(sender: object, session_id: str, **kwargs: object) -> None:
        told.append(session_id)

    session_ended.connect(listen)
    try:
        with pytest.raises(SessionStoreUnavailable):
            live.end_all([ids[True], ids[False]])
    finally:
        session_ended.disconnect(listen)
    assert told == [ids[False]]
    assert live.get(ids[False]) is None


def test_what_ended_of_selected_sessions_while_it_was_lost_is_logged(
    staff, lost, pair, monkeypatch
):
    ending = live.end_all

    def end_all(session_ids: list[str], **options: str) -> int:
        lost.kill()
        return ending(session_ids, **options)

    monkeypatch.setattr(live, "end_all", end_all)
    data = {"action": "delete_selected", "_selected_action": list(pair.values()), "post": "yes"}
    assert staff.post(LIST, data).status_code == 503
    assert [entry.object_id for entry in LogEntry.objects.all()] == [pair[False]]


@pytest.mark.parametrize(
    "command",
    [
        ("clearsessions_cache", "--all", "--no-input"),
        ("clearsessions_cache", "--reindex"),
        ("rekeysessions",),
        ("sessionstats",),
        ("checksessions",),
    ],
    ids=" ".join,
)
def test_a_command_fails_and_says_so(ids, command, settings, capsys):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cache"
    with pytest.raises(CommandError) as error:
        call_command(*command)
    assert error.value.returncode != 0
    assert "did not serve" in f"{error.value} {''.join(capsys.readouterr())}"
