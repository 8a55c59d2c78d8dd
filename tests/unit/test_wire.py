"""What crosses a connection, and who watches how long it takes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from django_elasticache_sessions.drivers.wire import leave_timeouts_to_kernel

TIMEOUT_SECONDS = 0.05


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such option")
def test_the_kernel_ends_a_wait_that_takes_too_long(pair):
    pair[0].settimeout(TIMEOUT_SECONDS)
    leave_timeouts_to_kernel(pair[0])
    assert pair[0].gettimeout() is None
    with pytest.raises(BlockingIOError):
        pair[0].recv(1)


def test_a_socket_without_a_timeout_is_left_alone(pair):
    leave_timeouts_to_kernel(pair[0])
    assert pair[0].gettimeout() is None


def test_a_socket_that_gevent_put_in_the_place_of_pythons_keeps_its_timeout(monkeypatch):
    class GreenSocket(socket.socket):
        """Never blocks in the kernel, so the kernel cannot end its waits."""

    monkeypatch.setattr(socket, "socket", GreenSocket)
    with GreenSocket() as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        leave_timeouts_to_kernel(sock)
        assert sock.gettimeout() == TIMEOUT_SECONDS
