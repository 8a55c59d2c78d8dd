"""Amazon's APIs: a moto server, and before it a front that breaks them as tests wish.

moto keeps what it is told and checks every request's form; it does not know serverless caches of
ElastiCache, so the front describes those itself.
"""

from __future__ import annotations

import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from .ports import LOOPBACK, free_port
from .process import Process
from .waiting import wait_until

REGION = "eu-central-1"


class Moto:
    """A moto server in a process of its own, empty at first."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self._process = Process(
            [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]
        )
        wait_until(self._answers, what="moto ready", timeout_seconds=60)
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.end()

    def reset(self) -> None:
        """Forget everything."""
        self._post("/moto-api/reset")

    def enforce_policies(self, *, after: float) -> None:
        """Check IAM policies from so many calls on; `inf`: never."""
        self._post("/moto-api/reset-auth", str(after).encode())

    def _post(self, path: str, body: bytes = b"") -> None:
        headers = {"Content-Type": "text/plain"}
        request = urllib.request.Request(self.url + path, body, headers, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url + "/moto-api/data.json", timeout=1).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Answer:
    """What the front answers instead of moto."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Front:
    """Passes requests on to moto and counts them by operation."""

    def __init__(self, moto: Moto) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.calls: Counter[str] = Counter()
        self.answers: dict[str, Answer] = {}
        #: Operations that are not answered before the test is over, or this is set.
        self.held: set[str] = set()
        self.released = threading.Event()
        self._moto = moto
        self._server = _Server((LOOPBACK, self.port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def describe_serverless(self, name: str, **more: str) -> None:
        """Answer DescribeServerlessCaches with one cache."""
        members = {
            "ServerlessCacheName": name,
            "Status": "available",
            "Engine": "valkey",
            "MajorEngineVersion": "8",
            **more,
        }
        xml = "".join(f"<{key}>{value}</{key}>" for key, value in members.items())
        self.answers["DescribeServerlessCaches"] = Answer(
            200,
            '<DescribeServerlessCachesResponse xmlns="http://elasticache.amazonaws.com/doc/2015-02-02/">'
            "<DescribeServerlessCachesResult><ServerlessCaches><member>"
            f"{xml}</member></ServerlessCaches></DescribeServerlessCachesResult>"
            "</DescribeServerlessCachesResponse>".encode(),
            {"Content-Type": "text/xml"},
        )

    def answer(self, operation: str, headers: Any, method: str, path: str, body: bytes) -> Answer:
        """Answer a request."""
        self.calls[operation] += 1
        if operation in self.held:
            self.released.wait(60)
        if operation in self.answers:
            return self.answers[operation]
        # With the Host it came with: that is signed.
        request = urllib.request.Request(
            self._moto.url + path, data=body, method=method, headers=dict(headers)
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return Answer(reply.status, reply.read(), dict(reply.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read(), dict(error.headers))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *arguments: object) -> None:
        """A client that has gone away is no news."""


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = _operation(self.path, self.headers, body)
            answer = front.answer(operation, self.headers, "POST", self.path, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    return Handler


def _operation(path: str, headers: Any, body: bytes) -> str:
    """Name the operation of a request, in whichever of Amazon's protocols it came."""
    target = headers.get("X-Amz-Target")
    if target:
        return str(target).rpartition(".")[2]
    if "/operation/" in path:
        return path.rpartition("/")[2]
    return parse_qs(body.decode("utf-8", "replace")).get("Action", ["?"])[0]
