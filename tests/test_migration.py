"""`migratesessions` and `PREVIOUS_ENGINES`: nobody is logged out by a change of engine."""

from __future__ import annotations

import copy
import io
import json
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module

import pytest
import redis
from django.contrib.sessions.backends.file import SessionStore as FileSessionStore
from django.contrib.sessions.models import Session
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.keys import SELECTOR_LENGTH, SESSION_KEY_LENGTH
from django_elasticache_sessions.marks import MARK

# Of django-redis-sessions.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")

OURS = {
    "cache": "django_elasticache_sessions.backends.cache",
    "cached_db": "django_elasticache_sessions.backends.cached_db",
}
DJANGOS = "django.contrib.sessions.backends."
PREVIOUS = [
    "db",
    "cached_db",
    "cache (django-redis)",
    "cache (Django)",
    "cache (memory)",
    "file",
    "redis_sessions.session",
]


@pytest.fixture(params=OURS)
def store_class(request, settings, valkey, db):
    """Our engine's `SessionStore`; each of the two."""
    settings.SESSION_ENGINE = OURS[request.param]
    return import_module(settings.SESSION_ENGINE).SessionStore


@pytest.fixture(params=PREVIOUS)
def engine(request, settings, store_class, server, tmp_path, monkeypatch):
    """The module of the engine that there was before; its cache is "before"."""
    if request.param == "redis_sessions.session":
        import redis_sessions.settings
        from redis_sessions.session import RedisServer

        with redis.Redis.from_url(f"{server.administrators_url}/1") as client:
            client.flushdb()
            monkeypatch.setattr(redis_sessions.settings, "SESSION_REDIS_CONNECTION_OBJECT", client)
            monkeypatch.setattr(redis_sessions.settings, "SESSION_REDIS_PREFIX", "before")
            RedisServer._RedisServer__redis.clear()
            yield request.param
        return
    settings.SESSION_FILE_PATH = str(tmp_path)
    # It remembers the first folder of the process.
    monkeypatch.delattr(FileSessionStore, "_storage_path", raising=False)
    kinds = {
        "cache (django-redis)": "django_redis.cache.RedisCache",
        "cache (memory)": "django.core.cache.backends.locmem.LocMemCache",
    }
    backend = kinds.get(request.param, "django.core.cache.backends.redis.RedisCache")
    settings.CACHES = {
        **copy.deepcopy(settings.CACHES),
        "before": {"BACKEND": backend, "LOCATION": f"{server.administrators_url}/1"},
    }
    caches["before"].clear()
    settings.ELASTICACHE_SESSIONS = {"PREVIOUS_CACHE_ALIAS": "before"}
    yield DJANGOS + request.param.partition(" ")[0]


@contextmanager
def as_before(settings, engine: str):
    """Run a block under the settings that there were before; the `SessionStore` that there was."""
    ours = settings.SESSION_CACHE_ALIAS
    if "before" in settings.CACHES:
        settings.SESSION_CACHE_ALIAS = "before"
    yield import_module(engine).SessionStore
    settings.SESSION_CACHE_ALIAS = ours


@pytest.fixture
def before(settings, engine):
    """Make a session as the previous engine did; its session key."""

    def make(**data: object) -> str:
        with as_before(settings, engine) as store:
            session = store()
            session.update(data)
            session.save()
        return session.session_key

    return make


@pytest.fixture
def previous(settings, engine):
    """The previous engine, read through."""
    settings.ELASTICACHE_SESSIONS = {
        **getattr(settings, "ELASTICACHE_SESSIONS", {}),
        "PREVIOUS_ENGINES": [engine],
    }


def needs_listing(engine: str) -> None:
    if engine.endswith(".cache") and "LocMem" in type(caches["before"]).__name__:
        pytest.skip("a cache that cannot list its keys")


def migrated(engine: str, *options: str) -> dict[str, object]:
    stdout = io.StringIO()
    call_command("migratesessions", f"--from={engine}", "--json", *options, stdout=stdout)
    return json.loads(stdout.getvalue())


def test_sessions_keep_their_key_data_and_life(before, engine, store_class):
    needs_listing(engine)
    keys = [before(a=n, cart=["tea"], _session_expiry=500) for n in range(5)]
    assert migrated(engine, "--batch-size=2") == {
        "seen": 5,
        "adopted": 5,
        "left": 0,
        "refused": 0,
        "dry_run": False,
    }
    for n, session_key in enumerate(keys):
        session = store_class(session_key)
        assert dict(session.items()) == {"a": n, "cart": ["tea"], "_session_expiry": 500}
        assert 400 < session._stored.expires - timezone.now().timestamp() <= 501


def test_what_a_dry_run_counts_stays(before, engine, store_class):
    needs_listing(engine)
    session_key = before(a=1)
    assert migrated(engine, "--dry-run")["adopted"] == 1
    assert store_class(session_key).get("a") is None


