"""The driver for threads: runs an operation over connections that redis-py has made.

It keeps the connections it has checked out of its pool, the last used on top, instead of returning
them after each command: a pool's checkout costs as much as the command itself. What the checkout
would find out, that an idle connection is dead, is found out by the command, which is then sent
once more over a fresh connection; every operation may safely run twice.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Any, TypeVar, cast

from django.contrib.sessions.backends.base import CreateError
from django.core.signals import setting_changed
from redis.connection import BlockingConnectionPool, ConnectionPool

from .. import homes, transactions
from ..breaker import Patience
from ..conf import DEFAULT_TIMEOUT_SECONDS, get_outline
from ..exceptions import (
    InvalidValue,
    SessionStoreError,
    SessionStoreUnavailable,
)
from ..forks import after_fork
from ..health import Health
from ..operations import ORIGIN, Command, Operation
from . import limits
from .failures import note_failure
from .leads import make_lead
from .lines import Line
from .origin import REPLICA, Primary, locate
from .pools import is_cluster, make_pool
from .protocols import ServerConnection, ServerPool
from .replies import WIRE_ERRORS, ErrorReply, deserves_second_attempt, is_replica, settle
from .sentinels import sentinels_of

T = TypeVar("T")


class Driver:
    """Runs operations against one server, from any number of threads."""

    #: Whether its name leads to another server after a failover.
    follows_name = True

    def __init__(self, pool: ConnectionPool, health: Health) -> None:
        """Take a pool that nobody else uses."""
        self.pool = pool
        self.health = health
        self.patience = Patience()
        self.primary = Primary()
        self._lead = make_lead(pool, self.primary, follows_name=self.follows_name)
        self._sentinels = sentinels_of(pool, self._lead)
        self._connections = cast(ServerPool, pool)
        # A blocking pool counts on connections coming back to it.
        self._keeps = not isinstance(pool, BlockingConnectionPool)
        self._idle: deque[Line] = deque()
        self._lines: dict[ServerConnection, Line] = {}
        self._queue = limits.Queue()
        self._wait_seconds = pool.connection_kwargs.get("socket_timeout") or DEFAULT_TIMEOUT_SECONDS
        self._pid = os.getpid()

    @property
    def is_left_alone(self) -> bool:
        """Whether the server kept callers waiting, and is asked only now and then."""
        return self.patience.is_at_an_end

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its end. Raises what it raises, and `SessionStoreUnavailable`."""
        try:
            step = next(operation)
            while True:
                try:
                    result = self._exchange(step) if isinstance(step, tuple) else step.run()
                except (SessionStoreError, InvalidValue, CreateError) as problem:
                    step = operation.throw(problem)
                else:
                    step = operation.send(result)
        except StopIteration as stop:
            returned: T = stop.value
            return returned

    def leave(self) -> None:
        """Have every connection made anew: the server's name may lead to another by now."""
        self.primary.leave()

    def close(self) -> None:
        """Close every idle connection."""
        self._idle.clear()
        self._lines.clear()
        self.pool.disconnect()
        if self._sentinels is not None:
            self._sentinels.close()

    def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        began = self.patience.begin()
        if self._sentinels is not None and self._lead.claims_look():
            number = self._lead.number
            self._lead.led_to(self._sentinels.look(), number)
        try:
            line, reused = self._checkout()
            try:
                if commands[-1] is ORIGIN:
                    replies = self._locate(line, commands, reused=reused)
                elif self.follows_name and not line.origin.is_confirmed:
                    replies = self._confirm(line, commands, reused=reused)
                else:
                    replies = self._send(line, commands, reused=reused)
            finally:
                self._put_back(line)
        except SessionStoreUnavailable as problem:
            self.patience.answered()
            self.health.failed(problem)
            raise
        except WIRE_ERRORS as error:
            failure = note_failure(self, error, began)
        else:
            if not self.health.is_up:
                self.patience.answered()
                self.health.answered()
            return replies
        raise failure

    def _send(self, line: Line, commands: Sequence[Command], *, reused: bool) -> list[Any]:
        return self._settled(line, commands, self._sent(line, commands, reused=reused))

    def _sent(self, line: Line, commands: Sequence[Command], *, reused: bool) -> list[Any]:
        limit = get_outline().load_limit_bytes
        try:
            return line.exchange(commands, limit)
        except WIRE_ERRORS as error:
            if not (reused and deserves_second_attempt(error)):
                raise
            return line.exchange(commands, limit)

    def _settled(self, line: Line, commands: Sequence[Command], replies: list[Any]) -> list[Any]:
        for reply in replies:
            if type(reply) is ErrorReply:
                return self._settle(line, commands, replies, get_outline().load_limit_bytes)
        return replies

    def _settle(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        mending = settle(commands, replies)
        try:
            again = next(mending)
            while True:
                if again.fresh:
                    line.hang_up()
                    self.primary.leave()
                again = mending.send(line.exchange(again.commands, limit))
        except StopIteration as stop:
            settled: list[Any] = stop.value
            return settled

    def _confirm(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        """Have commands answered, but by no replica."""
        *replies, info = self._sent(line, (*commands, ORIGIN), reused=reused)
        if line.origin.confirms(info):
            return self._settled(line, commands, replies)
        # A demoted primary: see settle().
        line.hang_up()
        self.primary.leave()
        if not reused:
            raise is_replica()
        return self._confirm(line, commands, reused=False)

    def _locate(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        is_news = reused and not line.origin.is_known
        replies = self._located(line, commands, reused=reused)
        if not (is_news and self.follows_name and replies[-1] == REPLICA):
            return replies
        # A demoted primary: see settle().
        line.hang_up()
        self.primary.leave()
        return self._located(line, commands, reused=False)

    def _located(self, line: Line, commands: tuple[Command, ...], *, reused: bool) -> list[Any]:
        locating = locate(lambda: line.origin, commands)
        try:
            commands = next(locating)
            while True:
                commands = locating.send(self._send(line, commands, reused=reused))
        except StopIteration as stop:
            located: list[Any] = stop.value
            return located

    def _checkout(self) -> tuple[Line, bool]:
        if self._pid != os.getpid():
            # A fork that Python was not told of, as uWSGI's are by default: see _begin_anew().
            self._idle = deque()
            self._lines = {}
            self._queue = limits.Queue()
            self._pid = os.getpid()
        if not self._queue.waiting:
            try:
                line = self._idle.pop()
                if line.is_open:
                    return line, True
                self._idle.append(line)
            except IndexError:
                pass
            try:
                return self._take()
            except WIRE_ERRORS as error:
                # A blocking pool has waited.
                if limits.reason(error) is None or not self._keeps:
                    raise
        return self._queue.wait(self._take, self._wait_seconds)

    def _take(self) -> tuple[Line, bool]:
        """Return a line, and whether it was used before. Raises at a limit without waiting."""
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                return self._new_line()
            if line.is_open:
                return line, True
            try:
                line.open()
                return line, True
            except WIRE_ERRORS as error:
                self._idle.appendleft(line)
                is_limit = limits.reason(error) is not None
                if not (is_limit and any(other.is_open for other in tuple(self._idle))):
                    raise

    def _new_line(self) -> tuple[Line, bool]:
        number = self._lead.number
        try:
            connection = self._connections.get_connection()
        except WIRE_ERRORS as error:
            if limits.reason(error) is None:
                # Its place is free again.
                self._queue.wake()
            raise
        if self._keeps:
            return Line(connection, self._lead, number), False
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = Line(connection, self._lead, number)
        line.asked_at = number
        return line, True

    def _put_back(self, line: Line) -> None:
        if not self._keeps:
            line.release(self._connections)
            return
        self._idle.append(line)
        if self._queue.waiting:
            self._queue.wake()


_drivers: dict[str, Driver] = {}
_lock = Lock()


def get_driver(alias: str) -> Driver:
    """Return the process's driver for a cache alias."""
    driver = _drivers.get(alias)
    if driver is None:
        with _lock:
            driver = _drivers.get(alias)
            if driver is None:
                driver = _drivers[alias] = make_driver(alias)
    return driver


def make_driver(alias: str, health_class: type[Health] = Health) -> Driver:
    """Make a driver for a cache alias, of a server or of a cluster."""
    if is_cluster(alias):
        # It is made of drivers like those here.
        from .cluster.sync import ClusterDriver

        return ClusterDriver(alias, health_class)
    return Driver(make_pool(alias), health_class(alias))


def _run_deferred(operation: Operation[Any]) -> None:
    get_driver(get_outline().alias).run(operation)


def _leave(alias: str) -> None:
    get_driver(alias).leave()


def _forget_drivers(*, setting: str, **kwargs: Any) -> None:
    if setting == "CACHES":
        while _drivers:
            _drivers.popitem()[1].close()


@after_fork
def _begin_anew() -> None:
    global _lock
    _lock = Lock()
    # Not closed: see forks. redis-py would wait for the locks of its pools.
    _drivers.clear()


setting_changed.connect(_forget_drivers, dispatch_uid="django_elasticache_sessions.drivers.sync")
transactions.set_runner(_run_deferred)
homes.set_leaver(_leave)
