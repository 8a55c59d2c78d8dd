"""The client of the HTTP measurement: a process that keeps a few connections busy, and no more.

    python -m benchmarks.http_client HOST PORT PATH REQUESTS SESSION_KEY...

There are as many connections as session keys. Prints the seconds that all requests took together.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Sequence

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 65536


def load(host: str, port: int, path: str, requests: int, session_keys: Sequence[str]) -> float:
    """Send the requests, one at a time on each connection; return the seconds they took.

    Raises the first problem that any connection met.
    """
    problems: list[Exception] = []
    share = max(requests // len(session_keys), 1)

    def work(session_key: str) -> None:
        try:
            _keep_busy(host, port, request_bytes(host, path, session_key), share)
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(key,), daemon=True) for key in session_keys]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if problems:
        raise problems[0]
    return seconds / (share * len(threads)) * requests


def request_bytes(host: str, path: str, session_key: str) -> bytes:
    """Return a GET request of a client that has a session."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Cookie: sessionid={session_key}", "", ""]
    return "\r\n".join(lines).encode("ascii")


def _keep_busy(host: str, port: int, request: bytes, count: int) -> None:
    connection = None
    for _ in range(count):
        # A server may close a connection after so many requests.
        connection = connection or socket.create_connection((host, port), TIMEOUT_SECONDS)
        connection.sendall(request)
        if not _read_answer(connection):
            connection.close()
            connection = None
    if connection:
        connection.close()


def _read_answer(connection: socket.socket) -> bool:
    """Read one answer; tell whether the connection stays open. Raises `RuntimeError` unless 200."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _receive(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    if status.split()[1] != b"200":
        raise RuntimeError(f"The site answered {status.decode()!r}, not 200.")
    missing = int(headers[b"content-length"]) - len(body)
    while missing > 0:
        missing -= len(_receive(connection))
    return headers.get(b"connection") != b"close"


def _receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(CHUNK_BYTES)
    if not chunk:
        raise ConnectionResetError("The site closed the connection within an answer.")
    return chunk


if __name__ == "__main__":
    host, port, path, requests, *session_keys = sys.argv[1:]
    print(load(host, int(port), path, int(requests), session_keys))
