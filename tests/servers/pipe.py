"""A TCP relay of bytes, whatever they mean, in front of a database.

with Pipe("/run/postgresql/.s.PGSQL.5432") as pipe:
    connect(host=pipe.host, port=pipe.port)
    pipe.refuse()

`Relay` knows RESP and strikes single commands; this one only knows connections.
"""

import asyncio
import contextlib
import socket
import struct
from typing import cast

from .listener import Listener
from .ports import LOOPBACK, free_port

CHUNK_BYTES = 1 << 16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: A Unix socket's path, or a host and a port.
Target = str | tuple[str, int]


class Pipe(Listener):
    """Carries connections to a target in a thread of its own; each fault ends with heal()."""

    host = LOOPBACK

    def __init__(self, target: Target) -> None:
        self.port = free_port()
        self._target = target
        self._refusing = False
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._open: asyncio.Event
        self._server: asyncio.Server

    def refuse(self) -> None:
        """Reset every connection, and every new one."""
        self._refusing = True
        self._call(self._reset())

    def cut(self) -> None:
        """Reset every connection once."""
        self._call(self._reset())

    def hold(self) -> None:
        """Carry nothing; what comes meanwhile arrives once it is healed, late, as TCP has it."""
        self._call(self._hold())

    def heal(self) -> None:
        """Carry again."""
        self._refusing = False
        self._call(self._let_go())

    async def _begin(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._accept, self.host, self.port)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections[task] = writer
        try:
            with contextlib.suppress(OSError), contextlib.closing(writer):
                await self._carry(reader, writer)
        except asyncio.CancelledError:
            # Reset: nobody waits for the end of this task.
            pass
        finally:
            self._connections.pop(task, None)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        replies, server = await self._connect()
        with contextlib.closing(server):
            pumps = [
                asyncio.ensure_future(self._pump(reader, server)),
                asyncio.ensure_future(self._pump(replies, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        await self._open.wait()

    async def _reset(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            _reset(self._connections[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self) -> None:
        self._open.clear()

    async def _let_go(self) -> None:
        self._open.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
