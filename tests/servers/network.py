"""A network between the nodes of a cluster and their clients, which can be cut.

with Network() as network, ValkeyCluster(network=network) as cluster:
    with network.cut_off(cluster.primaries[0].port, from_clients=True):
        ...

Each node announces ports of the network's, for clients and for the cluster's bus, and connects from
an address of its own, so that it is known who talks to whom. What is sent while two are cut off
from each other arrives afterwards, late, as TCP has it.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from .listener import Listener
from .ports import BUS_OFFSET, LOOPBACK, free_port

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Place:
    """Where a node is: where others reach it, and what its own connections come from.

    The bus is at ``port + BUS_OFFSET``, as ever; all of 127.0.0.0/8 leads to this machine.
    """

    port: int
    address: str

    @property
    def settings(self) -> Mapping[str, str]:
        """The lines for the node's configuration."""
        return {
            "bind-source-addr": self.address,
            "cluster-announce-ip": LOOPBACK,
            "cluster-announce-port": str(self.port),
            "cluster-announce-bus-port": str(self.port + BUS_OFFSET),
        }


class Network(Listener):
    """Carries every connection to a node, in a thread of its own."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._without_clients: Place | None = None
        self._without_peers: Place | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._listeners: list[asyncio.Server] = []
        self._healed = asyncio.Event()

    async def _begin(self) -> None:
        """Have nothing to listen to yet: see lead()."""

    def new_place(self) -> Place:
        """Return where the next node is to be."""
        place = Place(free_port(), f"127.0.1.{len(self._places) + 1}")
        self._places.append(place)
        return place

    def lead(self, place: Place, port: int) -> None:
        """Lead to who listens on this port, and on that of its bus."""
        self._call(self._listen(place, port))

    @contextmanager
    def cut_off(
        self, place: Place, *, from_clients: bool = False, from_peers: bool = False
    ) -> Iterator[None]:
        """Have a node cut off from all clients, from all other nodes, or from both."""
        self._call(
            self._cut(place if from_clients else None, place if from_peers else None),
        )
        try:
            yield
        finally:
            self._call(self._cut(None, None))

    async def _listen(self, place: Place, port: int) -> None:
        for offset in (0, BUS_OFFSET):
            accept = partial(self._accept, place, port + offset)
            listener = await asyncio.start_server(accept, LOOPBACK, place.port + offset)
            self._listeners.append(listener)

    async def _accept(
        self, place: Place, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError), contextlib.closing(writer):
                await self._carry(place, port, reader, writer)
        finally:
            self._connections.discard(task)

    async def _carry(
        self, place: Place, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry both ways until either side ends its connection."""
        source = writer.get_extra_info("peername")[0]
        await self._until_open(source, place)
        replies, server = await asyncio.open_connection(LOOPBACK, port)
        with contextlib.closing(server):
            await self._either(
                self._pump(reader, server, source, place),
                self._pump(replies, writer, source, place),
            )

    async def _either(self, *pumps: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str, place: Place
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._until_open(source, place)
            writer.write(data)
            await writer.drain()
        await self._until_open(source, place)

    async def _until_open(self, source: str, place: Place) -> None:
        while self._is_cut(source, place):
            await self._healed.wait()

    def _is_cut(self, source: str, place: Place) -> bool:
        peer = next((known for known in self._places if known.address == source), None)
        if peer is None:
            return self._without_clients == place
        return self._without_peers in (place, peer)

    async def _cut(self, clients: Place | None, peers: Place | None) -> None:
        self._without_clients, self._without_peers = clients, peers
        # Whoever waits looks again.
        self._healed.set()
        self._healed = asyncio.Event()

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
