"""The floor: an operation's own bytes over a bare socket, the replies parsed by hiredis."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Sequence
from typing import Self

import hiredis

from .scenarios import WARM_UP, Cost

TIMEOUT_SECONDS = 5.0
CHUNK_BYTES = 65536


def count_commands(request: bytes) -> int:
    """Return how many commands a request has."""
    return len(commands_of(request))


def commands_of(request: bytes) -> list[str]:
    """Return the names of a request's commands: each is a RESP array, which hiredis can read."""
    reader = hiredis.Reader(notEnoughData=None)
    reader.feed(request)
    names = []
    while (command := reader.gets()) is not None:
        names.append(command[0].decode().upper())
    return names


class Floor:
    """Repeats recorded round trips; runs in the parent, whose threads must be idle."""

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        """Connect to the server that the requests, one a round trip, were recorded in front of."""
        self._requests = [(request, count_commands(request)) for request in requests]
        self._reader = hiredis.Reader(notEnoughData=Ellipsis)
        self._buffer = bytearray(CHUNK_BYTES)
        self._socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        """Return the floor."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connection."""
        self._socket.close()

    def measure(self, count: int) -> Cost:
        """Do the operation `count` times; return the cost of once."""
        for _ in range(WARM_UP):
            self.exchange()
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            self.exchange()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Cost(wall / count * 1e6, cpu / count * 1e6)

    def exchange(self) -> list[object]:
        """Do the operation once and return all replies."""
        return [reply for request in self._requests for reply in self._round_trip(*request)]

    def _round_trip(self, request: bytes, wanted: int) -> list[object]:
        self._socket.sendall(request)
        replies: list[object] = []
        while len(replies) < wanted:
            size = self._socket.recv_into(self._buffer)
            if size == 0:
                raise ConnectionResetError("The server closed the floor's connection.")
            self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type]
            while (reply := self._reader.gets()) is not Ellipsis:
                replies.append(reply)
        return replies
