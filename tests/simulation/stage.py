"""What simulations take place on: two Valkeys, one database, the settings; used again and again."""

from __future__ import annotations

import copy
import logging
from contextlib import ExitStack
from typing import Any, Self

from django.apps import apps
from django.conf import settings as django_settings
from django.core.cache import caches
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.test import override_settings

from tests.servers.databases import Vendor, database
from tests.servers.valkey import Valkey

from . import adapter
from .clock import Clock, in_force
from .servers import Server

_PACKAGE = "django_elasticache_sessions"


class _Router:
    """Has the engine of before keep its sessions in the same database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return self._alias if model._meta.app_label == "sessions" else None

    db_for_write = db_for_read


class Stage:
    """Servers, and the settings of one engine. Use it as a context manager."""

    def __init__(self, *, engine: str, writes: str, vendor: Vendor) -> None:
        """Take the engine's module name, `FALLBACK_WRITES`, and which database to use."""
        self.engine, self.writes, self.vendor = engine, writes, vendor
        self.clock = Clock()
        self._stack = ExitStack()
        self._told_seconds = -1
        self._processes: list[adapter.Process] = []
        self._connections: dict[int, BaseDatabaseWrapper] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        self.alias = self._stack.enter_context(database(self.vendor))
        _hasten(connections.settings[self.alias], self.vendor)
        with connections[self.alias].schema_editor() as editor:
            editor.create_model(apps.get_model("sessions.Session"))
        connections[self.alias].close()
        valkeys = [self._stack.enter_context(Valkey(restricted=False)) for _ in range(2)]
        self._stack.enter_context(override_settings(**self._settings(valkeys)))
        for name in adapter.LOGGERS:
            self._stack.callback(logging.getLogger(name).setLevel, logging.NOTSET)
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self.servers = [Server(valkey, self.clock, adapter.SOURCES) for valkey in valkeys]
        adapter.install(self.servers)
        self._stack.callback(adapter.uninstall)
        self._stack.callback(adapter.free_database_clock, self.vendor)
        self._late = adapter.Process(self.alias, self.servers[0])
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop everything."""
        for process in [self._late, *self._processes]:
            process.close()
        for connection in self._connections.values():
            connection.close()
        self._stack.close()

    def _settings(self, valkeys: list[Valkey]) -> dict[str, Any]:
        described = copy.deepcopy(django_settings.CACHES)
        for valkey, name in [
            (valkeys[0], adapter.CACHE_ALIAS),
            *((one, str(one.port)) for one in valkeys),
        ]:
            described[name] = {
                **described[adapter.CACHE_ALIAS],
                "LOCATION": f"{valkey.url}/0",
                "OPTIONS": {"SOCKET_TIMEOUT": 10, "SOCKET_CONNECT_TIMEOUT": 10},
            }
        return {
            "CACHES": described,
            "DATABASE_ROUTERS": [_Router(self.alias)],
            "SESSION_ENGINE": f"{_PACKAGE}.backends.{self.engine}",
            "ELASTICACHE_SESSIONS": {
                "FALLBACK_DATABASE": self.alias,
                "FALLBACK_WRITES": self.writes,
                "INDEX_BUCKETS": 1,
                "ENCRYPTION_KEYS": adapter.ENCRYPTION_KEYS,
            },
        }

    def reset(self, processes: int) -> list[adapter.Process]:
        """Empty both stores and begin processes; the clock goes back to the beginning."""
        self.clock.seconds = 0.0
        self.tick_database()
        for server in self.servers:
            server.reset()
        adapter.empty(self.connection(0), self.servers[0])
        caches["default"].clear()
        while len(self._processes) < processes:
            self._processes.append(adapter.Process(self.alias, self.servers[0]))
        for process in self._processes:
            process.begin(self.servers[0])
            process.keys, process.previous, process.is_old = adapter.NEWER, "", False
        return self._processes[:processes]

    def tick_database(self) -> None:
        """Tell the database the time, which it knows in seconds."""
        seconds = int(self.clock.seconds)
        if seconds == self._told_seconds:
            return
        self._told_seconds = seconds
        adapter.set_database_clock(self.vendor, self.clock.microseconds)

    def in_force(self) -> Any:
        """Return a context in which Python goes by the simulated clock."""
        return in_force(self.clock)

    def connection(self, actor: int) -> BaseDatabaseWrapper:
        """Return an actor's own connection to the database."""
        if actor not in self._connections:
            self._connections[actor] = connections.create_connection(self.alias)
        return self._connections[actor]

    def hang_up(self, actor: int) -> None:
        """Cut an actor's connection; what was not committed is rolled back."""
        connection = self._connections.get(actor)
        if connection is None or connection.connection is None:
            return
        # As if it were a new connection, which takes PostgreSQL some time.
        connection.connection.rollback()
        connection.in_atomic_block = connection.needs_rollback = False
        connection.savepoint_ids, connection.run_on_commit = [], []
        connection.atomic_blocks = []
        connection.set_autocommit(True)

    def lose_connection(self, actor: int) -> None:
        """Roll back an actor's transaction; its block stays open, as in Django."""
        connection = self.connection(actor)
        if connection.connection is not None:
            connection.connection.rollback()
            connection.needs_rollback = connection.in_atomic_block

    def run_late(self, server: Server, step: Any) -> None:
        """Do a step that its process does not wait for any more."""
        self._late.server = server
        self._late.enter(self.connection(-1), self.clock)
        adapter.run(self._late, step)


def _hasten(settings: dict[str, Any], vendor: Vendor) -> None:
    """Have a lock refused at once, so that the scheduler can let others continue."""
    if vendor == "sqlite":
        settings["OPTIONS"] = {
            **settings["OPTIONS"],
            "timeout": 0,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
        }
    elif vendor == "postgresql":
        settings["OPTIONS"] = {
            "options": "-c lock_timeout=10ms -c synchronous_commit=off",
        }
