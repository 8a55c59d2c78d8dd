"""Every touch of the package's internals: what a process knows, and how its steps are done.

When the layers below the session stores change, this file is what has to follow.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, Literal

from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_elasticache_sessions import conf, dialects, homes, rows, transactions
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.exceptions import (
    DatabaseBusy,
    DatabaseUnavailable,
    SessionEnded,
    SessionStoreUnavailable,
    TransactionBroken,
)
from django_elasticache_sessions.keyring import KeyRing
from django_elasticache_sessions.operations import Step
from django_elasticache_sessions.previous import Ask
from django_elasticache_sessions.row_servers import UNKNOWN, Standing, name_of
from django_elasticache_sessions.scripts import BY_SHA

from .clock import Clock
from .servers import Server, parsed_reply

#: How long a process waits for an answer, in seconds.
PATIENCE_SECONDS = 0.25
#: How long a process may not notice that others could not reach the cache.
UNNOTICED_SECONDS = homes.RECONCILE_SECONDS
#: After so long no breaker is open, and nothing is left alone.
CALM_SECONDS = 10
#: Whether staff's name for a session, its id, stays the same through a rotation.
ROTATION_KEEPS_ID = True
SOURCES = [script.source for script in BY_SHA.values()]
LOGGERS = ("django_elasticache_sessions", "django.security.SuspiciousSession")
CACHE_ALIAS = "sessions"
Kind = Literal["cache", "database", "previous", "other"]
Sub = Generator[Step, Any, Any]

#: Commands, and functions of statements, that only ask.
_QUESTIONS = frozenset(
    (
        *("HGETALL", "TTL", "TIME", "INFO", "EXISTS", "SCARD", "SSCAN", "ZRANGE"),
        *("load", "states", "stale", "stale_among", "standings", "following", "_of_user"),
        *("find", "since"),
    )
)
#: What the sessions at the beginning are encrypted with is the older of two keys.
OLDER, NEWER = "older", "newer"
ENCRYPTION_KEYS = [b64encode(bytes([number]) * 32).decode() for number in (2, 1)]
_configurations: dict[tuple[str, str], Any] = {}
#: What was entered last, if anything.
_entered: list[Any] = []
#: Servers by port, for the lines that lead to them.
_servers: dict[int, Server] = {}


class SimulatedLine(sync.Line):
    """A connection to a server that is told the time before each exchange."""

    def exchange(self, commands: Any, limit: int) -> list[Any]:
        """See Line.exchange()."""
        server = _servers[self._connection.port]  # type: ignore[attr-defined]
        sent = (server.state(), *server.translate(commands))
        _, *replies = super().exchange(sent, limit)
        return [parsed_reply(*pair) for pair in zip(commands, replies, strict=True)]


class CollectingDriver:
    """Stands in for a process's driver; while a transaction commits, only takes note of work."""

    def __init__(self, driver: sync.Driver) -> None:
        """Take the driver that does the work."""
        self.driver = driver
        self.collected: list[Sub] | None = None

    def __getattr__(self, name: str) -> Any:
        """Be the driver for everything else."""
        return getattr(self.driver, name)

    def run(self, operation: Sub) -> Any:
        """Run an operation, or leave it to the scheduler."""
        if self.collected is None:
            return self.driver.run(operation)
        self.collected.append(operation)
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """A step: a call of the engine of before, by a process of the release before."""

    function: Callable[[], Any]

    def run(self) -> Any:
        """Do it; Django takes a lock for the session's end."""
        try:
            return self.function()
        except UpdateError as error:
            if isinstance(error.__context__, OperationalError):
                raise SessionStoreUnavailable(str(error.__context__)) from None
            raise SessionEnded(str(error)) from None
        except OperationalError as error:
            raise SessionStoreUnavailable(str(error)) from None


class Process:
    """What one process knows, and the server that it reaches."""

    def __init__(self, alias: str, server: Server) -> None:
        """Begin a process."""
        self._alias = alias
        self.server = server
        self._drivers: dict[int, CollectingDriver] = {}
        self.homes = homes.Homes(alias, is_single=True)
        self.ahead_seconds = 0.0
        #: Which keys it has, see `configure`; which engine of before it has, or knows of.
        self.keys, self.previous = NEWER, ""
        #: Whether it is of the release before, with that engine.
        self.is_old = False
        #: Whether the database failed it when last asked.
        self.is_without_database = False

    def begin(self, server: Server, *, is_known: bool = True) -> None:
        """Be a new process, over connections that are there already."""
        self.server = server
        self.homes = homes.Homes(self._alias, is_single=True)
        if is_known:
            # It has met the server that everybody begins with.
            self.homes.standings[_origin(server)] = Standing(1, is_superseded=False)
        self.ahead_seconds = 0.0
        self.is_without_database = False
        for driver in self._drivers.values():
            driver.collected = None
        self.reconnect()

    def reconnect(self) -> None:
        """Have its connections be new ones, as after their server was made a replica."""
        for driver in self._drivers.values():
            for line in driver._idle:
                line.origin = type(line.origin)()

    @property
    def driver(self) -> CollectingDriver:
        """The driver for the server that the process reaches."""
        port = self.server.valkey.port
        if port not in self._drivers:
            self._drivers[port] = make_driver(self.server)
        return self._drivers[port]

    def close(self) -> None:
        """Hang up."""
        for driver in self._drivers.values():
            driver.close()

    def enter(self, connection: BaseDatabaseWrapper, clock: Clock) -> None:
        """Have what runs now be of this process, with a database connection of its own."""
        state = (self.server, self.homes, connection, self.ahead_seconds, self.keys, self.previous)
        if _entered == [state]:
            return
        _entered[:] = [state]
        conf._current = configure(self.keys, self.previous)
        clock.ahead_seconds = self.ahead_seconds
        sync._drivers[CACHE_ALIAS] = self.driver  # type: ignore[assignment]
        homes._homes[CACHE_ALIAS, self._alias, get_configuration().place] = self.homes
        connections[self._alias] = connection


