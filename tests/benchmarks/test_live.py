"""What the benchmark of many live sessions is made of."""

from __future__ import annotations

import pytest

from benchmarks import live as benchmark
from django_elasticache_sessions import homes, live
from django_elasticache_sessions.conf import CACHED_DB_ENGINE
from django_elasticache_sessions.purge import Selection, purge

from ..contents import session_hashes, stored_keys

SESSIONS = 60


@pytest.fixture
def cached_db(settings, valkey, fallback_database) -> None:
    settings.SESSION_ENGINE = CACHED_DB_ENGINE
    fallback_database("sqlite")


def test_sessions_of_the_cache_engine_are_filled_in(valkey):
    benchmark._fill(SESSIONS)
    assert sum(live.count()) == SESSIONS
    assert len(session_hashes(valkey)) == SESSIONS


def test_sessions_of_the_cached_db_engine_are_in_both_homes(valkey, cached_db):
    benchmark._fill(SESSIONS, with_rows=True)
    assert live.count() == (SESSIONS // 2, SESSIONS // 2)
    assert len(session_hashes(valkey)) == SESSIONS


def test_a_purge_leaves_nothing_though_it_marks_more_rows_than_a_request_mends(
    valkey, cached_db, monkeypatch
):
    # Others' marks are looked for before each command of this process.
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 0)
    monkeypatch.setattr(homes, "_BATCH", 1)
    benchmark._fill(SESSIONS, with_rows=True)
    assert purge(Selection(), progress=lambda _: None).ended == SESSIONS
    assert sum(live.count()) == 0
    assert stored_keys(valkey) == []
