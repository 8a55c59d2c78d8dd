"""The site, its stores and the ways to them, in every kind that is put under fire."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from ..servers.mariadb import MariaDB
from ..servers.pipe import Pipe
from ..servers.postgres import Postgres
from .browser import Browser, answer_of
from .ledger import Answer
from .looping import Looping
from .nodes import ENCRYPTION_KEYS, Node, Places, manage, prepare, rows_of

PROCESSES = 2
#: Passes of `syncsessions` until nothing waits any more.
MOST_PASSES = 5


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a stage is made of."""

    cache: Literal["server", "sentinel", "cluster"] = "server"
    database: Literal["postgresql", "mysql"] = "postgresql"
    is_async: bool = False
    writes: Literal["through", "behind"] = "through"

    def __str__(self) -> str:
        """Return how the table calls it."""
        database = "PostgreSQL" if self.database == "postgresql" else "MariaDB"
        server = "ASGI" if self.is_async else "WSGI"
        return f"{self.cache}, {database}, {server}, {self.writes}"


class Stage:
    """Processes, a database behind a pipe for each, and the cache that a subclass has."""

    def __init__(self, folder: Path, setup: Setup, users: Sequence[str]) -> None:
        self.setup = setup
        self.folder = folder
        self._users = users
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start everything. Raises `Unavailable` where this machine lacks a program."""
        with ExitStack() as stack:
            server = MariaDB() if self.setup.database == "mysql" else Postgres()
            self.database: Any = stack.enter_context(server)
            self.pipes = [stack.enter_context(Pipe(self.database.target)) for _ in range(PROCESSES)]
            caches = self.start_cache(stack)
            keys = ENCRYPTION_KEYS, ENCRYPTION_KEYS[::-1]
            self.places = [
                replace(self._places(*stores), encryption_keys=of_process)
                for *stores, of_process in zip(self.pipes, caches, keys, strict=True)
            ]
            prepare(self.places[0], self._users)
            self.nodes = [
                stack.enter_context(Node(places, self.folder / f"process{index}.log"))
                for index, places in enumerate(self.places)
            ]
            if self.setup.writes == "behind":
                stack.enter_context(Looping(self._places_of_manager(), self.folder / "sync.log"))
            for node in self.nodes:
                node.wait()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop everything."""
        self._stack.close()

    @property
    def ports(self) -> list[int]:
        """Where the site is served."""
        return [node.port for node in self.nodes]

    def new_log(self) -> str:
        """Return what the processes have logged since this was asked last."""
        return "\n".join(node.new_log() for node in self.nodes)

    @property
    def browser(self) -> Browser:
        """A way to the site for whoever is no visitor."""
        return Browser(self.ports, random.Random())

    def callback(self, at_end: Callable[[], object]) -> None:
        """Do something when the stage ends."""
        self._stack.callback(at_end)

    def start_cache(self, stack: ExitStack) -> list[Mapping[str, object]]:
        """Start the cache; return where each process finds it."""
        raise NotImplementedError

    def empty_cache(self) -> None:
        """Forget all that is in the cache."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Have what waits in the cache brought into the database."""
        for _ in range(MOST_PASSES):
            done = manage(self._places_of_manager(), "syncsessions")
            if done.returncode == 0 and " 0 still waiting" in done.stdout:
                return
            time.sleep(0.5)
        raise AssertionError(f"syncsessions: {done.stdout}{done.stderr}")

    def rows_of(self, cookies: Sequence[str]) -> list[Answer]:
        """Return what the rows alone hold of these cookies' sessions."""
        found = rows_of(self._places_of_manager(), cookies)
        return [answer_of(data.pop("status"), data) for data in found]

    def cut_database(self) -> None:
        """Have no process reach the database."""
        for pipe in self.pipes:
            pipe.refuse()

    def heal_database(self) -> None:
        """Have all reach it."""
        for pipe in self.pipes:
            pipe.heal()

    def _places(self, pipe: Pipe, cache: Mapping[str, object]) -> Places:
        return Places(
            users=str(self.folder / "users.sqlite3"),
            database={"vendor": self.database.vendor, "host": pipe.host, "port": pipe.port},
            cache=cache,
            writes=self.setup.writes,
            is_async=self.setup.is_async,
        )

    def _places_of_manager(self) -> Places:
        return replace(self.places[0], clock_seconds=0.0)
