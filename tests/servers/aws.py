"""AWS as moto plays it, over HTTP, behind a service that a test can have fail.

with Aws() as aws:
    aws.service.once.append(Answer(status=503))
"""

import socket
import sys
from types import TracebackType
from typing import Self

from .http import HttpService, pass_on
from .ports import LOOPBACK, free_port
from .process import Process
from .waiting import wait_until

START_SECONDS = 60.0


class Aws:
    """A moto server process, and the HTTP service that leads to it."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: Process | None = None
        self.service = HttpService(pass_on(LOOPBACK, self._port))

    def __enter__(self) -> Self:
        """Start, and return once it listens."""
        self._process = Process(
            [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port)]
        )
        wait_until(self._listens, what="moto server", timeout_seconds=START_SECONDS)
        self.service.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both."""
        self.service.__exit__(None, None, None)
        if self._process is not None:
            self._process.end()

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL is to be."""
        return self.service.url

    def heal(self) -> None:
        """Pass everything on again, and forget what was asked."""
        self.service.once.clear()
        self.service.requests.clear()
        self.service.respond = pass_on(LOOPBACK, self._port)
        self.service.let_go()

    def _listens(self) -> bool:
        if self._process is None or not self._process.running:
            raise RuntimeError("the moto server ended by itself")
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self._port)) == 0
