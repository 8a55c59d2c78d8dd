"""One request to the site, by whichever of its processes is there."""

from __future__ import annotations

import http.client
import json
import random
import re
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from ..servers.ports import LOOPBACK
from .ledger import Answer

ANSWER_SECONDS = 20.0


class Browser:
    """Asks the processes behind these ports in turn, as a load balancer does."""

    def __init__(self, ports: Sequence[int], choice: random.Random) -> None:
        self._ports = ports
        self._choice = choice

    def ask(self, page: str, cookie: str, *, port: int | None = None, **fields: Any) -> Answer:
        """Ask for a page; `status` is 0 when the connection broke after the request was sent."""
        ports = [port] if port else self._choice.sample(self._ports, len(self._ports))
        for candidate in ports:
            connection = http.client.HTTPConnection(LOOPBACK, candidate, timeout=ANSWER_SECONDS)
            try:
                connection.connect()
            except OSError:
                # Nobody is there: the next is asked, and nothing was sent.
                continue
            try:
                return _asked(connection, f"/{page}/?{urlencode(fields)}", cookie)
            except (OSError, http.client.HTTPException):
                return Answer(0)
            finally:
                connection.close()
        return Answer(0)


def _asked(connection: http.client.HTTPConnection, path: str, cookie: str) -> Answer:
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.request("GET", path, headers={"Cookie": f"sessionid={cookie}"} if cookie else {})
    response = connection.getresponse()
    body = response.read()
    is_data = response.headers.get_content_type() == "application/json"
    return answer_of(response.status, json.loads(body) if is_data else {}, _cookie_of(response))


def answer_of(status: int, data: dict[str, Any], cookie: str | None = None) -> Answer:
    """Make an answer of what was sent."""
    return Answer(
        status,
        user=data.get("user"),
        owner=data.get("owner"),
        numbers=data.get("numbers", {}),
        cookie=cookie,
        session=data.get("session"),
        ended=data.get("ended"),
    )


def _cookie_of(response: http.client.HTTPResponse) -> str | None:
    """Return the session cookie that an answer sets, empty when it deletes it."""
    found = re.search(r'sessionid="?(\w*)', response.getheader("Set-Cookie") or "")
    return found[1] if found else None
