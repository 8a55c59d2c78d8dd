"""The fallback database: whether it answers, has its table, and is in step with the cache."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from .. import row_listing
from ..exceptions import DatabaseUnavailable
from ..models import FallbackSession
from ..row_listing import States
from ..statements import Statement
from .findings import Finding, advice, ok, problem


def examine(alias: str) -> Iterator[Finding]:
    """Yield what there is to say about the database with an alias."""
    subject = f"database {alias!r}"
    mend = f"Run: manage.py migrate --database={alias}"
    try:
        states: States = Statement(alias, row_listing.states).run()
        unapplied: list[str] = Statement(alias, _unapplied).run()
    except DatabaseUnavailable as absent:
        yield problem(
            subject,
            str(absent).partition(" Run ")[0],
            mend if "migrate" in str(absent) else f"Look at DATABASES[{alias!r}] and its server.",
        )
        return
    if unapplied:
        yield problem(subject, f"migrations not applied: {', '.join(unapplied)}", mend)
    else:
        live = sum(states.live)
        yield ok(subject, f"answers, {live} sessions, {states.ended} marks of ended ones")
    if states.stale:
        yield advice(
            "waiting for the cache",
            f"{states.stale} sessions are newer in the database than in the cache",
            "They are dropped from the cache before it is read again; manage.py syncsessions does "
            "it now.",
        )
    else:
        yield ok("waiting for the cache", "no session")


def _unapplied(connection: BaseDatabaseWrapper) -> list[str]:
    executor = MigrationExecutor(connection)
    label = FallbackSession._meta.app_label
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == label]
    plan = executor.migration_plan(targets)
    return [migration.name for migration, _ in plan if migration.app_label == label]
