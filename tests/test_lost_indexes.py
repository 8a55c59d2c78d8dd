"""A user's sessions are ended though the server has lost the user's index: the `cache` engine."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.management import call_command

from django_elasticache_sessions import live, lost_indexes
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.live import EndedCount

from .conftest import point_sessions_at
from .servers.valkey import Valkey


def new(user: str | None = "7", **data: object) -> SessionStore:
    session = SessionStore()
    session.update(data | ({SESSION_KEY: user} if user else {}))
    session["a"] = 1
    session.save()
    return session


def index_of(user: str = "7") -> str:
    naming = get_configuration().naming
    return naming.user_index(naming.user(user))


def lives(session: SessionStore) -> bool:
    return live.get(session.session_id) is not None


@pytest.fixture
def emptied(valkey):
    """Sessions of a user whose index was deleted, and of others."""
    sessions = [new(), new(), new("8"), new(None)]
    valkey.delete(index_of())
    return sessions


def test_an_index_that_is_gone_is_no_reason_to_end_none(emptied):
    ended = live.end_for_user(7)
    assert (ended, ended.is_complete) == (2, True)
    assert [lives(session) for session in emptied] == [False, False, True, True]


def test_so_it_is_by_a_loop(emptied):
    ended = asyncio.run(live.aend_for_user(7))
    assert (ended, ended.is_complete) == (2, True)


def test_a_foreign_value_in_its_place_is_none_either(emptied, valkey):
    valkey.set(index_of(), "planted")
    assert live.end_for_user(7) == 2


def test_an_index_that_lacks_the_session_to_keep_lacks_others(emptied):
    own, other, *_ = emptied
    later = new()
    ended = live.end_for_user(7, keep=own)
    assert (ended, ended.is_complete) == (2, True)
    assert (lives(own), lives(other), lives(later)) == (True, False, False)


def test_what_cannot_all_be_looked_through_is_told(emptied, monkeypatch, valkey):
    own, *_ = emptied
    new()
    monkeypatch.setattr(lost_indexes, "_STEP", 1)
    monkeypatch.setattr(lost_indexes, "MOST_KEYS", 1)
    assert not live.end_for_user(7, keep=own).is_complete


def test_it_takes_no_longer_than_it_may(emptied, monkeypatch, relay):
    own, *_ = emptied
    new()
    monkeypatch.setattr(lost_indexes, "_STEP", 1)
    monkeypatch.setattr(lost_indexes, "MOST_SECONDS", -1.0)
    with relay.recording() as tape:
        assert not live.end_for_user(7, keep=own).is_complete
    assert tape.names.count("SCAN") == 1


def test_a_user_without_sessions_costs_a_short_look(valkey, relay):
    new("8")
    new(None)
    with relay.recording() as tape:
        ended = live.end_for_user(7)
    assert (ended, ended.is_complete) == (0, True)
    assert tape.names.count("SCAN") == 1


def test_a_whole_index_is_believed(valkey, relay):
    own = new()
    new()
    with relay.recording() as tape:
        ended = live.end_for_user(7, keep=own)
    assert (ended, ended.is_complete) == (1, True)
    assert "SCAN" not in tape.names


@pytest.fixture(params=["allkeys-lru", "volatile-lru"])
def evicting(request, settings):
    """A server that has evicted keys, and among them a user's index; the sessions."""
    with Valkey(config={"maxmemory-policy": request.param}) as server:
        point_sessions_at(settings, server.url)
        sessions = [new() for _ in range(3)]
        client = server.client()
        for number in range(50):
            client.set(f"filler-{number}", "x" * 2000, ex=3600)
        for session in sessions:
            session["a"] += 1
            session.save()
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 20_000)
        client.config_set("maxmemory", 0)
        assert client.info("stats")["evicted_keys"]
        client.delete(index_of())
        yield sessions, client


def test_after_evictions_an_index_that_was_begun_anew_is_not_believed(evicting):
    sessions, _ = evicting
    left = sum(map(lives, sessions))
    later = new()
    ended = live.end_for_user(7)
    assert (ended, ended.is_complete) == (left + 1, True)
    assert not any(map(lives, [*sessions, later]))


def test_the_session_to_keep_is_kept_then(evicting):
    own = new()
    live.end_for_user(7, keep=own)
    assert lives(own)


def test_a_search_that_is_cut_short_is_told_then(evicting, monkeypatch):
    new()
    monkeypatch.setattr(lost_indexes, "_STEP", 1)
    monkeypatch.setattr(lost_indexes, "MOST_KEYS", 2)
    assert not live.end_for_user(7).is_complete


def test_who_may_not_ask_how_the_server_is_looks_through_all(settings):
    with Valkey("9", acl=["app on >secret ~* &* +@all -info"]) as server:
        point_sessions_at(settings, f"redis://app:secret@{server.host}:{server.port}/0")
        new()
        ended = live.end_for_user(7)
        assert (ended, ended.is_complete) == (1, True)


@pytest.mark.django_db
def test_who_may_not_look_through_all_is_told(settings, caplog):
    with Valkey("9", acl=["app on >secret ~* &* +@all -info -scan"]) as server:
        point_sessions_at(settings, f"redis://app:secret@{server.host}:{server.port}/0")
        new()
        ended = live.end_for_user(7)
        assert (ended, ended.is_complete) == (1, False)
        new()
        assert purged("--user", "7") == {"ended": 1, "dry_run": False}
    # A refusal that was reckoned with is no outage.
    assert caplog.records == []


def purged(*options: str) -> dict[str, object]:
    stdout = io.StringIO()
    call_command("clearsessions_cache", "--json", "--no-input", *options, stdout=stdout)
    return json.loads(stdout.getvalue())


@pytest.mark.django_db
class TestTheCommand:
    @pytest.fixture(autouse=True)
    def _user(self, db):
        User.objects.create(pk=7, username="anna")

    def test_ends_them_too(self, emptied):
        assert purged("--user", "7", "--dry-run") == {"to_be_ended": 2, "dry_run": True}
        assert purged("--user", "7") == {"ended": 2, "dry_run": False}
        assert [lives(session) for session in emptied] == [False, False, True, True]

    def test_does_so_after_evictions(self, evicting):
        sessions, _ = evicting
        expected = sum(map(lives, sessions)) + 1
        new()
        assert purged("--user", "7", "--dry-run")["to_be_ended"] == expected
        assert purged("--user", "7")["ended"] == expected


class TestEndedCount:
    def test_cannot_be_changed(self):
        ended = EndedCount(3, is_complete=False)
        for name in ("is_complete", "_is_complete", "other"):
            with pytest.raises(AttributeError):
                setattr(ended, name, True)
        with pytest.raises(AttributeError):
            del ended._is_complete
        assert (ended, ended.is_complete) == (3, False)

    @pytest.mark.parametrize(
        "copied", [copy.copy, copy.deepcopy, lambda ended: pickle.loads(pickle.dumps(ended))]
    )
    def test_stays_what_it_is_when_copied(self, copied):
        ended = copied(EndedCount(3, is_complete=False))
        assert (ended, ended.is_complete) == (3, False)
