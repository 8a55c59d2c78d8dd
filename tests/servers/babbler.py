"""A server that answers each command with whatever bytes a test gives it, at any pace.

with Babbler() as server:
    server.answer = lambda command: b":1\\r\\n"
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable

import hiredis

from .listener import Listener
from .ports import LOOPBACK, free_port

#: What clients send by themselves on connecting.
HANDSHAKE = frozenset({b"AUTH", b"CLIENT", b"HELLO", b"SELECT"})
OK = b"+OK\r\n"
INCOMPLETE = object()


class Babbler(Listener):
    """Speaks RESP, but nothing that makes sense; connecting is answered as servers do."""

    host = LOOPBACK

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._tls = tls
        #: What to answer a command with.
        self.answer: Callable[[list[bytes]], bytes] = lambda command: OK
        #: How long each byte of an answer is held.
        self.seconds_a_byte = 0.0
        #: Whether connecting is answered like any other command.
        self.babbles_at_once = False
        self.connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"redis://{self.host}:{self.port}/0"

    async def _begin(self) -> None:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._tls)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        commands = hiredis.Reader(notEnoughData=INCOMPLETE)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                while data := await reader.read(1 << 16):
                    commands.feed(data)
                    for command in iter(commands.gets, INCOMPLETE):
                        await self._say(writer, command)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _say(self, writer: asyncio.StreamWriter, command: list[bytes]) -> None:
        is_handshake = command[0].upper() in HANDSHAKE and not self.babbles_at_once
        answer = OK if is_handshake else self.answer(command)
        if not self.seconds_a_byte or is_handshake:
            writer.write(answer)
        else:
            for byte in answer:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(self.seconds_a_byte)
        await writer.drain()
