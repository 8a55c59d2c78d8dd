"""AWS as moto plays it, over HTTP, behind a service that a test can have fail.

with Moto() as moto, Aws(moto) as aws:
    aws.once.append(Answer(status=503))
"""

from __future__ import annotations

import sys
import urllib.request
from types import TracebackType
from typing import Self

from .http import Answer, HttpService, pass_on
from .ports import LOOPBACK, free_port
from .process import Process
from .waiting import wait_until

REGION = "eu-central-1"
START_SECONDS = 60.0


class Moto:
    """A moto server in a process of its own, empty at first."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: Process | None = None

    def __enter__(self) -> Self:
        """Start, and return once it answers."""
        self._process = Process(
            [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]
        )
        wait_until(self._answers, what="moto server", timeout_seconds=START_SECONDS)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        if self._process is not None:
            self._process.end()

    def reset(self) -> None:
        """Forget everything."""
        self._ask("/moto-api/reset", b"")

    def enforce_policies(self, *, after: float) -> None:
        """Check IAM policies from so many calls on; `inf`: never."""
        self._ask("/moto-api/reset-auth", str(after).encode())

    def _answers(self) -> bool:
        if self._process is None or not self._process.running:
            raise RuntimeError("the moto server ended by itself")
        try:
            self._ask("/moto-api/data.json")
        except OSError:
            return False
        return True

    def _ask(self, path: str, body: bytes | None = None) -> None:
        url = f"http://{LOOPBACK}:{self.port}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=10).close()


class Aws(HttpService):
    """What leads to a moto server; `url` is what AWS_ENDPOINT_URL is to be."""

    def __init__(self, moto: Moto) -> None:
        super().__init__(pass_on(LOOPBACK, moto.port))

    def describe_serverless(self, name: str, **more: str) -> None:
        """Answer DescribeServerlessCaches with one cache; moto does not know them."""
        members = {
            "ServerlessCacheName": name,
            "Status": "available",
            "Engine": "valkey",
            "MajorEngineVersion": "8",
            **more,
        }
        xml = "".join(f"<{key}>{value}</{key}>" for key, value in members.items())
        self.answers["DescribeServerlessCaches"] = Answer(
            headers={"Content-Type": "text/xml"},
            body='<DescribeServerlessCachesResponse xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/">'
            "<DescribeServerlessCachesResult><ServerlessCaches><member>"
            f"{xml}</member></ServerlessCaches></DescribeServerlessCachesResult>"
            "</DescribeServerlessCachesResponse>".encode(),
        )
