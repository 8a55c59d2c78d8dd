"""HTTP that a test has in its hand: passed on to a server, answered by the test, or left waiting.

with HttpService() as service:
    service.respond = lambda request: Answer(status=503)
    service.answers["AssumeRole"] = Answer(status=403)
"""

import http.client
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from .ports import LOOPBACK

PASSED_ON_SECONDS = 30.0
POLL_SECONDS = 0.02
_NOT_PASSED_ON = {"connection", "content-length", "date", "server", "transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def action(self) -> str:
        """The action of AWS that is asked for, in whichever of its protocols, or the path."""
        if "/operation/" in self.path:
            return self.path.rpartition("/")[2]
        target = self.headers.get("x-amz-target", "").rpartition(".")[2]
        return target or parse_qs(self.body.decode("latin-1")).get("Action", [self.path])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client is sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class HttpService:
    """Answers HTTP on a loopback port, in threads, by what ``respond`` returns.

    ``once`` has answers that come first, each for one request, ``answers`` those to an action.
    ``hold()`` leaves requests waiting until ``let_go()``.
    """

    def __init__(self, respond: Callable[[Request], Answer] | None = None) -> None:
        self.respond = respond or (lambda request: Answer(status=404))
        self.once: deque[Answer] = deque()
        self.answers: dict[str, Answer] = {}
        self.requests: list[Request] = []
        self._held: tuple[str, ...] = ()
        self._may_go = threading.Event()
        self._may_go.set()
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.service = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), daemon=True
        )

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self.let_go()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    @property
    def actions(self) -> list[str]:
        """What was asked for, in order."""
        return [request.action for request in self.requests]

    @property
    def calls(self) -> Counter[str]:
        """How often each action was asked for."""
        return Counter(self.actions)

    def hold(self, *actions: str) -> None:
        """Leave requests waiting from now on; only those for some actions, where they are named."""
        self._held = actions
        self._may_go.clear()

    def let_go(self) -> None:
        """Answer those that wait, and new ones."""
        self._may_go.set()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, when it may go."""
        self.requests.append(request)
        if not self._held or request.action in self._held:
            self._may_go.wait(PASSED_ON_SECONDS)
        if self.once:
            return self.once.popleft()
        return self.answers.get(request.action) or self.respond(request)


def pass_on(host: str, port: int) -> Callable[[Request], Answer]:
    """Return a ``respond`` that asks another server."""

    def respond(request: Request) -> Answer:
        connection = http.client.HTTPConnection(host, port, timeout=PASSED_ON_SECONDS)
        try:
            connection.request(request.method, request.path, request.body, request.headers)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        headers = {
            name: value
            for name, value in response.getheaders()
            if name.lower() not in _NOT_PASSED_ON
        }
        return Answer(status=response.status, body=body, headers=headers)

    return respond


class _Server(ThreadingHTTPServer):
    service: HttpService
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that left."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer."""
        size = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(size),
        )
        answer = self.server.service.answer(request)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_PUT = do_GET  # noqa: N815 - so they are called

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
