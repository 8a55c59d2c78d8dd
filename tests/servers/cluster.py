"""A real cluster of server processes that a test owns: three primaries, each with a replica.

with ValkeyCluster() as cluster:
    cluster.primary_of("key").kill()
    cluster.wait_until_whole()
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Self

import redis
from redis.crc import key_slot

from .network import Network, Place
from .ports import BUS_OFFSET
from .releases import Release
from .valkey import Valkey
from .waiting import wait_until

SLOTS = 16384
#: After so long without an answer the others hold a node for lost (`cluster-node-timeout`).
NODE_TIMEOUT_SECONDS = 1.0


class ValkeyCluster:
    """Primaries with the slots in equal parts, and replicas that take over from them.

    ``config``, ``acl`` and ``restricted`` are those of every node. With ``full_coverage`` the whole
    cluster refuses to serve while one slot is not covered, as the servers' own default is. With a
    ``network`` all that is said to a node goes through it, but for what a test says through
    ``Valkey.client()``.
    """

    def __init__(
        self,
        release: Release | None = None,
        *,
        shards: int = 3,
        replicas: bool = True,
        full_coverage: bool = False,
        config: Mapping[str, str] | None = None,
        acl: Sequence[str] = (),
        network: Network | None = None,
        restricted: bool = True,
    ) -> None:
        settings = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(int(NODE_TIMEOUT_SECONDS * 1000)),
            "cluster-require-full-coverage": "yes" if full_coverage else "no",
            "cluster-replica-validity-factor": "0",
            **(config or {}),
        }
        self._network = network
        self._places: dict[Valkey, Place] = {}
        self._stack = ExitStack()

        def node() -> Valkey:
            place = network.new_place() if network else None
            lines = settings | (place.settings if place else {})
            made = Valkey(release, config=lines, acl=acl, restricted=restricted)
            if place:
                self._places[made] = place
            return made

        self.primaries = [node() for _ in range(shards)]
        self.replicas = [node() for _ in range(shards if replicas else 0)]

    def __enter__(self) -> Self:
        """Start the nodes and make them a cluster."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
                if self._network:
                    self._network.lead(self._places[node], node.port)
            self._form()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop every node."""
        self._stack.close()

    @property
    def nodes(self) -> list[Valkey]:
        """All of them."""
        return [*self.primaries, *self.replicas]

    @property
    def current_primaries(self) -> list[Valkey]:
        """Those that are primaries now, whatever they were at first."""
        return [node for node in self.nodes if node.running and self._is_primary(node)]

    @property
    def url(self) -> str:
        """The URL of a node, as that of a configuration endpoint."""
        first = self.primaries[0]
        return first.url.replace(f":{first.port}", f":{self.port_of(first)}")

    @property
    def administrators_url(self) -> str:
        """The same for who may do all."""
        first = self.primaries[0]
        return first.administrators_url.replace(f":{first.port}", f":{self.port_of(first)}")

    def port_of(self, node: Valkey) -> int:
        """Return the port that a node announces."""
        return self._places[node].port if self._network else node.port

    @contextmanager
    def cut_off(
        self, node: Valkey, *, from_clients: bool = False, from_peers: bool = False
    ) -> Iterator[None]:
        """Have the network cut a node off; see there."""
        assert self._network is not None
        with self._network.cut_off(
            self._places[node], from_clients=from_clients, from_peers=from_peers
        ):
            yield

    def primary_of(self, key: str) -> Valkey:
        """Return who serves a key now."""
        return self._owner(key_slot(key.encode()))

    def replica_of(self, primary: Valkey) -> Valkey:
        """Return a node's replica."""
        return next(
            node
            for node in self.nodes
            if node is not primary and self._master_port(node) == self.port_of(primary)
        )

    def clients(self) -> Iterable[redis.Redis]:
        """Return a client of each node that is a primary now, closed when the node stops."""
        return [node.client() for node in self.current_primaries]

    def tell_all(self, *words: object) -> list[Any]:
        """Have every node run a command, and return what each answered."""
        return [self._ask(node, *words) for node in self.nodes]

    def flush(self) -> None:
        """Forget all data."""
        for client in self.clients():
            client.flushall()
            client.close()

    def wait_until_whole(self, *, timeout_seconds: float = 15.0) -> None:
        """Wait until every node that runs says that all slots are served."""
        wait_until(
            lambda: all(self._is_whole(node) for node in self.nodes if node.running),
            what="the cluster whole",
            timeout_seconds=timeout_seconds,
        )

    def announce(self, node: Valkey, port: int) -> None:
        """Have the whole cluster tell clients that a node is at another port, as that of a relay.

        For a cluster without replicas, whose slots stay.
        """
        with node.client() as client:
            client.config_set("cluster-announce-port", port)
        wait_until(
            lambda: all(port in self._ports(other) for other in self.nodes),
            what="the port announced",
        )

    def put_behind(
        self, relays: ExitStack, make_relay: Callable[[str, int], AbstractContextManager[Any]]
    ) -> list[Any]:
        """Put a relay in front of each node; clients are told of no other way. See announce()."""
        made = []
        for node in self.nodes:
            made.append(relays.enter_context(make_relay(node.host, node.port)))
            self.announce(node, made[-1].port)
        return made

    def wait_until_replica(self, node: Valkey, *, timeout_seconds: float = 15.0) -> None:
        """Wait until a node follows a primary, and is in step with it."""
        wait_until(
            lambda: self._is_linked(node),
            what="the node a replica",
            timeout_seconds=timeout_seconds,
        )

    def move_slot(self, slot: int, target: Valkey) -> None:
        """Move a slot's keys to another primary, one after the other, as resharding does."""
        source = self._owner(slot)
        if source is target:
            return
        self.begin_move(slot, source, target)
        with source.client() as client:
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
                self.move_keys(keys, source, target)
        self.end_move(slot, target)

    def begin_move(self, slot: int, source: Valkey, target: Valkey) -> None:
        """Have both know that a slot is on its way; its keys are still where they were."""
        self._tell(target, "SETSLOT", slot, "IMPORTING", self._id(source))
        self._tell(source, "SETSLOT", slot, "MIGRATING", self._id(target))

    def move_keys(self, keys: Sequence[bytes], source: Valkey, target: Valkey) -> None:
        """Move keys of a slot that is on its way."""
        username, password = target.administrator
        signing_in = ("AUTH2", username, password) if username else ()
        words = ("MIGRATE", target.host, target.port, "", 0, 5000, *signing_in, "KEYS", *keys)
        self._ask(source, *words)

    def end_move(self, slot: int, target: Valkey) -> None:
        """Have every primary know who has the slot."""
        owner = self._id(target)
        for node in [target, *self.nodes]:
            if self._is_primary(node):
                self._tell(node, "SETSLOT", slot, "NODE", owner)

    def _form(self) -> None:
        share = SLOTS // len(self.primaries)
        for index, node in enumerate(self.primaries):
            last = SLOTS - 1 if node is self.primaries[-1] else (index + 1) * share - 1
            self._tell(node, "ADDSLOTS", *range(index * share, last + 1))
            self._tell(node, "SET-CONFIG-EPOCH", index + 1)
        wait_until(self._are_acquainted, what="the nodes acquainted", timeout_seconds=30)
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            self._tell(replica, "REPLICATE", self._id(primary))
        self.wait_until_whole(timeout_seconds=20)
        for replica in self.replicas:
            self.wait_until_replica(replica, timeout_seconds=20)

    def _are_acquainted(self) -> bool:
        # A handshake that takes longer than the node timeout is given up: they meet once more.
        first, *others = self.nodes
        if all(self._known(node) == len(self.nodes) for node in self.nodes):
            return True
        for node in others:
            if self._known(node) < len(self.nodes):
                port = self.port_of(node)
                self._tell(first, "MEET", node.host, port, port + BUS_OFFSET)
        time.sleep(0.3)
        return False

    def _owner(self, slot: int) -> Valkey:
        running = [node for node in self.nodes if node.running]
        with random.choice(running).client() as client:
            for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if self.port_of(node) == primary[1])
        raise LookupError(f"Slot {slot} is served by nobody.")

    def _ports(self, node: Valkey) -> set[int]:
        with node.client() as client:
            ranges = client.execute_command("CLUSTER", "SLOTS")
        return {int(primary[1]) for _, _, primary, *_ in ranges}

    def _tell(self, node: Valkey, *words: object) -> object:
        return self._ask(node, "CLUSTER", *words)

    def _ask(self, node: Valkey, *words: object) -> Any:
        with node.client() as client:
            return client.execute_command(*words)

    def _id(self, node: Valkey) -> str:
        found = self._tell(node, "MYID")
        return found.decode() if isinstance(found, bytes) else str(found)

    def _known(self, node: Valkey) -> int:
        return int(self._info(node)["cluster_known_nodes"])

    def _is_whole(self, node: Valkey) -> bool:
        try:
            info = self._info(node)
        except redis.RedisError:
            return False
        return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == str(SLOTS)

    def _info(self, node: Valkey) -> dict[str, str]:
        with node.client() as client:
            found = client.execute_command("CLUSTER", "INFO")
        if isinstance(found, dict):
            return {str(name): str(value) for name, value in found.items()}
        return dict(line.split(":", 1) for line in found.decode().splitlines() if ":" in line)

    def _replication(self, node: Valkey) -> dict[str, object]:
        with node.client() as client:
            found: dict[str, object] = client.info("replication")
        return found

    def _is_primary(self, node: Valkey) -> bool:
        return self._replication(node)["role"] == "master"

    def _is_linked(self, node: Valkey) -> bool:
        return self._replication(node).get("master_link_status") == "up"

    def _master_port(self, node: Valkey) -> object:
        return self._replication(node).get("master_port") if node.running else None