def test_a_second_run_finds_nothing(before, engine, store_class):
    needs_listing(engine)
    session_key = before(a=1)
    migrated(engine)
    store_class(session_key).flush()
    assert migrated(engine)["adopted"] == 0
    assert store_class(session_key).get("a") is None


def test_a_session_is_taken_over_at_its_first_visit(before, previous, store_class):
    session = store_class(before(a=1))
    assert session["a"] == 1
    session["b"] = 2
    session.save()
    assert dict(store_class(session.session_key).items()) == {"a": 1, "b": 2}


async def test_a_session_is_taken_over_at_its_first_visit_async(
    before, previous, store_class, engine, transactional_db
):
    from asgiref.sync import sync_to_async

    session = store_class(await sync_to_async(before)(a=1))
    assert await session.aget("a") == 1


def test_a_session_that_ended_here_is_not_taken_over_again(before, previous, store_class, valkey):
    first, second, third = before(a=1), before(a=1), before(a=1)
    store_class(first)["a"]
    store_class(first).flush()
    store_class(second).delete(second)
    rotated = store_class(third)
    rotated["a"]
    rotated.cycle_key()
    for session_key in (first, second, third):
        assert store_class(session_key).get("a") is None
    assert rotated["a"] == 1


def test_a_session_ended_by_its_id_is_not_taken_over_again(before, previous, store_class, valkey):
    session_key = before(a=1)
    store_class(session_key)["a"]
    # As staff ends it, who does not know the session key.
    valkey.flushdb()
    if store_class.__module__.endswith("cached_db"):
        from django_elasticache_sessions.models import FallbackSession

        FallbackSession.objects.all().delete()
    assert store_class(session_key).get("a") is None


def test_who_goes_back_finds_the_sessions(before, previous, store_class, settings, engine):
    session_key, ended = before(a=1), before(a=1)
    store_class(session_key)["a"]
    store_class(ended).flush()
    with as_before(settings, engine) as old:
        left = dict(old(session_key).items())
        assert left.keys() == {"a", MARK}
        assert left["a"] == 1
        assert dict(old(ended).items()) == {}


def test_a_session_of_nobody_is_missing(previous, store_class):
    session = store_class("nosuchsessionatall" * 2)
    assert session.get("a") is None
    assert session.session_key is None


@pytest.mark.parametrize(
    "key",
    ["../../etc/passwd", "../" * 10, "with a space" * 3, "x" * 256, "*[]?{}:%s" * 4, "_out_"],
)
def test_a_cookie_of_any_kind_is_nobodys(previous, store_class, key):
    session = store_class(key)
    assert session.get("a") is None
    store_class(key).flush()
    store_class().delete(key)


def test_an_expired_session_stays_where_it_is(store_class, settings):
    settings.ELASTICACHE_SESSIONS = {"PREVIOUS_ENGINES": [f"{DJANGOS}db"]}
    old = import_module(f"{DJANGOS}db").SessionStore()
    old["a"] = 1
    old.save()
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert store_class(old.session_key).get("a") is None
    assert migrated(f"{DJANGOS}db") == {
        "seen": 0,
        "adopted": 0,
        "left": 0,
        "refused": 0,
        "dry_run": False,
    }


def test_a_previous_engine_that_fails_is_no_missing_session(store_class, settings):
    settings.ELASTICACHE_SESSIONS = {"PREVIOUS_ENGINES": [f"{DJANGOS}db"]}
    with connection.cursor() as cursor:
        # Rolled back with the test.
        cursor.execute("ALTER TABLE django_session RENAME TO away")
    session = store_class("canarysessionkey" * 2)
    with pytest.raises(SessionStoreUnavailable) as caught:
        session.get("a")
    assert "canary" not in str(caught.value)


def test_a_session_that_is_too_large_is_refused_and_stays(store_class, settings):
    settings.ELASTICACHE_SESSIONS = {"MAX_SESSION_BYTES": 100}
    old = import_module(f"{DJANGOS}db").SessionStore()
    old["a"] = "x" * 1000
    old.save()
    with pytest.raises(CommandError, match="1 sessions were refused"):
        migrated(f"{DJANGOS}db")
    assert Session.objects.count() == 1


def test_a_key_that_is_too_short_is_refused_and_its_session_stays(store_class):
    old = import_module(f"{DJANGOS}db").SessionStore()
    old["a"] = 1
    old._session_key = "tooshortakey"
    old.save(must_create=True)
    for options in (("--dry-run",), ()):
        with pytest.raises(CommandError, match="1 sessions were refused"):
            migrated(f"{DJANGOS}db", *options)
    assert dict(import_module(f"{DJANGOS}db").SessionStore("tooshortakey").items()) == {"a": 1}


