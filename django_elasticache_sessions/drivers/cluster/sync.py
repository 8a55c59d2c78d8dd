"""The driver of a cluster for threads: all nodes of a round trip are written to, then read from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.connection import ConnectionPool

from ...breaker import EndlessPatience
from ...conf import get_outline
from ...exceptions import InvalidValue, SessionStoreUnavailable
from ...health import Health
from ...operations import ORIGIN, Command
from .. import pools, sync
from ..failures import note_failure
from ..lines import Line
from ..replies import WIRE_ERRORS, deserves_second_attempt
from .routing import Answers, Batches, route
from .state import Cluster
from .topology import Address


class Node(sync.Driver):
    """Asks one node; leaves the errors that it answers with to the routing."""

    follows_name = False

    def __init__(self, pool: ConnectionPool, health: Health) -> None:
        """Take a pool that nobody else uses; whether to ask is for the cluster to say."""
        super().__init__(pool, health)
        self.patience = EndlessPatience()

    def ask(self, commands: tuple[Command, ...]) -> list[Any] | Exception:
        """Return replies, or why there are none."""
        try:
            return self._exchange(commands)
        except (SessionStoreUnavailable, InvalidValue) as problem:
            return problem

    def begin(self, commands: tuple[Command, ...]) -> Asked:
        """Send commands and do not wait for the replies."""
        return Asked(self, commands)

    def _settle(
        self, line: Line, commands: Sequence[Command], replies: list[Any], limit: int
    ) -> list[Any]:
        return replies


class Asked:
    """Commands that were sent to a node."""

    def __init__(self, node: Node, commands: tuple[Command, ...]) -> None:
        """Send them."""
        self._node = node
        self._commands = commands
        self._line: Line | None = None
        self._failure: Exception | None = None
        try:
            self._line, self._reused = node._checkout()
            self._line.send(commands)
        except WIRE_ERRORS as error:
            self._failure = error

    def replies(self) -> list[Any] | Exception:
        """Return the replies, or why there are none."""
        error, line = self._failure, self._line
        if line is not None and error is None:
            limit = get_outline().load_limit_bytes
            try:
                found = line.receive(self._commands, limit)
            except InvalidValue as problem:
                self._put_back()
                return problem
            except WIRE_ERRORS as problem:
                error = problem
            else:
                self._put_back()
                if not self._node.health.is_up:
                    self._node.health.answered()
                return found
        self._put_back()
        if line is not None and self._reused and error and deserves_second_attempt(error):
            return self._node.ask(self._commands)
        return note_failure(self._node, error or ConnectionError(), 0.0)

    def abandon(self) -> None:
        """See to it that no later request finds the replies."""
        if self._line is not None:
            self._line.hang_up()
            self._put_back()

    def _put_back(self) -> None:
        if self._line is not None:
            self._node._put_back(self._line)
            self._line = None


class ClusterDriver(sync.Driver):
    """Runs operations against a cluster, from any number of threads."""

    def __init__(self, alias: str, health_class: type[Health] = Health) -> None:
        """Take the alias of a cache whose connection factory leads to a cluster."""
        self._health_class = health_class
        addresses = [Address(*seed) for seed in pools.seeds(alias)]
        super().__init__(pools.make_pool(alias), health_class(alias))
        self.alias = alias
        self.cluster = Cluster(addresses, health_class(alias, part="some slots of its cluster"))
        self._nodes: dict[Address, Node] = {}
        self._generation = 0

    def leave(self) -> None:
        """See sync.Driver.leave(). Primaries are found by the topology."""
        self.cluster.hasten_refresh()

    @property
    def is_left_alone(self) -> bool:
        """Whether some primary did not serve, and is asked only now and then."""
        return self.cluster.is_partly_left_alone

    def health_of(self, address: Address) -> Health:
        """Return what this process last saw of a node."""
        return self._node(address).health

    def close(self) -> None:
        """Close every idle connection."""
        super().close()
        while self._nodes:
            self._nodes.popitem()[1].close()

    def _exchange(self, commands: tuple[Command, ...]) -> list[Any]:
        routing = route(self.cluster, commands)
        try:
            step = next(routing)
            while True:
                step = routing.send(self._do(step))
        except StopIteration as stop:
            replies: list[Any] = stop.value
            return replies

    def _do(self, step: Batches | float) -> Answers | None:
        if isinstance(step, float):
            time.sleep(step)
            return None
        if len(step) == 1 or any(commands[-1] is ORIGIN for commands in step.values()):
            return {
                address: self._node(address).ask(commands) for address, commands in step.items()
            }
        return self._ask_all(step)

    def _ask_all(self, batches: Batches) -> Answers:
        asked: dict[Address, Asked] = {}
        answers: dict[Address, list[Any] | Exception] = {}
        try:
            for address, commands in batches.items():
                asked[address] = self._node(address).begin(commands)
            for address, one in asked.items():
                answers[address] = one.replies()
        finally:
            for one in asked.values():
                one.abandon()
        return answers

    def _node(self, address: Address) -> Node:
        if self._generation != self.cluster.generation:
            self._forget_nodes()
        node = self._nodes.get(address)
        return node or self._nodes.setdefault(address, self._make_node(address))

    def _make_node(self, address: Address) -> Node:
        pool = pools.make_pool(self.alias, host=address.host, port=address.port)
        return Node(pool, self._health_class(self.alias, part=f"node {address}"))

    def _forget_nodes(self) -> None:
        self._generation = self.cluster.generation
        known = self.cluster.addresses
        for address, node in list(self._nodes.items()):
            if address not in self.cluster.primaries and not node.health.is_up:
                # Others serve what it served.
                node.health.answered()
            if address not in known:
                self._nodes.pop(address, None)
                node.close()
