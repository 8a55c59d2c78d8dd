"""A session whose row the database refuses is set aside and reported; all others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import OperationalError, connections, transaction

from django_elasticache_sessions import breaker, homes, live
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.synchronization import Pass, synchronize

from .servers.databases import Vendor
from .test_behind import row_version, statements
from .test_what_is_left import TABLE, change, content, database_away, hash_key, saved

VERBS = ("INSERT", "UPDATE")


class Refusal(NamedTuple):
    """What has a database refuse one row, `{sid}`, and what ends that."""

    vendor: Vendor
    begin: Sequence[str]
    end: Sequence[str]


def by_trigger_of_postgresql(state: str) -> Refusal:
    begin = (
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF NEW.sid = '{{sid}}' THEN RAISE EXCEPTION 'canary' USING ERRCODE = '{state}'; END IF; "
        "RETURN NEW; END $$",
        f"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {TABLE} "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    return Refusal("postgresql", begin, (f"DROP TRIGGER refuse ON {TABLE}",))


def by_constraint(vendor: Vendor) -> Refusal:
    constraint = f"ALTER TABLE {TABLE} {{}} CONSTRAINT refuse"
    begin = f"{constraint.format('ADD')} CHECK (sid <> '{{sid}}' OR version < 2)"
    return Refusal(vendor, (begin,), (constraint.format("DROP"),))


TRIGGERS = {
    "sqlite": Refusal(
        "sqlite",
        [
            f"CREATE TRIGGER refuse_{verb} BEFORE {verb} ON {TABLE} WHEN NEW.sid = '{{sid}}' "
            "BEGIN SELECT RAISE(ABORT, 'canary'); END"
            for verb in VERBS
        ],
        [f"DROP TRIGGER refuse_{verb}" for verb in VERBS],
    ),
    "postgresql": by_trigger_of_postgresql("P0001"),
    "mysql": Refusal(
        "mysql",
        [
            f"CREATE TRIGGER refuse_{verb} BEFORE {verb} ON {TABLE} FOR EACH ROW "
            "IF NEW.sid = '{sid}' THEN SIGNAL SQLSTATE '45000'; END IF"
            for verb in VERBS
        ],
        [f"DROP TRIGGER refuse_{verb}" for verb in VERBS],
    ),
}
REFUSALS = TRIGGERS | {
    "postgresql, too long": by_trigger_of_postgresql("22001"),
    "postgresql, a view": by_trigger_of_postgresql("44000"),
    "postgresql, a limit": by_trigger_of_postgresql("54000"),
    "postgresql, a constraint": by_constraint("postgresql"),
    "mysql, a constraint": by_constraint("mysql"),
}


class Refusing:
    """A database that can be made to refuse a session's row."""

    def __init__(self, alias: str, refusal: Refusal) -> None:
        """Take what refuses it."""
        self.alias, self._refusal = alias, refusal

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Refuse to write it meanwhile."""
        digest = get_configuration().naming.session(key).digest.hex()
        self._tell([text.replace("{sid}", digest) for text in self._refusal.begin])
        try:
            yield
        finally:
            self._tell(self._refusal.end)

    def _tell(self, texts: Sequence[str]) -> None:
        with connections[self.alias].cursor() as cursor:
            for text in texts:
                cursor.execute(text)


@pytest.fixture(params=TRIGGERS)
def refusing(request, settings, valkey, fallback_database, monkeypatch) -> Refusing:
    """A database that is asked again at once after each failure."""
    for name in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(breaker, name, 1e-6)
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    refusal = REFUSALS[request.param]
    return Refusing(fallback_database(refusal.vendor), refusal)


def errors(caplog) -> list[str]:
    """Return the errors that were logged since this was asked last."""
    found = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    caplog.clear()
    return found


def is_aside(key: str) -> str:
    """Return how it is reported."""
    sid = get_configuration().naming.session(key).sid
    return (
        f"Session {sid} stays in the cache alone: the database does not take it. It is not lost "
        "while the cache keeps it."
    )


@pytest.mark.parametrize("refusing", REFUSALS, indirect=True)
@pytest.mark.parametrize("by", ["requests", "a pass"])
def test_one_that_is_refused_holds_up_no_other(refusing, valkey, caplog, by):
    keys = [saved(a=1) for _ in range(6)]
    with database_away(refusing.alias):
        for key in keys:
            change(key, a=2)
    refused, others = keys[2], keys[:2] + keys[3:]
    with refusing.of(refused):
        errors(caplog)
        if by == "a pass":
            assert synchronize(batch_size=100) == Pass(saved=5, dropped=0, waiting=1)
        for key in (*others, *keys):
            assert content(key) == {"a": 2}
        assert errors(caplog) == [is_aside(refused)]
        assert [row_version(refusing.alias, key) for key in others] == [2] * 5
        assert row_version(refusing.alias, refused) == 1
    assert synchronize(batch_size=100) == Pass(saved=1, dropped=0, waiting=0)
    valkey.flushall()
    assert [content(key) for key in keys] == [{"a": 2}] * 6


@pytest.mark.parametrize("refusing", ["mysql"], indirect=True)
def test_one_that_fits_in_no_packet_holds_up_no_other(refusing, settings, valkey, caplog):
    settings.ELASTICACHE_SESSIONS |= {
        "MAX_SESSION_BYTES": 2**26,
        "COMPRESS_ABOVE_BYTES": None,
        "FALLBACK_WRITES": "behind",
    }
    large, other = saved(a=1), saved(a=1)
    with connections[refusing.alias].cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    change(large, b="x" * (limit // 4 * 3))
    change(other, a=2)
    assert synchronize(batch_size=100) == Pass(saved=1, dropped=0, waiting=1)
    assert errors(caplog) == [is_aside(large)]
    assert SessionStore(large)["a"] == 1
    # It is taken once it is small enough.
    session = SessionStore(large)
    del session["b"]
    session.save()
    assert content(large) == {"a": 1}
    assert synchronize(batch_size=100).waiting == 0
    valkey.flushall()
    assert (content(large), content(other)) == ({"a": 1}, {"a": 2})


def test_one_that_is_refused_costs_other_requests_nothing(refusing, monkeypatch):
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600.0)
    refused, other = saved(a=1), saved(a=1)
    with database_away(refusing.alias):
        change(refused, a=2)
    with refusing.of(refused):
        for key in (refused, other):
            content(key)
        asked = statements(refusing.alias)
        for _ in range(5):
            assert content(other) == {"a": 1}
        assert asked == []


def test_its_own_requests_go_on_in_the_cache(refusing, valkey, caplog):
    known, other = saved(a=1), saved(a=1)
    with database_away(refusing.alias):
        new = saved(a=1)
    for key in (known, new):
        with refusing.of(key):
            errors(caplog)
            for number in (2, 3):
                change(key, a=number)
                assert content(key) == {"a": number}
                # The database serves all the while.
                change(other, a=number)
            assert row_version(refusing.alias, other) > 1
            assert errors(caplog) == [is_aside(key)]
        assert content(key) == {"a": 3}
        valkey.flushall()
        assert content(key) == {"a": 3}


def test_a_new_one_is_made_in_the_cache(refusing, valkey, monkeypatch):
    key = "k" * 40
    monkeypatch.setattr(SessionStore, "_get_new_session_key", lambda self: key)
    with refusing.of(key):
        assert saved(a=1) == key
        assert content(key) == {"a": 1}
    assert content(key) == {"a": 1}
    valkey.flushall()
    assert content(key) == {"a": 1}


def test_an_end_that_is_refused_holds_up_no_other_and_stays(refusing, valkey, caplog):
    keys = [saved(a=1) for _ in range(3)]
    refused = keys[0]
    with refusing.of(refused):
        with database_away(refusing.alias):
            for key in keys:
                SessionStore(key).delete(key)
        errors(caplog)
        assert synchronize(batch_size=100) == Pass(saved=2, dropped=0, waiting=1)
        assert errors(caplog) == [is_aside(refused)]
        assert [content(key) for key in keys] == [{}] * 3
        SessionStore(refused).delete(refused)
        assert valkey.exists(hash_key(refused))
    assert synchronize(batch_size=100).saved == 1
    assert not valkey.keys("*:pending")
    valkey.flushall()
    assert [content(key) for key in keys] == [{}] * 3


def test_an_end_of_all_of_a_users_that_is_refused_is_told_and_completed_later(refusing, valkey):
    keys = [saved(**{SESSION_KEY: "7"}) for _ in range(3)]
    with refusing.of(keys[0]):
        ended = live.end_for_user("7")
        assert (ended, ended.is_complete) == (3, False)
        assert [content(key) for key in keys] == [{}] * 3
        assert synchronize(batch_size=100).waiting == 1
    assert synchronize(batch_size=100).waiting == 0
    valkey.flushall()
    assert [content(key) for key in keys] == [{}] * 3
    ended = live.end_for_user("7")
    assert (ended, ended.is_complete) == (0, True)


def test_an_end_of_all_of_a_users_whose_statement_fails_once_is_told(refusing, valkey):
    keys = [saved(**{SESSION_KEY: "7"}) for _ in range(3)]
    failed: list[str] = []

    def fail_once(execute, sql, params, many, context):
        if "is_ended = TRUE" in sql and not failed:
            failed.append(sql)
            raise OperationalError("canceling statement due to statement timeout")
        return execute(sql, params, many, context)

    with connections[refusing.alias].execute_wrapper(fail_once):
        ended = live.end_for_user("7")
    assert (ended, ended.is_complete) == (3, False)
    assert synchronize(batch_size=100).waiting == 0
    valkey.flushall()
    assert [content(key) for key in keys] == [{}] * 3


def test_in_a_transaction_nothing_is_saved_in_the_cache_instead(refusing, valkey):
    key = saved(a=1)
    assert content(key) == {"a": 1}
    with refusing.of(key):
        with pytest.raises(SessionStoreUnavailable), transaction.atomic(using=refusing.alias):
            change(key, a=2)
        assert content(key) == {"a": 1}