def empty(connection: BaseDatabaseWrapper, server: Server) -> None:
    """Empty the tables, but for the record of a server that is in use."""
    from django.contrib.sessions.models import Session

    from django_elasticache_sessions.models import CacheServer, FallbackSession

    names = FallbackSession._meta.db_table, CacheServer._meta.db_table, Session._meta.db_table
    with connection.cursor() as cursor:
        for name in names:
            _empty_table(cursor, name)
        place, origin = get_configuration().place, _origin(server)
        cursor.execute(
            f"INSERT INTO {names[1]} (name, place, epoch, successor, seen) "
            "VALUES (%s, %s, 1, '', 0)",
            [name_of(place, origin), place],
        )


def _empty_table(cursor: Any, name: str) -> None:
    for _ in range(100):
        try:
            cursor.execute(f"DELETE FROM {name}")
        except OperationalError:
            # PostgreSQL is tidying it up.
            time.sleep(0.05)
        else:
            return


def is_led_astray(process: Process) -> bool:
    """Tell whether a process knows that its server is superseded, and so goes by the rows."""
    return process.homes.standings.get(_origin(process.server), UNKNOWN).is_superseded


def _origin(server: Server) -> bytes:
    return server.id[:8].encode()


def make_driver(server: Server) -> CollectingDriver:
    """Make a driver that leads to a server; `CACHES` has an alias named by its port."""
    driver = sync.make_driver(str(server.valkey.port))
    assert isinstance(driver, sync.Driver)
    return CollectingDriver(driver)


def install(servers: list[Server]) -> None:
    """Have drivers go by the simulated clocks of servers."""
    _servers.update({server.valkey.port: server for server in servers})
    sync.Line = SimulatedLine  # type: ignore[misc]
    conf._patience = lambda alias: PATIENCE_SECONDS
    conf._outline = conf._current = None
    _configurations["", ""] = get_configuration()


def configure(keys: str, previous: str) -> Any:
    """Return the settings with some keys, and with the engine of before, if any."""
    if (keys, previous) not in _configurations:
        current = _configurations["", ""]
        options = current.options
        secrets = options.encryption_keys[1:] if keys == OLDER else options.encryption_keys
        _configurations[keys, previous] = replace(
            current,
            policy=replace(current.policy, ring=KeyRing.from_secrets(secrets)),
            options=replace(options, previous_engines=(previous,) if previous else ()),
        )
    return _configurations[keys, previous]


def uninstall() -> None:
    """Undo install()."""
    _entered.clear()
    _servers.clear()
    _configurations.clear()
    sync.Line = SimulatedLine.__base__  # type: ignore[misc,assignment]
    conf._patience = _PATIENCE
    conf._outline = conf._current = None
    sync._drivers.clear()
    homes._homes.clear()


def set_database_clock(vendor: str, microseconds: int) -> None:
    """Have statements go by a time."""
    now = str(microseconds // 1_000_000)
    dialect = dialects.DIALECTS[vendor]
    if dialect.now != now:
        dialects.DIALECTS[vendor] = replace(dialect, now=now)


def free_database_clock(vendor: str) -> None:
    """Have statements go by the database's clock again."""
    dialects.DIALECTS[vendor] = _DIALECTS[vendor]


def kind_of(step: Step) -> Kind:
    """Tell which store a step asks."""
    if isinstance(step, tuple):
        return "cache"
    if isinstance(step, (Ask, Call)):
        return "previous"
    if isinstance(
        step, (homes.Leave, transactions.Defer, transactions.IsChanged, transactions.IsOpen)
    ):
        return "other"
    return "database" if hasattr(step, "alias") else "other"


def is_read(step: Step) -> bool:
    """Tell whether a step asks the cache for a session."""
    return any(command[0] == "HGETALL" for command in step)  # type: ignore[union-attr]


def is_question(step: Step) -> bool:
    """Tell whether a step changes nothing in its store."""
    if isinstance(step, tuple):
        return all(command[0] in _QUESTIONS for command in step)
    return getattr(getattr(step, "function", None), "__name__", "") in _QUESTIONS


def is_creation(step: Step) -> bool:
    """Tell whether a step makes the row of a new session."""
    return getattr(step, "function", None) is rows.create


def run(process: Process, step: Step) -> Any:
    """Do a step, and return what its operation is told."""
    return process.driver._exchange(step) if isinstance(step, tuple) else step.run()


def problem(
    kind: Kind, text: str, *, in_transaction: bool = False, is_held: bool = False
) -> Exception:
    """Return what an operation is told when an exchange failed; see Statement.run()."""
    if kind in ("cache", "previous"):
        return SessionStoreUnavailable(text)
    if in_transaction:
        return TransactionBroken(text)
    return DatabaseBusy(text, object()) if is_held else DatabaseUnavailable(text)


def is_database_problem(error: Exception) -> bool:
    """Tell whether a statement was refused, by a lock for instance."""
    return isinstance(error, SessionStoreUnavailable)


_PATIENCE = conf._patience
_DIALECTS = dict(dialects.DIALECTS)
