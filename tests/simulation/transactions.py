"""A transaction of a request: its begin, commit and rollback are steps too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, transaction

from . import adapter
from .promises import State, Transaction
from .requests import Request, Steps

if TYPE_CHECKING:
    from .world import Actor


@dataclass(eq=False)
class _Step:
    """A step that asks the database on an actor's connection."""

    alias: str
    actor: Actor


class Begin(_Step):
    """BEGIN; SQLite takes its lock here."""

    def run(self) -> None:
        """Do it."""
        around = transaction.atomic(using=self.alias)
        try:
            around.__enter__()
        except DatabaseError as error:
            raise adapter.problem("database", str(error)) from None
        self.actor.around = around


class Rollback(_Step):
    """ROLLBACK."""

    def run(self) -> None:
        """Do it."""
        around, self.actor.around = self.actor.around, None
        connections[self.alias].needs_rollback = True
        around.__exit__(None, None, None)


class Commit(_Step):
    """COMMIT; returns the operations that were left for after it."""

    def run(self) -> list[Any]:
        """Do it."""
        around, self.actor.around = self.actor.around, None
        driver = self.actor.process.driver
        driver.collected = []
        try:
            around.__exit__(None, None, None)
            return driver.collected
        finally:
            driver.collected = None

    def run_and_lose_reply(self) -> None:
        """Do it, so that the process does not know; nothing runs after it."""
        connection = connections[self.alias]
        connection.run_on_commit = []
        connection.connection.commit()


def begin(request: Request) -> Steps:
    """Enter transaction.atomic()."""
    yield Begin(request.world.alias, request.actor)
    request.actor.transaction = Transaction(request.actor.index)


def rollback(request: Request) -> Steps:
    """Leave it by an exception."""
    around = request.transaction
    if around is None:
        return
    try:
        yield Rollback(request.world.alias, request.actor)
    finally:
        _close(request, around, State.UNDONE)


def commit(request: Request) -> Steps:
    """Leave it."""
    around = request.transaction
    if around is None:
        return
    around.commit_began = request.now
    step = Commit(request.world.alias, request.actor)
    try:
        left = yield step
    except Exception:
        # Refused, or done and nobody knows.
        _close(request, around, State.UNKNOWN)
        raise
    request.actor.is_committed = True
    for operation in left:
        yield from operation
    _close(request, around, State.ACKNOWLEDGED)
    for visitor, key in request.actor.cookies.items():
        request.world.cookies[visitor] = key
    request.actor.cookies = {}


def _close(request: Request, around: Transaction, state: State) -> None:
    request.ledger.settle(around, state, request.now)
    if request.actor.has_lost_connection or state is State.UNKNOWN:
        request.world.stage.hang_up(request.actor.index)
    request.actor.transaction = request.actor.around = None
    request.actor.has_lost_connection = request.actor.is_committed = False
    if state is not State.ACKNOWLEDGED:
        request.actor.cookies = {}


TRANSACTIONS = {"begin": begin, "commit": commit, "rollback": rollback}
