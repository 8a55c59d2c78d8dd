"""What others have left: waiting for the database, half told, or out of the cache's sight."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command
from django.db import OperationalError, connections

from django_elasticache_sessions import breaker, homes, listing, live, reading
from django_elasticache_sessions.backends import cache as cache_engine
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.models import FallbackSession

from .conftest import point_sessions_at
from .servers.valkey import Valkey
from .stepping import answer, finish

TABLE = FallbackSession._meta.db_table
DAY_SECONDS = 86_400


@pytest.fixture
def alias(settings, valkey, fallback_database, monkeypatch) -> str:
    """A database that is asked again at once after each failure."""
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(breaker, name, 1e-6)
    settings.SESSION_ENGINE = SessionStore.__module__
    return str(fallback_database("sqlite"))


@contextmanager
def database_away(alias: str) -> Iterator[None]:
    """Have no table meanwhile."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} RENAME TO away")
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {TABLE}")


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def change(key: str, **data: object) -> None:
    session = SessionStore(key)
    session.update(data)
    session.save()


def content(key: object) -> dict[str, Any]:
    return dict(SessionStore(str(key)).items())


def hash_key(key: str) -> str:
    return get_configuration().naming.session(key).hash_key


def test_what_a_killed_process_saved_in_the_cache_alone_is_handed_over_by_others(
    alias, valkey, settings, monkeypatch
):
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 100}
    monkeypatch.setattr(homes, "SEARCH_SECONDS", 0.0)
    key, other = saved(a=1), saved(a=1)
    with database_away(alias):
        change(key, a=2)
        new = saved(b=1)
    # The worker is recycled, and nobody asks for these sessions.
    homes._homes.clear()
    for _ in range(5):
        assert content(other) == {"a": 1}
    valkey.flushdb()
    assert content(key) == {"a": 2}
    assert content(new) == {"b": 1}


@contextmanager
def locked(alias: str) -> Iterator[None]:
    """Have another connection hold SQLite's write lock, as a backup does."""
    described = connections[alias].settings_dict
    described["OPTIONS"] |= {"timeout": 0.05}
    connections[alias].close()
    with closing(sqlite3.connect(described["NAME"], isolation_level=None)) as backup:
        backup.execute("BEGIN IMMEDIATE")
        yield
        backup.execute("ROLLBACK")


@pytest.mark.parametrize("is_recycled", [False, True], ids=["goes on", "is recycled"])
@pytest.mark.parametrize("writes", ["through", "behind"])
def test_nothing_saved_while_sqlite_was_locked_is_lost_with_the_cache(
    alias, valkey, settings, monkeypatch, writes, is_recycled
):
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 4, "FALLBACK_WRITES": writes}
    # What is done every second, or every few, is done at each access.
    for name in ("RECONCILE_SECONDS", "SEARCH_SECONDS"):
        monkeypatch.setattr(homes, name, 0.0)
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0)
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(breaker, name, 1e-9)
    key, other, rotated = saved(a=1), saved(a=1), saved(a=1)
    session = SessionStore(rotated)
    assert session["a"] == 1
    with locked(alias):
        change(key, a=2)
        change(key, b=3)
        new = saved(c=4)
        session["d"] = 5
        session.cycle_key()
        session.save()
        assert content(key) == {"a": 2, "b": 3}
    if is_recycled:
        homes._homes.clear()
    for _ in range(3):
        assert content(other) == {"a": 1}
    valkey.flushdb()
    assert content(key) == {"a": 2, "b": 3}
    assert content(new) == {"c": 4}
    assert content(session.session_key) == {"a": 1, "d": 5}
    assert content(rotated) == {}


