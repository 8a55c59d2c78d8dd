"""The processes of one simulation, and what the scheduler does to them."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

from django_elasticache_sessions.exceptions import SessionEnded, SessionStoreUnavailable

from . import adapter, previous
from .doing import OPERATIONS
from .excuses import may_be_unavailable
from .fates import Blocked, Killed, answer
from .ledger import Ledger
from .promises import Key, State, Transaction
from .requests import Request, Steps
from .schedule import EVERYBODY, At, Fault, Op, Schedule
from .servers import Server
from .stage import Stage
from .transactions import TRANSACTIONS

_ALL = {**OPERATIONS, **TRANSACTIONS}
_OLD = {**dict.fromkeys(_ALL, previous.nothing), **previous.OPERATIONS}
_ENGINES = "django.contrib.sessions.backends."
_OPENING = (Op("login", 0), Op("create", 1))


class Actor:
    """A thread of a process, which does one operation after the other."""

    def __init__(self, index: int, process: adapter.Process, ops: Collection[Op]) -> None:
        """Take what it is to do."""
        self.index, self.process, self.ops = index, process, list(ops)
        self.number = 0
        self.exchange = 0
        self.request: Request | None = None
        self.steps: Steps | None = None
        self.step: Any = None
        self.is_blocked = False
        #: Of an open transaction: its context manager, and what the visitor was not told yet.
        self.around: Any = None
        self.transaction: Transaction | None = None
        self.cookies: dict[int, Key] = {}
        self.is_cut_off = False
        self.has_lost_connection = False
        #: The transaction has committed; what was left for after it is being done.
        self.is_committed = False

    @property
    def at(self) -> At:
        """The exchange that it comes to next."""
        return self.index, self.number, self.exchange

    @property
    def is_done(self) -> bool:
        """Whether it has nothing more to do."""
        return self.steps is None and self.number >= len(self.ops)


class World:
    """Processes over one cache and one database, and what has been promised."""

    def __init__(self, stage: Stage, schedule: Schedule, without: Collection[str] = ()) -> None:
        """Begin with two sessions, which nobody has touched for a while."""
        self.stage, self.schedule = stage, schedule
        self.clock, self.alias, self.tick = stage.clock, stage.alias, 0
        self.ledger = Ledger(engine=stage.engine, writes=stage.writes, without=without)
        numbers = schedule.processes or tuple(range(len(schedule.actors)))
        self.processes = stage.reset(max(numbers, default=0) + 1)
        self.actors = [
            Actor(index, self.processes[numbers[index]], ops)
            for index, ops in enumerate(schedule.actors)
        ]
        self.cookies: dict[int, Key] = {}
        self.away: set[tuple[str, int]] = set()
        #: With the server that each is for, and since when.
        self.held: list[tuple[int, Any, Any, float]] = []
        self.snapshot: Any = None
        self.log: list[str] = []
        self.trouble_seconds = -1000.0
        self.has_had_trouble = self.has_database_failed = self.has_previous_failed = False
        #: Whether both stores are there, and have been for a while.
        self.is_calm = False
        #: Whether everybody has had the time to notice everything.
        self.is_settled = False
        self._values = itertools.count(1)
        self.primary = stage.servers[0]
        #: The primary before the last failover.
        self.demoted: Server | None = None
        #: The process that was restarted last, whose settings are in force once it is at work.
        self.mover: adapter.Process | None = None
        self.previous = (
            schedule.previous and f"django.contrib.sessions.backends.{schedule.previous}"
        )
        self._open()
        self.pass_time(adapter.CALM_SECONDS)

    def _open(self) -> None:
        first = self.processes[0]
        first.keys, first.is_old = adapter.OLDER, bool(self.previous)
        for op in _OPENING:
            self.do(first, op)
        first.keys = adapter.NEWER
        for number, process in enumerate(self.processes):
            process.is_old = number in self.schedule.old
            process.previous = "" if process.is_old else self.previous

    @property
    def ours(self) -> list[adapter.Process]:
        """The processes with the engine that is simulated."""
        return [process for process in self.processes if not process.is_old]

    # What the operations ask.

    def new_value(self) -> int:
        """Return a value that nobody has written."""
        return next(self._values)

    def cookie_of(self, visitor: int) -> Key | None:
        """Return the key that a visitor sends."""
        return self.cookies.get(visitor)

    def give_cookie(self, actor: Actor, visitor: int, old: Key | None, new: Key) -> None:
        """Have a visitor send another key from now on, or once the transaction has committed."""
        if actor.transaction is not None:
            actor.cookies[visitor] = new
        elif old is None or self.cookies.get(visitor) is old:
            self.cookies[visitor] = new

    def is_unnoticed(self, began_seconds: float) -> bool:
        """Tell whether the cache was in trouble so shortly before that others may not know."""
        return (
            not self.is_settled
            and self.trouble_seconds >= began_seconds - adapter.UNNOTICED_SECONDS
        )

    def is_crosswise(self, actor: Actor) -> bool:
        """Tell whether an actor is without the database, and the cache was away for somebody."""
        is_without = actor.process.is_without_database or self.is_away("database", actor)
        return is_without and self.trouble_seconds > 0 and not self.is_settled

    def note_trouble(self, kind: str) -> None:
        """Note that a store failed somebody."""
        if self.is_settled:
            return
        self.has_had_trouble = True
        if kind == "cache":
            self.trouble_seconds = self.clock.seconds
        elif kind == "previous":
            self.has_previous_failed = True
        else:
            self.has_database_failed = self.ledger.has_database_failed = True

    def note_synchronized(self) -> None:
        """Note that nothing waits in the cache."""
        is_avoided = any(process.is_without_database for process in self.processes)
        if not self.held and not self.is_anything_away and not is_avoided:
            self.ledger.has_database_failed = False

    @property
    def is_anything_away(self) -> bool:
        """Whether a store is unreachable for somebody."""
        return bool(self.away)

    def is_away(self, kind: str, actor: Actor) -> bool:
        """Tell whether a store is unreachable for an actor's process."""
        number = self.processes.index(actor.process) if actor.process in self.processes else 0
        kind = "database" if kind == "previous" else kind
        return (kind, EVERYBODY) in self.away or (kind, number) in self.away

    # What the scheduler does.

    def advance(self, actor: Actor, fate: Fault | None = None) -> None:
        """Do the next exchange of an actor, or none if it is blocked."""
        if actor.steps is None and not self._begin(actor):
            return
        problem: Exception | None = None
        result = None
        try:
            result = answer(self, actor, adapter.kind_of(actor.step), fate)
        except Blocked:
            actor.is_blocked = True
            return
        except Killed as killed:
            self._die(actor, killed)
            return
        except Exception as error:
            problem = error
        # Not while the error is being handled: it would become its own context.
        self._resume(actor, result=result, problem=problem)
        for one in self.actors:
            one.is_blocked = False

    def prime(self, actor: Actor) -> bool:
        """Have an actor come to its next exchange; tell whether there is one."""
        return actor.steps is not None or self._begin(actor)

    def _begin(self, actor: Actor) -> bool:
        while actor.number < len(actor.ops):
            op = actor.ops[actor.number]
            if actor.is_cut_off and op.kind in ("commit", "rollback"):
                actor.is_cut_off = False
            elif not actor.is_cut_off and (op.kind == "begin") <= (actor.transaction is None):
                key = actor.cookies.get(op.visitor) or self.cookie_of(op.visitor)
                actor.request = Request(self, actor, op, key, self.tick, self.clock.seconds)
                actor.steps, actor.exchange = _steps(actor.request), 0
                self._enter(actor)
                self._resume(actor)
                if actor.steps is not None:
                    return True
                continue
            actor.number += 1
            actor.exchange = 0
        return False

    def _enter(self, actor: Actor) -> None:
        actor.process.enter(self.stage.connection(actor.index), self.clock)
        self.stage.tick_database()

    def _resume(self, actor: Actor, *, result: Any = None, problem: Any = None) -> None:
        assert actor.steps is not None
        self._enter(actor)
        if actor.step is not None:
            actor.exchange += 1
        try:
            actor.step = actor.steps.throw(problem) if problem else actor.steps.send(result)
        except StopIteration:
            self._finish(actor, None)
        except Exception as error:
            self._finish(actor, error)

    def _finish(self, actor: Actor, error: Exception | None) -> None:
        request = actor.request
        assert request is not None
        if error is None:
            request.acknowledge()
        else:
            self._fail(request, error)
            if actor.transaction is not None:
                self.undo(actor)
        self._leave(actor)

    def _leave(self, actor: Actor) -> None:
        actor.steps = actor.step = actor.request = None
        actor.number += 1
        actor.exchange = 0
        if actor.transaction is not None and actor.number >= len(actor.ops):
            self.undo(actor)

    def _fail(self, request: Request, error: Exception) -> None:
        request.give_up()
        if isinstance(error, SessionEnded):
            if request.key is not None:
                reading = request.reading((request.began, request.began_seconds, -1))
                request.ledger.check_refused(request.key, request.what, reading, request.promises)
        elif not isinstance(error, SessionStoreUnavailable):
            request.ledger.violated(f"{request.op.kind} raises {type(error).__name__}", str(error))
        elif not may_be_unavailable(self, request):
            when = (
                "when all is well"
                if self.is_calm
                else "though the database is there"
                if self.has_had_trouble
                else "without a fault"
            )
            request.ledger.violated(f"{request.op.kind} is unavailable {when}", str(error))

    def undo(self, actor: Actor) -> None:
        """Roll back an actor's transaction, as a view that fails does."""
        around = actor.transaction
        assert around is not None
        self.stage.hang_up(actor.index)
        self.ledger.settle(around, State.UNDONE, self.tick)
        self._leave_transaction(actor)

    def _leave_transaction(self, actor: Actor) -> None:
        rest = {op.kind for op in actor.ops[actor.number + 1 :]}
        actor.is_cut_off = bool(rest & {"commit", "rollback"})
        actor.transaction = actor.around = None
        actor.has_lost_connection = actor.is_committed = False
        actor.cookies = {}

    def _die(self, actor: Actor, killed: Killed) -> None:
        request = actor.request
        assert request is not None
        request.give_up()
        if killed.is_process:
            actor.process.begin(actor.process.server)
            self._cut_off(actor.process, actor)
        if actor.transaction is None:
            self.stage.hang_up(actor.index)
            actor.around = None
        else:
            is_commit = request.op.kind == "commit"
            state = State.UNKNOWN if is_commit else State.UNDONE
            self.stage.hang_up(actor.index)
            self.ledger.settle(actor.transaction, state, self.tick)
            self._leave_transaction(actor)
            if is_commit:
                actor.is_cut_off = False
        self._leave(actor)

    def _cut_off(self, process: adapter.Process, but: Actor | None = None) -> None:
        for other in self.actors:
            if other is not but and other.process is process and other.steps:
                self._die(other, Killed(is_process=False))

    def restart(self, process: adapter.Process, server: Server) -> None:
        """Have a process end, and one begin that is led to a server which it does not know."""
        self._cut_off(process)
        process.begin(server, is_known=False)

    def other(self, server: Server) -> Server:
        """Return the server that this one is not."""
        return next(one for one in self.stage.servers if one is not server)

    def do(self, process: adapter.Process, op: Op, key: Key | None = None) -> Request:
        """Do a whole operation at once, beside the schedule."""
        actor = Actor(-2, process, [op])
        request = Request(self, actor, op, key or self.cookie_of(op.visitor), self.tick)
        request.began_seconds = self.clock.seconds
        actor.request, actor.steps = request, _steps(request)
        self._enter(actor)
        self._resume(actor)
        while actor.steps is not None:
            self.advance(actor)
        return request

    def pass_time(self, seconds: float) -> None:
        """Have time pass, for the servers too."""
        self.clock.seconds += seconds
        if seconds >= 1:
            for server in self.stage.servers:
                server.pass_time(seconds)


def _steps(request: Request) -> Steps:
    known = _OLD if request.actor.process.is_old else _ALL
    return known[request.op.kind](request)
