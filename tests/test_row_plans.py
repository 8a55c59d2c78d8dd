"""How the databases look for live sessions among many: by the index, from the place asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY
from django.db import connections

from django_elasticache_sessions import live, row_upkeep, rows
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.models import FallbackSession

MANY = 5_000
#: What has a database know how many rows there are.
ANALYZE = {
    "sqlite": "ANALYZE {table}",
    "postgresql": "VACUUM ANALYZE {table}",
    "mysql": "ANALYZE TABLE {table}",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def alias(request, valkey, settings, fallback_database) -> str:
    """The alias of a database with many rows, which knows how many."""
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    alias = fallback_database(request.param)
    now = int(time.time())
    FallbackSession.objects.using(alias).bulk_create(
        FallbackSession(
            sid=f"{number:032x}",
            fields={"cart": "x" * 500},
            removed={},
            cleared=0,
            user_tag="A" * 22 if number % 2 else "",
            validator="k" * 30,
            clock=1,
            created=now * 1_000_000,
            saved=now,
            expires=now + 1000 + number,
            version=1,
            is_ended=False,
        )
        for number in range(MANY)
    )
    with connections[alias].cursor() as cursor:
        cursor.execute(ANALYZE[request.param].format(table=FallbackSession._meta.db_table))
    return alias


def asked_by(alias: str, question: Callable[[], object]) -> tuple[str, Any]:
    """Return the last statement of a question, and its parameters."""
    asked = []

    def note(execute, sql, params, many, context):
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        question()
    return asked[-1]


def plan_of(alias: str, question: Callable[[], object]) -> str:
    """Return the database's plan for the last statement of a question."""
    connection = connections[alias]
    asked, parameters = asked_by(alias, question)
    how = "EXPLAIN (COSTS OFF)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        cursor.execute(f"{how} {asked}", parameters)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def place_of(number: int) -> str:
    """Return the place of one of the rows among the others."""
    newest = live.page(limit=1).sessions[0]
    expires = int(newest.expires.timestamp()) - MANY + 1 + number
    return f"a{expires}.{'A' * 22}"


def steps_of(alias: str, question: Callable[[], object]) -> int:
    """Return how many thousands of steps SQLite's machine took."""
    steps = 0

    def note() -> int:
        nonlocal steps
        steps += 1
        return 0

    connections[alias].ensure_connection()
    connections[alias].connection.set_progress_handler(note, 1000)
    question()
    connections[alias].connection.set_progress_handler(None, 0)
    return steps


