"""Requests a second: one worker of gunicorn or uvicorn per engine, asked by turns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from .child import Child
from .engines import Place
from .site import make_environment

REPOSITORY = Path(__file__).resolve().parent.parent
CONNECTIONS = 4
START_SECONDS = 30.0
LOAD_SECONDS = 300.0
END_SECONDS = 10.0
PAUSE_SECONDS = 0.05
ARGUMENTS = {
    "gunicorn": (
        "gunicorn benchmarks.site:wsgi --bind {host}:{port} --workers 1 --threads 4 "
        "--worker-class gthread --keep-alive 30 --log-level warning"
    ),
    "uvicorn": (
        "uvicorn benchmarks.site:asgi --host {host} --port {port} --workers 1 --no-access-log "
        "--log-level warning --lifespan off"
    ),
}
PATHS = {"gunicorn": "/wsgi", "uvicorn": "/asgi"}


class SiteFailed(Exception):
    """A site did not start or answered with an error; the text says what."""


class Site:
    """A server process with the benchmark's site; leaving its `with` block ends it."""

    def __init__(self, server: str, child: Child, place: Place) -> None:
        """Start it, with as many sessions as there will be connections."""
        self.name = child.engine.name
        self._host, self._port = place.host, _free_port(place.host)
        self._path = PATHS[server]
        self._session_keys = [child.save("0.6 KB", 1) for _ in range(CONNECTIONS)]
        arguments = ARGUMENTS[server].format(host=self._host, port=self._port).split()
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=REPOSITORY,
            env=os.environ | make_environment(child.engine, place),
            stdout=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        """Return the site once it accepts connections. Raises `SiteFailed` when it never does."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_listening():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SiteFailed(f"The site of {self.name} did not start.")
            time.sleep(PAUSE_SECONDS)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """See stop()."""
        self.stop()

    def requests_per_second(self, requests: int) -> float:
        """Have the client, a process of its own, ask so many times. Raises `SiteFailed`."""
        address = [self._host, str(self._port), self._path, str(requests)]
        client = subprocess.run(
            [sys.executable, "-m", "benchmarks.http_client", *address, *self._session_keys],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=LOAD_SECONDS,
            check=False,
        )
        if client.returncode:
            raise SiteFailed(client.stderr.strip().splitlines()[-1])
        return requests / float(client.stdout)

    def stop(self) -> None:
        """End the process; harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_listening(self) -> bool:
        try:
            socket.create_connection((self._host, self._port), 1.0).close()
        except OSError:
            return False
        return True


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