def test_a_key_that_is_too_short_is_not_asked_for(store_class, settings):
    old = import_module(f"{DJANGOS}db").SessionStore()
    old["a"] = 1
    old._session_key = "tooshortakey"
    old.save(must_create=True)
    settings.ELASTICACHE_SESSIONS = {"PREVIOUS_ENGINES": [f"{DJANGOS}db"]}
    session = store_class("tooshortakey")
    assert session.session_key is None
    assert session.get("a") is None


def test_a_key_of_django_is_kept_until_its_first_rotation(before, previous, store_class):
    session_key = before(a=1)
    session = store_class(session_key)
    assert (session["a"], session.session_key) == (1, session_key)
    session.save()
    assert store_class(session_key)["a"] == 1
    session_id = session.session_id
    session.cycle_key()
    assert len(session_key) < len(session.session_key) == SESSION_KEY_LENGTH
    assert session.session_key[:SELECTOR_LENGTH] == session_key[:SELECTOR_LENGTH]
    assert session.session_id == session_id
    assert store_class(session.session_key)["a"] == 1
    assert store_class(session_key).get("a") is None


@pytest.mark.parametrize("page", ["/read/", "/async/read/"])
def test_a_visit_with_one_is_as_with_none_and_its_engine_keeps_it(
    store_class, settings, client, caplog, page
):
    settings.ELASTICACHE_SESSIONS = {
        "MAX_SESSION_BYTES": 100,
        "PREVIOUS_ENGINES": [f"{DJANGOS}db"],
    }
    old = import_module(f"{DJANGOS}db").SessionStore()
    old["a"] = "x" * 1000
    old.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = old.session_key
    response = client.get(page)
    assert (response.status_code, response.json()) == (200, {})
    assert import_module(f"{DJANGOS}db").SessionStore(old.session_key)["a"] == "x" * 1000
    assert "stays in its previous engine" in caplog.text
    assert "MAX_SESSION_BYTES" in caplog.text
    assert old.session_key not in caplog.text


def test_a_visit_with_one_that_the_serializer_cannot_encode_begins_anew(store_class, settings):
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    settings.CACHES = {**copy.deepcopy(settings.CACHES), "before": memory}
    settings.ELASTICACHE_SESSIONS = {
        "PREVIOUS_ENGINES": [f"{DJANGOS}cache"],
        "PREVIOUS_CACHE_ALIAS": "before",
    }
    with as_before(settings, f"{DJANGOS}cache") as store:
        old = store()
        old["a"] = {1, 2}
        old.save()
    session = store_class(old.session_key)
    assert dict(session.items()) == {}
    session["b"] = 1
    session.save()
    assert session.session_key != old.session_key
    assert dict(store_class(session.session_key).items()) == {"b": 1}
    with as_before(settings, f"{DJANGOS}cache") as store:
        assert dict(store(old.session_key).items()) == {"a": {1, 2}}


def test_the_hashes_of_the_cache_engine_are_taken_over(settings, valkey, transactional_db):
    ours = import_module(OURS["cache"]).SessionStore
    session = ours()
    session["a"] = 1
    session.save()
    settings.SESSION_ENGINE = OURS["cached_db"]
    settings.ELASTICACHE_SESSIONS = {"PREVIOUS_ENGINES": [OURS["cache"]]}
    durable = import_module(OURS["cached_db"]).SessionStore
    assert durable(session.session_key)["a"] == 1
    # A process of the release before still runs.
    late = ours(session.session_key)
    late["b"] = 2
    late.save()
    assert dict(durable(session.session_key).items()) == {"a": 1, "b": 2}
    valkey.flushdb()
    assert dict(durable(session.session_key).items()) == {"a": 1, "b": 2}
    durable(session.session_key).flush()
    assert dict(durable(session.session_key).items()) == {}


def test_a_session_of_the_cached_db_engine_is_read_by_the_cache_engine(
    settings, valkey, transactional_db
):
    durable = import_module(OURS["cached_db"]).SessionStore
    session = durable()
    session["a"] = 1
    session.save()
    ours = import_module(OURS["cache"]).SessionStore
    assert dict(ours(session.session_key).items()) == {"a": 1}


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("no.such.engine", "no session engine that can be imported"),
        (f"{DJANGOS}signed_cookies", "cannot be taken over"),
    ],
)
def test_an_engine_that_is_none_is_named(store_class, engine, message):
    with pytest.raises(CommandError, match=message):
        migrated(engine)


def test_a_cache_that_cannot_list_its_keys_is_named(store_class):
    with pytest.raises(CommandError, match="cannot list its keys"):
        migrated(f"{DJANGOS}cache", "--cache-alias=default")


def test_another_session_engine_is_named(settings):
    settings.SESSION_ENGINE = f"{DJANGOS}db"
    with pytest.raises(CommandError, match="set it to one of"):
        migrated(f"{DJANGOS}db")