@contextmanager
def reply_lost_once(alias: str, monkeypatch) -> Iterator[None]:
    """An UPDATE is done, and then its connection turns out to be dead."""
    connection = connections[alias]
    lost: list[str] = []

    def execute(
        execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        result = execute(sql, params, many, context)
        monkeypatch.setattr(connection, "is_usable", lambda: bool(lost))
        if sql.startswith("UPDATE") and not lost:
            lost.append(sql)
            monkeypatch.setattr(connection, "is_usable", lambda: False)
            raise OperationalError("server closed the connection unexpectedly")
        return result

    with connection.execute_wrapper(execute):
        yield
    assert lost


def test_a_save_that_is_repeated_after_a_lost_reply_is_seen(alias, monkeypatch):
    key = saved(a=1)
    with reply_lost_once(alias, monkeypatch):
        change(key, a=2)
    assert content(key) == {"a": 2}


def test_a_rotation_that_is_repeated_after_a_lost_reply_leaves_no_old_key(alias, monkeypatch):
    key = saved(a=1)
    session = SessionStore(key)
    assert session["a"] == 1
    with reply_lost_once(alias, monkeypatch):
        session.cycle_key()
    assert content(key) == {}
    assert content(session.session_key) == {"a": 1}


def test_a_database_that_lost_commits_is_what_counts(alias, valkey):
    key = saved(a=1)
    before = FallbackSession.objects.using(alias).values().get()
    change(key, a=2)
    # As after a failover to a replica that had not received the last commit.
    row = FallbackSession.objects.using(alias).filter(sid=before.pop("sid"))
    row.update(**before)
    change(key, b=3)
    assert content(key) == {"a": 1, "b": 3}
    change(key, c=4)
    assert content(key) == {"a": 1, "b": 3, "c": 4}
    valkey.flushdb()
    assert content(key) == {"a": 1, "b": 3, "c": 4}


def test_an_end_stays_as_long_as_a_copy_of_its_session_could_live(alias, valkey):
    with database_away(alias):
        session = SessionStore()
        session["a"] = 1
        session.set_expiry(90 * DAY_SECONDS)
        session.save()
    key = str(session.session_key)
    snapshot = valkey.dump(hash_key(key))
    homes._homes.clear()
    assert live.end(session.session_id)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET expires = expires - {60 * DAY_SECONDS}")
    call_command("clearsessions")
    valkey.restore(hash_key(key), 30 * DAY_SECONDS * 1000, snapshot)
    assert content(key) == {}


def test_a_late_logout_under_an_old_key_is_no_empty_session_in_an_outage(alias, valkey):
    key = saved(a=1)
    late = SessionStore(key)
    assert late["a"] == 1
    session = SessionStore(key)
    session.cycle_key()
    valkey.delete(hash_key(key))
    with database_away(alias):
        late.flush()
        with pytest.raises(SessionStoreUnavailable):
            content(session.session_key)
        with pytest.raises(SessionStoreUnavailable):
            change(str(session.session_key), b=2)
        assert content(key) == {}
    assert content(session.session_key) == {"a": 1}


@pytest.mark.parametrize("how", ["flush", "live", "purge", "expiry"])
def test_an_end_by_the_cache_engine_of_a_session_that_has_a_row_stays(alias, settings, how):
    settings.ELASTICACHE_SESSIONS |= {"PREVIOUS_ENGINES": [cache_engine.__name__]}
    key = saved(a=1)
    assert content(key) == {"a": 1}
    settings.SESSION_ENGINE = cache_engine.__name__
    session = cache_engine.SessionStore(key)
    assert session["a"] == 1
    match how:
        case "flush":
            session.flush()
        case "live":
            assert live.end(session.session_id)
        case "purge":
            call_command("clearsessions_cache", "--all", "--no-input")
        case "expiry":
            session.set_expiry(-5)
            session.save()
    settings.SESSION_ENGINE = SessionStore.__module__
    assert content(key) == {}


@pytest.mark.parametrize("old", ["db", "cached_db", "file", "cache"])
@pytest.mark.parametrize("act", ["flush", "remove", "cycle_key"])
def test_what_a_process_of_django_s_engine_does_meanwhile_counts(
    settings, valkey, transactional_db, tmp_path, old, act
):
    engine = f"django.contrib.sessions.backends.{old}"
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.ELASTICACHE_SESSIONS = {
        "PREVIOUS_ENGINES": [engine],
        "PREVIOUS_CACHE_ALIAS": settings.SESSION_CACHE_ALIAS,
    }
    theirs = import_module(engine).SessionStore()
    theirs.update({"a": 1, "b": 1})
    theirs.save()
    key = str(theirs.session_key)
    assert content(key) == {"a": 1, "b": 1}
    theirs = import_module(engine).SessionStore(key)
    match act:
        case "flush":
            theirs.flush()
        case "cycle_key":
            theirs.cycle_key()
            theirs.save()
        case "remove":
            del theirs["a"]
            theirs.save()
    assert content(key) == ({"b": 1} if act == "remove" else {})


def test_a_login_that_is_sent_again_is_not_dropped_from_its_users_index(settings, valkey):
    """Its first attempt was outpaced: the index has it, and the session is not the user's yet."""
    settings.SESSION_ENGINE = cache_engine.__name__
    naming = get_configuration().naming
    session = cache_engine.SessionStore()
    session.save()
    login, other = (cache_engine.SessionStore(session.session_key) for _ in range(2))
    assert "a" not in login
    login[SESSION_KEY] = "7"
    other["b"] = 1
    saving, devices = login._save(False), listing.of_user(naming, "7", wanted=())
    attempt = next(saving)
    other.save()
    outpaced = answer(attempt)
    step = next(devices)
    step = devices.send(answer(step))
    described = answer(step)
    finish(saving, saving.send(outpaced))
    try:
        step = devices.send(described)
        reply = answer(step)
        assert live.end_for_user("7") == 1
        finish(devices, devices.send(reply))
    except StopIteration:
        assert live.end_for_user("7") == 1
    assert not cache_engine.SessionStore().exists(session.session_key)


class Worker:
    """A process with settings of its own; use it as a context manager, again and again."""

    def __init__(self, settings: Any, url: str, **options: object) -> None:
        """Take the `LOCATION`, and what its `ELASTICACHE_SESSIONS` has besides."""
        self._settings, self._url, self._options = settings, url, options
        self._homes: dict[Any, Any] = {}

    def __enter__(self) -> None:
        """Be the one that works."""
        point_sessions_at(self._settings, self._url)
        self._settings.SESSION_ENGINE = SessionStore.__module__
        common = {"FALLBACK_DATABASE": self._settings.ELASTICACHE_SESSIONS["FALLBACK_DATABASE"]}
        self._settings.ELASTICACHE_SESSIONS = common | self._options
        homes._homes.clear()
        homes._homes.update(self._homes)

    def __exit__(self, *exc_info: object) -> None:
        """Let others work; those look once a second at what this one did."""
        self._homes = dict(homes._homes)
        homes._homes.clear()
        time.sleep(homes.RECONCILE_SECONDS + 0.1)


@pytest.mark.parametrize("move", ["location", "prefix", "buckets"])
def test_in_a_rolling_move_and_back_everybody_sees_everything(settings, alias, valkey, move):
    with Valkey() as first, Valkey() as second:
        before, after = {
            "location": ((first.url, {}), (second.url, {})),
            "prefix": ((first.url, {}), (first.url, {"KEY_PREFIX": "other"})),
            "buckets": ((first.url, {"INDEX_BUCKETS": 4}), (first.url, {"INDEX_BUCKETS": 8})),
        }[move]
        old, new, back = (
            Worker(settings, url, **options) for url, options in (before, after, before)
        )
        with old:
            ended, changed, other, another = keys = [saved(a=1) for _ in range(4)]
            assert [content(key) for key in keys] == [{"a": 1}] * 4
        with new:
            assert [content(key) for key in keys] == [{"a": 1}] * 4
        with old:
            SessionStore(ended).delete(ended)
            change(changed, a=2)
        with new:
            assert (content(ended), content(changed)) == ({}, {"a": 2})
            change(other, a=3)
            SessionStore(another).delete(another)
        with old:
            assert (content(ended), content(other), content(another)) == ({}, {"a": 3}, {})
        with back:
            assert [content(key) for key in keys] == [{}, {"a": 2}, {"a": 3}, {}]
            change(changed, a=5)
        with new:
            assert content(changed) == {"a": 5}
            change(other, a=6)
        with back:
            assert content(other) == {"a": 6}