@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.parametrize("kind", ["all", "signed-in", "anonymous"])
@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_a_far_page_begins_in_the_index_of_postgresql_at_its_place(alias, direction, kind):
    place = place_of(MANY // 2)
    plan = plan_of(alias, lambda: live.page(limit=10, kind=kind, **{direction: place}))
    condition = {"after": r"expires <= \d", "before": r"expires >= GREATEST\("}[direction]
    assert re.search(f"Index Cond: .*{condition}", plan)
    assert not re.search("Seq Scan|Bitmap", plan)
    # Sorted is only what expires in the same second.
    assert not re.search("(?<!Incremental) Sort$", plan, re.MULTILINE)


@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.parametrize("kind", ["all", "signed-in", "anonymous"])
@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_a_far_page_begins_in_the_index_of_sqlite_at_its_place(alias, direction, kind):
    place = place_of(MANY // 2)

    def far() -> None:
        live.page(limit=10, kind=kind, **{direction: place})

    bounds = {"after": "(expires>? AND expires<?)", "before": "(expires>?)"}[direction]
    assert bounds in plan_of(alias, far)
    # A row that is passed over takes five steps or more.
    assert steps_of(alias, far) <= 2


def rows_read_by(alias: str, question: Callable[[], object]) -> int:
    """Return how many entries of indexes and rows MariaDB went through."""

    def read() -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(number) for _, number in cursor.fetchall())

    before = read()
    question()
    return read() - before


@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.parametrize("kind", ["all", "signed-in", "anonymous"])
@pytest.mark.parametrize("alias", ["mysql"], indirect=True)
def test_a_far_page_reads_few_rows_of_mariadb(alias, direction, kind):
    place = place_of(MANY // 2)
    page: list[live.Page] = []

    def far() -> None:
        page.append(live.page(limit=10, kind=kind, **{direction: place}))

    assert rows_read_by(alias, far) < 200
    assert len(page[0].sessions) == 10


@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.parametrize("alias", ["mysql"], indirect=True)
def test_a_page_is_whole_though_sessions_end_while_mariadb_is_asked(alias, direction):
    place = place_of(MANY // 2)
    listed = live.page(limit=3, **{direction: place}).sessions
    asked: list[str] = []

    def end_some(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if " LIMIT " in sql and "cache_stale" not in sql:
            asked.append(sql)
            if len(asked) == 1:
                FallbackSession.objects.using(alias).filter(
                    expires__in=[int(session.expires.timestamp()) for session in listed]
                ).update(is_ended=True)
        return result

    with connections[alias].execute_wrapper(end_some):
        page = live.page(limit=10, **{direction: place})
    assert len(asked) == 3
    assert len(page.sessions) == 10
    assert page.older
    assert page.newer


@pytest.mark.parametrize("question", [live.count, live.stats])
def test_live_sessions_are_counted_in_an_index_alone(alias, question):
    plan = plan_of(alias, question)
    if connections[alias].vendor == "postgresql":
        assert "Index Only Scan using elasticache_sessions_live" in plan
        assert "Seq Scan" not in plan
    else:
        assert "USING COVERING INDEX elasticache_sessions_live" in plan


def test_stale_rows_are_looked_for_in_an_index(alias):
    mark = FallbackSession.objects.using(alias).filter(sid__endswith="00")
    mark.update(cache_stale=True)
    connection = connections[alias]
    plan = plan_of(alias, lambda: row_upkeep.stale(connection, 200))
    if connection.vendor == "postgresql":
        assert re.search("Scan (using|on) elasticache_sessions_odd", plan)
        assert "Seq Scan" not in plan
    else:
        assert "USING INDEX elasticache_sessions_odd (cache_stale=?)" in plan


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_ended_rows_are_counted_in_an_index_alone(alias):
    plan = plan_of(alias, live.stats)
    assert plan.count("USING COVERING INDEX elasticache_sessions_odd") == 2


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_a_session_that_lives_has_an_entry_in_three_indexes(alias):
    FallbackSession.objects.using(alias).filter(sid__endswith="00").update(is_ended=True)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"REINDEX TABLE {FallbackSession._meta.db_table}")
        cursor.execute("ANALYZE")
        cursor.execute(
            "SELECT COALESCE(pg_get_expr(indpred, indrelid), ''), reltuples::integer "
            "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            f"WHERE indrelid = '{FallbackSession._meta.db_table}'::regclass ORDER BY 1, 2"
        )
        ended = -(-MANY // 256)
        assert cursor.fetchall() == [
            ("", MANY),
            ("((cache_stale = true) OR is_ended)", ended),
            ("(NOT is_ended)", MANY - ended),
            ("(NOT is_ended)", MANY - ended),
        ]


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "question",
    [
        lambda session_id: live.page(),
        lambda session_id: live.for_user(7),
        live.get,
        lambda session_id: live.get_all([session_id]),
    ],
    ids=["page", "for_user", "get", "get_all"],
)
def test_no_value_leaves_the_database_that_is_not_shown(
    valkey, settings, fallback_database, vendor, question
):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    alias = fallback_database(vendor)
    session = SessionStore()
    session.update({SESSION_KEY: "7", "cart": "0123456789abcdef" * 50_000, 'quo"te ключ ~': 1})
    session.save()
    asked, parameters = asked_by(alias, lambda: question(str(session.session_id)))
    with connections[alias].cursor() as cursor:
        cursor.execute(asked, parameters)
        assert len(repr(cursor.fetchall())) < 1000
    found = live.get(str(session.session_id), with_values=True)
    assert found is not None
    assert found.values == dict(session.items())
    name = get_configuration().naming.from_sid(found.session_id)
    [row] = rows.load(connections[alias], [name.digest]).rows
    assert found.field_sizes == {field: len(value) for field, value in row.fields.items()}


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_a_sample_begins_in_the_index_of_postgresql_at_its_place(alias):
    # No row follows the place; those in front of it are the last statement's.
    plan = plan_of(alias, lambda: live.sample(10))
    assert re.search(r"Index Cond: \(\(sid\)::text < ", plan) or "Index Cond: (sid < " in plan
    assert not re.search("Seq Scan|Bitmap|Sort$", plan, re.MULTILINE)


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_a_sample_begins_in_the_index_of_sqlite_at_its_place(alias):
    assert "(sid<?)" in plan_of(alias, lambda: live.sample(10))
    assert steps_of(alias, lambda: live.sample(10)) <= 2
