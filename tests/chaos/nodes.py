"""The processes that serve the site: each has ports, relays and a log of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from ..servers.ports import LOOPBACK, free_port
from ..servers.waiting import wait_until

TESTS = Path(__file__).resolve().parents[2]
START_SECONDS = 40.0
#: A key and the one before it; the processes do not agree on which is which.
ENCRYPTION_KEYS = tuple(b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a process finds its stores, and what else is peculiar to it."""

    users: str
    database: Mapping[str, object]
    cache: Mapping[str, object] = field(default_factory=dict)
    writes: str = "through"
    is_async: bool = False
    clock_seconds: float = 0.0
    encryption_keys: Sequence[str] = ENCRYPTION_KEYS

    def environment(self) -> dict[str, str]:
        """Return the variables of the environment of a process of the site."""
        package = importlib.util.find_spec("django_elasticache_sessions")
        assert package is not None
        assert package.origin is not None
        paths = [TESTS, Path(package.origin).parents[1]]
        return {
            **os.environ,
            "CHAOS_PLACES": json.dumps(asdict(self)),
            "DJANGO_SETTINGS_MODULE": "tests.chaos.site.settings",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
        }


class Node:
    """One process under gunicorn (eight threads) or uvicorn; ends with its `with` block."""

    def __init__(self, places: Places, log: Path) -> None:
        self.port = free_port()
        self.log = log
        self._places = places
        self._log_seen = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; `wait` for it."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it, and everything it started."""
        if self._process is not None:
            self.kill()

    def start(self, **changes: Any) -> None:
        """Start it, in other places for this once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._server()],
                env=replace(self._places, **changes).environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it serves."""
        wait_until(self.answers, what="a process of the site", timeout_seconds=START_SECONDS)

    def stop(self) -> None:
        """Have it finish what it is doing and end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it, in the middle of whatever it does."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def freeze(self) -> None:
        """Have it stand still in the middle of whatever it does, as a machine that is moved."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def new_log(self) -> str:
        """Return what it has logged since this was asked last."""
        with self.log.open(errors="replace") as log:
            log.seek(self._log_seen)
            text = log.read()
            self._log_seen = log.tell()
        return text

    def answers(self) -> bool:
        """Tell whether it serves a page."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/probe/", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            return False

    def _signal(self, number: int) -> None:
        # A group of its own: gunicorn and its worker.
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def _server(self) -> Sequence[str]:
        if self._places.is_async:
            application = "tests.chaos.site.asgi:application"
            return ("uvicorn", application, f"--port={self.port}", "--no-access-log")
        return (
            *("gunicorn", "tests.chaos.site.wsgi:application", f"--bind={LOOPBACK}:{self.port}"),
            *("--workers=1", "--worker-class=gthread", "--threads=8", "--graceful-timeout=5"),
        )


def manage(places: Places, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a management command of the site."""
    return subprocess.run(
        [sys.executable, "-m", "django", *words],
        env=places.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def rows_of(places: Places, cookies: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a process finds in the sessions of these cookies that reaches no cache."""
    nowhere = {"location": f"redis://{LOOPBACK}:{free_port()}/0", "options": {}}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.site.rows"],
        env=replace(places, cache=nowhere).environment(),
        input=json.dumps(cookies),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def prepare(places: Places, users: Sequence[str]) -> None:
    """Make the tables, and a user by each name."""
    command = [sys.executable, "-m", "tests.chaos.site.staging", *users]
    subprocess.run(command, env=places.environment(), check=True)
