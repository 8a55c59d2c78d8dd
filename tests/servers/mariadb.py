"""A MariaDB of a test's own, to be stopped, crashed, cut and filled."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from .databases import Unavailable
from .process import Process
from .waiting import wait_until

USER = "chaos"
#: The least that the server accepts.
FEWEST_CONNECTIONS = 10


class MariaDB:
    """One server on a Unix socket. The application comes as `USER`, who is no superuser."""

    vendor = "mysql"
    title = "MariaDB"

    def __enter__(self) -> Self:
        """Make it and start it. Raises `Unavailable`."""
        server, installer = _program("mariadbd"), _program("mariadb-install-db")
        if not importlib.util.find_spec("pymysql"):
            raise Unavailable("the package PyMySQL")
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        self._process: Process | None = None
        self._holding: list[Any] = []
        subprocess.run(
            [installer, *self._options, "--auth-root-authentication-method=normal"],
            check=True,
            capture_output=True,
        )
        self.start()
        self._tell(
            f"CREATE DATABASE {USER} CHARACTER SET utf8mb4",
            f"CREATE USER {USER}@'localhost'",
            f"GRANT ALL ON {USER}.* TO {USER}@'localhost'",
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it for good."""
        self._let_go()
        if self._process is not None:
            self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def target(self) -> str:
        """Where a `Pipe` finds it."""
        return str(self._folder / "server.sock")

    def stop(self, *, immediately: bool = False) -> None:
        """Stop it and close connections; ``immediately`` is a crash, of which it recovers."""
        assert self._process is not None
        if immediately:
            self._process.kill()
        else:
            os.kill(self._process.pid, signal.SIGTERM)
            wait_until(lambda: self._process and not self._process.running, what="MariaDB stopped")

    def start(self) -> None:
        """Start it, on the same socket."""
        Path(self.target).unlink(missing_ok=True)
        self._process = Process(
            [
                self._server,
                *self._options,
                f"--socket={self.target}",
                f"--pid-file={self._folder}/server.pid",
                f"--log-error={self._folder}/server.log",
                "--skip-networking",
                "--innodb-buffer-pool-size=32M",
            ]
        )
        wait_until(self._answers, what="MariaDB started")

    def cut_connections(self) -> None:
        """End every connection of the application (KILL)."""
        self._tell(f"KILL CONNECTION USER {USER}@'localhost'")

    def set_read_only(self, is_read_only: bool) -> None:
        """Refuse to write, as a replica does."""
        self._tell(f"SET GLOBAL read_only = {int(is_read_only)}")

    def set_full(self, is_full: bool) -> None:
        """Have no connection left (1040); those that are open are closed."""
        if not is_full:
            self._let_go()
            self._tell("SET GLOBAL max_connections = 151")
            return
        self._tell(f"SET GLOBAL max_connections = {FEWEST_CONNECTIONS}")
        self.cut_connections()
        while len(self._holding) < FEWEST_CONNECTIONS and (taken := self._attempt()):
            self._holding.append(taken)

    def _let_go(self) -> None:
        while self._holding:
            self._holding.pop().close()

    def _attempt(self) -> Any:
        import pymysql

        try:
            return self._connect()
        except pymysql.err.MySQLError:
            return None

    def _answers(self) -> bool:
        # PyMySQL leaves a socket open that could not connect.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.target)
            except OSError:
                return False
            return bool(probe.recv(1))

    def _connect(self) -> Any:
        import pymysql

        return pymysql.connect(unix_socket=self.target, user="root")

    def _tell(self, *statements: str) -> None:
        # One that is open is used: there may be no other.
        connection = self._holding[0] if self._holding else self._connect()
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        if not self._holding:
            connection.close()

    @property
    def _options(self) -> list[str]:
        return ["--no-defaults", "--user=root", f"--datadir={self._folder}/data"]


def _program(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        raise Unavailable(f"the program {name}")
    return found
