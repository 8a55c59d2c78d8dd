"""The fallback rows: what is refused of them, and what the database may do wrong."""

from __future__ import annotations

import json
import logging
import time

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connections, transaction

from django_elasticache_sessions import row_upkeep, rows
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import (
    DatabaseUnavailable,
    SessionStoreUnavailable,
    SessionTooLarge,
    UnknownFormat,
)
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.statements import ATTEMPTS, Statement

from .servers.databases import VENDORS, database
from .servers.waiting import wait_until

TABLE = FallbackSession._meta.db_table


@pytest.fixture(params=VENDORS)
def alias(request, valkey, fallback_database) -> str:
    """The alias of an empty database of each vendor."""
    return fallback_database(request.param)


def saved(**data: object) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return str(session.session_key)


def content(session_key: str) -> dict[str, object]:
    return dict(SessionStore(session_key).items())


def sid(session_key: str) -> str:
    return get_configuration().naming.session(session_key).digest.hex()


def run(alias: str, query: str, *parameters: object) -> list[tuple[object, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


def fields_of(alias: str, session_key: str) -> dict[str, str]:
    [[text]] = run(alias, f"SELECT fields FROM {TABLE} WHERE sid = %s", sid(session_key))
    return json.loads(text) if isinstance(text, str) else text


def put(alias: str, session_key: str, fields: object) -> None:
    place = "%s::jsonb" if connections[alias].vendor == "postgresql" else "%s"
    query = f"UPDATE {TABLE} SET fields = {place} WHERE sid = %s"
    run(alias, query, json.dumps(fields), sid(session_key))


@pytest.mark.parametrize(
    "fields", [[], "text", 7, {"a": 1}, {"a": "not base64!"}, {"a": {"b": "YQ=="}}, None]
)
def test_a_row_whose_fields_are_no_sessions_is_a_missing_session(alias, valkey, caplog, fields):
    session_key = saved(a="canary")
    put(alias, session_key, fields)
    valkey.flushall()
    with caplog.at_level(logging.WARNING, "django.security"):
        assert content(session_key) == {}
    assert "its row in the database is damaged" in caplog.text
    assert session_key not in caplog.text
    assert not SessionStore().exists(session_key)


def test_a_row_of_a_later_format_is_unavailable_and_keeps_its_session_key(alias, valkey):
    session_key = saved(a=1)
    put(alias, session_key, {"a": "FQ=="})
    valkey.flushall()
    session = SessionStore(session_key)
    with pytest.raises(UnknownFormat):
        session.get("a")
    assert session.session_key == session_key


def test_a_row_of_an_unknown_format_is_a_missing_session(alias, valkey, caplog):
    session_key = saved(a=1)
    put(alias, session_key, {"a": "Bw=="})
    valkey.flushall()
    with caplog.at_level(logging.WARNING, "django.security"):
        assert content(session_key) == {}
    assert "rejected" in caplog.text


def test_values_swapped_between_two_rows_are_refused(alias, valkey):
    mine, theirs = saved(role="visitor"), saved(role="admin")
    put(alias, mine, fields_of(alias, theirs))
    valkey.flushall()
    session = SessionStore(mine)
    assert session.get("role") is None


def test_values_swapped_between_two_fields_are_refused(alias, valkey):
    session_key = saved(role="visitor", name="admin")
    fields = fields_of(alias, session_key)
    put(alias, session_key, {"role": fields["name"], "name": fields["role"]})
    valkey.flushall()
    assert SessionStore(session_key).get("role") is None


def test_neither_session_keys_nor_values_lie_in_the_database(alias):
    session_key = saved(note="canary in a value")
    found = repr(run(alias, f"SELECT * FROM {TABLE}"))
    assert session_key not in found
    assert "canary" not in found


@pytest.mark.parametrize(
    "name", ["nul\0", "\ud800", "~base64:", "~", 'quo"te', "%s", "{now}", "ключ"]
)
def test_any_field_name_survives_in_a_row(alias, valkey, name):
    session = SessionStore(saved(**{name: 1, "other": 2}))
    session[name] = 3
    session.save()
    valkey.flushall()
    assert content(str(session.session_key)) == {name: 3, "other": 2}
    session = SessionStore(session.session_key)
    del session[name]
    session.save()
    valkey.flushall()
    assert content(str(session.session_key)) == {"other": 2}


def test_a_clock_that_differs_from_the_databases_ends_no_session(alias, valkey, monkeypatch):
    session = SessionStore()
    session["a"] = 1
    session.set_expiry(60)
    session.save()
    valkey.flushall()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert SessionStore(session.session_key)["a"] == 1
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    assert SessionStore(session.session_key)["a"] == 1


def test_a_session_that_expired_in_the_database_is_missing(alias, valkey):
    session_key = saved(a=1)
    valkey.flushall()
    run(alias, f"UPDATE {TABLE} SET expires = 1")
    assert content(session_key) == {}
    SessionStore.clear_expired()
    assert list(run(alias, f"SELECT * FROM {TABLE}")) == []


def test_an_expired_row_stays_a_day_for_what_may_wait_in_the_cache(alias):
    session_key, other = saved(a=1), saved(a=1)
    now = int(time.time())
    for key, age in ((session_key, 3600), (other, row_upkeep.GRACE_SECONDS + 60)):
        run(alias, f"UPDATE {TABLE} SET expires = %s WHERE sid = %s", now - age, sid(key))
    SessionStore.clear_expired()
    assert run(alias, f"SELECT sid FROM {TABLE}") in ([(sid(session_key),)], ((sid(session_key),),))


def test_a_row_that_the_cache_is_to_be_told_of_never_goes(alias):
    ended, _ = saved(a=1), saved(a=1)
    SessionStore().delete(ended)
    run(alias, f"UPDATE {TABLE} SET expires = 1, cache_stale = TRUE")
    found = row_upkeep.delete_expired(connections[alias], None, 100)
    assert found.deleted == 0
    run(alias, f"UPDATE {TABLE} SET cache_stale = NULL")
    assert row_upkeep.delete_expired(connections[alias], None, 100).deleted == 2


def test_the_row_of_an_ended_session_stays_longer_than_any_copy_of_it(alias, settings):
    settings.SESSION_COOKIE_AGE = 40 * 86_400
    session_key = saved(a=1)
    SessionStore().delete(session_key)
    SessionStore.clear_expired()
    [[ended, expires]] = run(alias, f"SELECT is_ended, expires FROM {TABLE}")
    assert ended
    assert expires - time.time() > 40 * 86_400 - 60


def test_clearing_out_goes_along_the_primary_key(alias, monkeypatch):
    keys = [saved(a=1) for _ in range(7)]
    gone = keys[::2]
    for session_key in gone:
        run(alias, f"UPDATE {TABLE} SET expires = 1 WHERE sid = %s", sid(session_key))
    swept, last = 0, None
    while True:
        found = row_upkeep.delete_expired(connections[alias], last, 3)
        swept, last = swept + found.deleted, found.last
        if last is None:
            break
    assert swept == len(gone)
    assert {found for [found] in run(alias, f"SELECT sid FROM {TABLE}")} == {
        sid(session_key) for session_key in keys[1::2]
    }


def test_a_database_without_the_migration_is_named(alias, valkey, caplog):
    session_key = saved(a=1)
    valkey.flushall()
    run(alias, f"ALTER TABLE {TABLE} RENAME TO away")
    with pytest.raises(SessionStoreUnavailable, match=f'migrate --database={alias}"'):
        content(session_key)


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_a_read_only_database_is_named(valkey, fallback_database, vendor):
    alias = fallback_database(vendor)
    session_key = saved(a=1)
    run(
        alias,
        "PRAGMA query_only = 1"
        if vendor == "sqlite"
        else "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    )
    with pytest.raises(DatabaseUnavailable, match="it is read-only"):
        Statement(alias, rows.end, ((b"0" * 16,),), {"cache_stale": False}).run()
    # What is in the cache is served, and what is saved there waits.
    session = SessionStore(session_key)
    session["a"] = 2
    session.save()
    assert content(session_key) == {"a": 2}


def test_a_database_without_a_connection_to_spare_is_away_not_empty(valkey, fallback_database):
    alias = fallback_database("postgresql")
    session_key, other = saved(a=1), saved(a=1)
    role = f"role_{alias}"
    run(alias, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    connections[alias].close()
    connections[alias].settings_dict["USER"] = role
    session = SessionStore(session_key)
    session["a"] = 2
    session.save()
    assert content(session_key) == {"a": 2}
    valkey.delete(get_configuration().naming.session(other).hash_key)
    with pytest.raises(SessionStoreUnavailable):
        content(other)
    connections[alias].settings_dict["USER"] = "postgres"
    wait_until(lambda: is_loaded(other), what="the database to be asked again")
    assert content(session_key) == {"a": 2}
    run(alias, f"DROP ROLE {role}")


def is_loaded(session_key: str) -> bool:
    try:
        return content(session_key) == {"a": 1}
    except SessionStoreUnavailable:
        return False


def test_an_alias_that_does_not_exist_is_named(settings, valkey):
    settings.ELASTICACHE_SESSIONS = {"FALLBACK_DATABASE": "nowhere"}
    with pytest.raises(ImproperlyConfigured, match="'nowhere', which DATABASES does not have"):
        saved(a=1)


def test_a_row_larger_than_the_database_takes_is_named(valkey, settings, fallback_database):
    alias = fallback_database("mysql")
    settings.ELASTICACHE_SESSIONS |= {
        "MAX_SESSION_BYTES": 2**26,
        "COMPRESS_ABOVE_BYTES": None,
        "DATABASE_TIMEOUT": 60,
    }
    [[limit]] = run(alias, "SELECT @@max_allowed_packet")
    session_key = saved(a=1)
    session = SessionStore(session_key)
    session["a"] = "x" * (limit // 4 * 3)
    with pytest.raises(SessionTooLarge, match="MAX_SESSION_BYTES"):
        session.save()
    assert content(session_key) == {"a": 1}


class _Cause(Exception):
    def __init__(self, *args: object, sqlstate: str | None = None) -> None:
        super().__init__(*args)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    "cause", [_Cause(sqlstate="40001"), _Cause(sqlstate="40P01"), _Cause(1213), _Cause(1020)]
)
def test_deadlocks_and_serialization_failures_are_tried_again(fallback_database, cause):
    alias = fallback_database("sqlite")
    attempts = []

    def statement(connection, fails: int) -> str:
        attempts.append(connection)
        if len(attempts) <= fails:
            raise OperationalError("a text with a value") from cause
        return "done"

    assert Statement(alias, statement, (ATTEMPTS - 1,)).run() == "done"
    attempts.clear()
    with pytest.raises(DatabaseUnavailable) as caught:
        Statement(alias, statement, (ATTEMPTS,)).run()
    assert "a value" not in str(caught.value)
    assert len(attempts) == ATTEMPTS
    attempts.clear()
    # A transaction that failed has not what it had before, and the cache must not take its place.
    with pytest.raises(SessionStoreUnavailable) as caught, transaction.atomic(using=alias):
        Statement(alias, statement, (1,)).run()
    assert not isinstance(caught.value, DatabaseUnavailable)
    assert len(attempts) == 1


def test_a_connection_that_died_while_idle_costs_no_request(valkey, fallback_database):
    alias = fallback_database("postgresql")
    session_key = saved(a=1)
    valkey.flushall()
    [[pid]] = run(alias, "SELECT pg_backend_pid()")
    with database("postgresql") as other:
        run(other, "SELECT pg_terminate_backend(%s)", pid)
    assert content(session_key) == {"a": 1}


def test_a_failure_does_not_show_what_was_to_be_written(fallback_database):
    alias = fallback_database("sqlite")

    def statement(connection) -> None:
        raise DatabaseError("UPDATE ... 'canary'")

    with pytest.raises(DatabaseUnavailable) as caught:
        Statement(alias, statement).run()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_migration_is_the_models(settings, django_db_blocker):
    with django_db_blocker.unblock():
        call_command("makemigrations", "django_elasticache_sessions", check=True, dry_run=True)


def test_the_manager_finds_live_sessions_and_those_of_a_user(alias, settings):
    saved(a=1)
    saved(**{SESSION_KEY: "7"})
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a newer key", [settings.SECRET_KEY]
    saved(**{SESSION_KEY: "7"})
    ended = saved(**{SESSION_KEY: "8"})
    SessionStore(ended).delete(ended)
    rows_here = FallbackSession.objects.using(alias)
    assert rows_here.live().count() == 3
    assert rows_here.for_user(User(pk=7)).live().count() == 2
    assert rows_here.for_user(User(pk=8)).live().count() == 0
