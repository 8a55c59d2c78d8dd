"""A TCP relay in a thread, which counts round trips and bytes and can hold up each round trip."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import Self

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 1 << 18
POLL_SECONDS = 0.2
END_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What crossed: round trips, and bytes to the server and back."""

    round_trips: float
    sent_bytes: float
    received_bytes: float

    def per(self, operations: int) -> Traffic:
        """Return the share of one operation."""
        return Traffic(
            self.round_trips / operations,
            self.sent_bytes / operations,
            self.received_bytes / operations,
        )


class Relay:
    """Forwards connections to a server, from its `with` block's beginning to its end.

    A round trip begins when a client sends on a connection where it has not sent since the last
    reply: the direction changes. `delay_seconds` is added to each.
    """

    host = LOOPBACK

    def __init__(self, host: str, port: int) -> None:
        """Listen on a free port of the loopback interface."""
        self.delay_seconds = 0.0
        self._target = (host, port)
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(POLL_SECONDS)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._is_stopping = False
        self._lock = threading.Lock()
        self.reset()

    def __enter__(self) -> Self:
        """Start forwarding."""
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close every connection and wait for the threads."""
        self._is_stopping = True
        for thread in self._threads:
            thread.join(END_SECONDS)
        self._listener.close()

    def reset(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._round_trips = self._sent = self._received = 0
            self._requests = bytearray()

    def traffic(self) -> Traffic:
        """Return what has crossed since reset()."""
        with self._lock:
            return Traffic(self._round_trips, self._sent, self._received)

    def requests(self) -> bytes:
        """Return what clients have sent since reset()."""
        with self._lock:
            return bytes(self._requests)

    def _accept(self) -> None:
        while not self._is_stopping:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._forward, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                self._pump(client, server)
            except ConnectionError:
                return

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        is_waiting = False
        with selectors.DefaultSelector() as selector:
            for side in (client, server):
                selector.register(side, selectors.EVENT_READ, data=side)
            while not self._is_stopping:
                for source in [key.data for key, _ in selector.select(POLL_SECONDS)]:
                    chunk = source.recv(CHUNK_BYTES)
                    if not chunk:
                        return
                    if source is server:
                        is_waiting = False
                        self._count_reply(chunk)
                        client.sendall(chunk)
                    else:
                        self._hold_up(is_waiting)
                        self._count_request(chunk, begins=not is_waiting)
                        is_waiting = True
                        server.sendall(chunk)

    def _hold_up(self, is_waiting: bool) -> None:
        if self.delay_seconds and not is_waiting:
            time.sleep(self.delay_seconds)

    def _count_request(self, chunk: bytes, *, begins: bool) -> None:
        with self._lock:
            self._round_trips += begins
            self._sent += len(chunk)
            self._requests += chunk

    def _count_reply(self, chunk: bytes) -> None:
        with self._lock:
            self._received += len(chunk)
