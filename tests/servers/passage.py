"""One client's connection through a relay."""

import asyncio
import contextlib
import socket
import struct
from asyncio.trsock import TransportSocket
from dataclasses import dataclass, field

import hiredis

from .doorman import Doorman
from .faults import CutReply, Faults, InjectReply
from .tape import Command, Recorder

CHUNK_BYTES = 1 << 20
INCOMPLETE = object()
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Burst:
    """What a client sent at once."""

    size: int = 0
    commands: list[Command] = field(default_factory=list)


class Passage:
    """Carries requests one way and replies the other, and has the faults strike.

    It forwards whole commands and knows how many replies the server owes, so that a fault strikes
    exactly one command and leaves the replies before it alone.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        target: tuple[str, int],
        faults: Faults,
        recorder: Recorder,
        gather_seconds: float,
        doorman: Doorman | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._socket: TransportSocket = writer.get_extra_info("socket")
        self._target = target
        self._faults = faults
        self._recorder = recorder
        self._gather_seconds = gather_seconds
        self._doorman = doorman
        self._has_signed_in = False
        self._requests = hiredis.Reader(notEnoughData=INCOMPLETE)
        self._replies = hiredis.Reader(notEnoughData=INCOMPLETE)
        self._server: asyncio.StreamWriter | None = None
        self._reply_task: asyncio.Task[None] | None = None
        self._owed = 0
        self._all_delivered = asyncio.Event()
        self._all_delivered.set()
        self._cut: CutReply | None = None
        self._held = b""
        #: Whether what comes is swallowed, either way.
        self.is_forgotten = False

    async def run(self) -> None:
        """Carry until either side ends its connection, then end the other's."""
        try:
            while (burst := await self._next_burst()).size:
                await self._carry(burst)
        except (OSError, hiredis.HiredisError):
            pass
        finally:
            await self._finish()

    def reset(self) -> None:
        """Reset the client's connection, as the system of a dead server does."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._writer.transport.abort()

    async def _next_burst(self) -> Burst:
        burst = Burst()
        while data := await self._read(within_seconds=self._patience(burst)):
            burst.size += len(data)
            burst.commands += _parsed(self._requests, data)
        return burst

    def _patience(self, burst: Burst) -> float | None:
        if burst.size == 0 or self._requests.has_data():
            return None
        return self._gather_seconds if self._recorder.recording else 0.0

    async def _read(self, *, within_seconds: float | None) -> bytes:
        if within_seconds == 0:
            return b""
        try:
            async with asyncio.timeout(within_seconds):
                return await self._reader.read(CHUNK_BYTES)
        except TimeoutError:
            return b""

    async def _carry(self, burst: Burst) -> None:
        begins = self._owed == 0 and bool(burst.commands)
        self._recorder.count_request(burst.commands, size=burst.size, begins=begins)
        if self._faults.delay_seconds:
            await asyncio.sleep(self._faults.delay_seconds)
        if not self._faults.black_hole and not self.is_forgotten:
            await self._carry_commands(burst.commands)

    async def _carry_commands(self, commands: list[Command]) -> None:
        waiting: list[Command] = []
        for command in commands:
            fault = self._refusal(command) or self._faults.striking(command)
            if fault is None:
                waiting.append(command)
                continue
            await self._forward(waiting)
            await self._all_delivered.wait()
            waiting = await self._strike(fault, command)
        await self._forward(waiting)

    def _refusal(self, command: Command) -> InjectReply | None:
        """Return what the doorman answers in the server's place, who admits everybody."""
        if self._doorman is None:
            return None
        reply = self._doorman.answer(command, has_signed_in=self._has_signed_in)
        self._has_signed_in |= reply == b"+OK\r\n"
        return InjectReply(reply=reply) if reply else None

    async def _strike(self, fault: CutReply | InjectReply, command: Command) -> list[Command]:
        """Have the fault strike; return what is to be forwarded all the same."""
        if isinstance(fault, InjectReply):
            await self._deliver(fault.reply)
            return []
        self._cut = fault
        return [command]

    async def _forward(self, commands: list[Command]) -> None:
        if not commands:
            return
        server = self._server or await self._connect()
        self._owed += len(commands)
        self._all_delivered.clear()
        server.write(b"".join(_packed(command) for command in commands))
        await server.drain()

    async def _connect(self) -> asyncio.StreamWriter:
        host, port = self._target
        reader, self._server = await asyncio.open_connection(host, port, limit=CHUNK_BYTES)
        self._reply_task = asyncio.create_task(self._carry_replies(reader))
        return self._server

    async def _carry_replies(self, server: asyncio.StreamReader) -> None:
        try:
            while data := await server.read(CHUNK_BYTES):
                replies = _parsed(self._replies, data)
                answers = [r for r in replies if not isinstance(r, hiredis.PushNotification)]
                self._owed = max(0, self._owed - len(answers))
                await self._carry_reply(data)
                if self._owed == 0:
                    self._all_delivered.set()
        except (OSError, hiredis.HiredisError):
            pass
        finally:
            self._all_delivered.set()
            self._writer.close()

    async def _carry_reply(self, data: bytes) -> None:
        if self._cut:
            self._held += data
            if self._owed == 0:
                await self._deliver_cut(self._cut)
        elif self._faults.black_hole or self.is_forgotten:
            pass
        elif self._faults.rewrite:
            # What comes in pieces is rewritten whole.
            self._held += data
            if self._owed == 0:
                whole, self._held = self._held, b""
                await self._deliver(self._faults.rewrite(whole))
        else:
            await self._deliver(data)

    async def _deliver_cut(self, cut: CutReply) -> None:
        whole, self._held, self._cut = self._held, b"", None
        healed = self._faults.healed
        await self._deliver(whole[: cut.after_bytes])
        if cut.then == "close":
            raise ConnectionAbortedError("as told")
        await healed.wait()
        await self._deliver(whole[cut.after_bytes :])

    async def _deliver(self, data: bytes) -> None:
        # Counted first: once the client has the reply, its test may look.
        self._recorder.count_reply(len(data))
        self._writer.write(data)
        await self._writer.drain()

    async def _finish(self) -> None:
        # All is closed before the first await, at which a relay that stops may cancel this.
        writers = [writer for writer in (self._writer, self._server) if writer]
        for writer in writers:
            writer.close()
        if self._reply_task:
            self._reply_task.cancel()
            await asyncio.wait([self._reply_task])
        for writer in writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _parsed(reader: hiredis.Reader, data: bytes) -> list[Command]:
    reader.feed(data)
    return list(iter(reader.gets, INCOMPLETE))


def _packed(command: Command) -> bytes:
    arguments = (b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in command)
    return b"*%d\r\n%b" % (len(command), b"".join(arguments))
