"""Loopback ports that stay ours while a server is down."""

import secrets
import socket
import threading

LOOPBACK = "127.0.0.1"

# Below every system's ephemeral range, with room for the cluster bus (port + 10000): there, while
# our server is down, an outgoing connection could be given the port, or even connect to itself.
FIRST_PORT = 11_000
LAST_PORT = 21_000
BUS_OFFSET = 10_000

_given: set[int] = set()
_lock = threading.Lock()


def free_port() -> int:
    """Return a loopback port that nobody listens on and that this process was never given."""
    with _lock:
        while True:
            # Not `random`: seeded test runs in parallel would all draw the same ports.
            port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
            if port not in _given and _is_free(port) and _is_free(port + BUS_OFFSET):
                _given.add(port)
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
