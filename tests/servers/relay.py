"""A TCP relay in front of a server, which does to its clients what networks and failovers do.

with Valkey() as server, Relay(server.host, server.port) as relay:
    client = redis.Redis.from_url(relay.url)
    relay.drop_reply_once(on="HSET")
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from .doorman import Doorman
from .faults import CutReply, Faults, InjectReply
from .listener import Listener
from .passage import CHUNK_BYTES, Passage
from .ports import LOOPBACK, free_port
from .tape import Recorder, Tape
from .tls import ServerIdentity

TLS_FAREWELL_SECONDS = 1.0


class Relay(Listener):
    """Forwards RESP to ``host:port`` in a thread of its own, for sync and async tests alike.

    Every fault is in force when its method returns; it strikes once or lasts, as its docstring
    says, and ends with heal(). ``on`` names the command (its first word) that a fault waits for;
    without it any will do but those that clients send by themselves on connecting. With ``tls`` it
    speaks TLS to the client, with ``doorman`` it serves only those whom that one admits. It listens
    on a free port, or ``at`` a host and port.

    A client may send a pipeline in several writes, and the server answer the first before the
    second has come. While somebody counts, a request goes on once the client has been quiet for
    ``gather_seconds``: more than a client that writes in pieces needs from one to the next.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ServerIdentity | None = None,
        gather_seconds: float = 0.005,
        doorman: Doorman | None = None,
        at: tuple[str, int] | None = None,
    ) -> None:
        self.host, self.port = at or (LOOPBACK, free_port())
        self._target = (host, port)
        self._tls = tls
        self._gather_seconds = gather_seconds
        self._doorman = doorman
        self._faults = Faults()
        self._recorder = Recorder()
        self._passages: dict[asyncio.Task[None], Passage] = {}
        self._listener: asyncio.Server | None = None
        self._refusing = False

    @property
    def url(self) -> str:
        """The relay's URL, without a password."""
        return f"{'rediss' if self._tls else 'redis'}://{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections clients have made."""
        return self._recorder.total.connections

    @property
    def open_connections(self) -> int:
        """How many connections of clients are open."""
        return len(self._passages)

    @property
    def requests(self) -> list[str]:
        """The names of all commands that clients have sent, in capitals."""
        return self._recorder.total.names

    @property
    def round_trips(self) -> int:
        """How many times a client has waited; exact only while recording()."""
        return self._recorder.total.round_trips

    @property
    def bytes_in(self) -> int:
        """How many bytes clients have sent."""
        return self._recorder.total.bytes_to_server

    @property
    def bytes_out(self) -> int:
        """How many bytes clients were sent."""
        return self._recorder.total.bytes_to_client

    def recording(self) -> AbstractContextManager[Tape]:
        """Return a context manager that yields a Tape of what crosses meanwhile."""
        return self._recorder.tape()

    def heal(self) -> None:
        """Have no fault: listen again, and let go of the rest of stalled replies."""
        self._call(self._heal())

    def delay(self, seconds: float) -> None:
        """Hold each request for so long before it goes on, even if its client has left by then."""
        self._faults.delay_seconds = seconds

    def cut_reply_after(self, size: int, *, on: str | None = None) -> None:
        """Once: let the server do it, hand on ``size`` bytes of the reply, close the connection."""
        self._faults.once.append(CutReply(after_bytes=size, then="close", on=on))

    def stall_reply_after(self, size: int, *, on: str | None = None) -> None:
        """Once: let the server do it, hand on ``size`` bytes of the reply, then nothing more."""
        self._faults.once.append(CutReply(after_bytes=size, then="stall", on=on))

    def drop_reply_once(self, *, on: str | None = None) -> None:
        """Once: let the server do it and lose the reply; then close the connection."""
        self.cut_reply_after(0, on=on)

    def inject_reply_once(self, reply: bytes, *, on: str | None = None) -> None:
        """Once: answer a command with these bytes of RESP and keep it from the server."""
        self._faults.once.append(InjectReply(reply=reply, on=on))

    def inject_always(self, reply: bytes, *, on: str | None = None) -> None:
        """Answer every command with these bytes of RESP and keep it from the server."""
        self._faults.always = InjectReply(reply=reply, on=on)

    def rewrite(self, replies: Callable[[bytes], bytes]) -> None:
        """Hand on what a function makes of the bytes that the server replies to a burst."""
        self._faults.rewrite = replies

    def lead_to(self, host: str, port: int) -> None:
        """Lead to another server from now on, as a name does after a failover."""
        self._target = (host, port)
        self._call(self._reset())

    def show(self, identity: ServerIdentity | None) -> None:
        """Be somebody else from now on, or speak no TLS."""
        self.refuse()
        self._tls = identity
        self.heal()

    def black_hole(self) -> None:
        """Accept connections and requests, forward nothing either way; what came is lost."""
        self._faults.black_hole = True

    def forget_connections(self) -> None:
        """Swallow what the connections that are open bring, as a NAT gateway does after a while."""
        for passage in list(self._passages.values()):
            passage.is_forgotten = True

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._call(self._refuse())

    async def _begin(self) -> None:
        await self._listen()

    async def _end(self) -> None:
        await self._refuse()

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(
            self._accept,
            self.host,
            self.port,
            limit=CHUNK_BYTES,
            ssl=self._tls.context if self._tls else None,
            ssl_shutdown_timeout=TLS_FAREWELL_SECONDS if self._tls else None,
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = Passage(
            reader,
            writer,
            target=self._target,
            faults=self._faults,
            recorder=self._recorder,
            gather_seconds=self._gather_seconds,
            doorman=self._doorman,
        )
        if self._refusing:
            passage.reset()
            return
        self._recorder.count_connection()
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._passages[task] = passage
        try:
            await passage.run()
        finally:
            del self._passages[task]

    async def _refuse(self) -> None:
        self._refusing = True
        if self._listener:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _reset(self) -> None:
        tasks = list(self._passages)
        for task in tasks:
            self._passages[task].reset()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heal(self) -> None:
        self._faults.clear()
        self._refusing = False
        if self._listener is None:
            await self._listen()
