"""The driver of a cluster for asyncio: all nodes of a round trip are asked at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ...breaker import EndlessPatience
from ...exceptions import InvalidValue, SessionStoreUnavailable
from ...health import Health
from ...operations import Command
from .. import aio, pools
from ..aio_lines import Line
from ..lasting import outlast
from ..origin import Primary
from ..protocols import AsyncServerPool
from . import sync
from .routing import Answers, Batches, route
from .topology import Address


class Node(aio.Driver):
    """Asks one node; leaves the errors that it answers with to the routing."""

    follows_name = False

    def __init__(self, pool: AsyncServerPool, health: Health) -> None:
        """Take a pool that knows how to connect; whether to ask is for the cluster to say."""
        super().__init__(pool, health, EndlessPatience(), Primary())

    async def ask(self, commands: tuple[Command, ...]) -> list[Any] | Exception:
        """Return replies, or why there are none."""
        try:
            return await self._exchange(commands)
        except (SessionStoreUnavailable, InvalidValue) as problem:
            return problem

    def retire(self) -> None:
        """Close the connection once what is on its way is done."""
        if self._line is not None:
            self._line.retire()

    async def _settle(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        return replies


class ClusterDriver(aio.Driver):
    """Runs operations against a cluster, from any number of one event loop's tasks."""

    def __init__(self, twin: sync.ClusterDriver) -> None:
        """Take the driver for threads: what it knows of the cluster holds here too."""
        super().__init__(pools.make_async_pool(twin.pool), twin.health, twin.patience, twin.primary)
        self._twin = twin
        self._nodes: dict[Address, Node] = {}
        self._generation = 0

    async def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        routing = route(self._twin.cluster, commands)
        try:
            step = next(routing)
            while True:
                step = routing.send(await self._do(step))
        except StopIteration as stop:
            replies: list[Any] = stop.value
            return replies

    async def _do(self, step: Batches | float) -> Answers | None:
        if isinstance(step, float):
            await asyncio.sleep(step)
            return None
        if len(step) == 1:
            [(address, commands)] = step.items()
            return {address: await self._node(address).ask(commands)}
        asking = (outlast(self._node(address).ask(commands)) for address, commands in step.items())
        return dict(zip(step, await asyncio.gather(*asking), strict=True))

    def _node(self, address: Address) -> Node:
        if self._generation != self._twin.cluster.generation:
            self._forget_nodes()
        node = self._nodes.get(address)
        if node is None:
            pool = pools.make_pool(self._twin.alias, host=address.host, port=address.port)
            health = self._twin.health_of(address)
            node = self._nodes[address] = Node(pools.make_async_pool(pool), health)
            # All are closed together, those of nodes that have left the cluster too.
            node._lines = self._lines
        return node

    def _forget_nodes(self) -> None:
        self._generation = self._twin.cluster.generation
        known = self._twin.cluster.addresses
        for address in [address for address in self._nodes if address not in known]:
            self._nodes.pop(address).retire()
