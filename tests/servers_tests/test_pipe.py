"""A relay of bytes carries, refuses, holds and lets go."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from ..servers.pipe import Pipe
from ..servers.ports import LOOPBACK


class Echo(socketserver.StreamRequestHandler):
    """Says each line again."""

    def handle(self) -> None:
        """See the class."""
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    """Waits for nobody when it ends."""

    daemon_threads = True
    block_on_close = False


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    with Server((LOOPBACK, 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Pipe((LOOPBACK, server.server_address[1])) as pipe:
            yield pipe
        server.shutdown()


def connected(pipe: Pipe, *, timeout: float = 5.0) -> socket.socket:
    return socket.create_connection((pipe.host, pipe.port), timeout=timeout)


def test_it_carries_both_ways(pipe: Pipe):
    with connected(pipe) as client:
        client.sendall(b"hello\n")
        assert client.recv(10) == b"hello\n"


def test_a_refusal_ends_connections_and_refuses_new_ones_until_it_is_healed(pipe: Pipe):
    with connected(pipe) as client:
        client.sendall(b"hello\n")
        client.recv(10)
        pipe.refuse()
        with pytest.raises(ConnectionError):
            client.recv(10)
    # The reset may be there before the connection is known to be.
    with pytest.raises(ConnectionError), connected(pipe) as client:
        client.recv(10)
    pipe.heal()
    test_it_carries_both_ways(pipe)


def test_a_cut_ends_connections_and_takes_new_ones(pipe: Pipe):
    with connected(pipe) as client:
        client.sendall(b"hello\n")
        client.recv(10)
        pipe.cut()
        with pytest.raises(ConnectionError):
            client.recv(10)
    test_it_carries_both_ways(pipe)


def test_what_is_held_arrives_late(pipe: Pipe):
    pipe.hold()
    with connected(pipe, timeout=0.1) as client:
        client.sendall(b"hello\n")
        with pytest.raises(TimeoutError):
            client.recv(10)
        pipe.heal()
        client.settimeout(5)
        assert client.recv(10) == b"hello\n"
