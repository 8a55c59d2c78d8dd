"""A cluster that its clients reach through relays only, one in front of each node.

with ClusterBehindRelays(tls=ServerIdentity.valid(directory)) as cluster:
    cluster.relay_of(cluster.primaries[0]).black_hole()
"""

from contextlib import ExitStack
from typing import Self

from .cluster import ValkeyCluster
from .doorman import Doorman
from .relay import Relay
from .tls import ServerIdentity
from .valkey import Valkey
from .waiting import wait_until

#: What clients are told in place of the nodes' own address; the ports are the same.
FRONT = "127.0.0.2"


class ClusterBehindRelays(ValkeyCluster):
    """Nodes speak to each other as ever, and tell clients of their relays.

    With a ``domain`` clients are told names, ``node-0.<domain>`` and so on. Needs Valkey.
    """

    def __init__(
        self,
        *,
        tls: ServerIdentity | None = None,
        doorman: Doorman | None = None,
        domain: str = "",
        replicas: bool = False,
        acl: tuple[str, ...] = (),
    ) -> None:
        config = {"cluster-announce-client-ipv4": FRONT}
        if domain:
            config["cluster-preferred-endpoint-type"] = "hostname"
        super().__init__(replicas=replicas, config=config, acl=acl)
        self.relays = [
            Relay(node.host, node.port, tls=tls, doorman=doorman, at=(FRONT, node.port))
            for node in self.nodes
        ]
        self._domain = domain
        self._scheme = "rediss" if tls else "redis"

    def __enter__(self) -> Self:
        """Start the relays, then the nodes."""
        with ExitStack() as stack:
            for relay in self.relays:
                stack.enter_context(relay)
            stack.push(super().__exit__)
            super().__enter__()
            self._relaying = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop everything."""
        self._relaying.close()

    @property
    def url(self) -> str:
        """The URL of the first node's relay, by name where names are told."""
        return f"{self._scheme}://{self.name_of(self.primaries[0])}:{self.primaries[0].port}"

    @property
    def connections(self) -> list[int]:
        """How many connections clients have made to each node."""
        return [relay.connections for relay in self.relays]

    def name_of(self, node: Valkey) -> str:
        """Return the host by which clients are told of a node."""
        return f"node-{self.nodes.index(node)}.{self._domain}" if self._domain else FRONT

    def relay_of(self, node: Valkey) -> Relay:
        """Return what stands in front of a node."""
        return self.relays[self.nodes.index(node)]

    def _form(self) -> None:
        for node in self.nodes if self._domain else ():
            node.client().config_set("cluster-announce-hostname", self.name_of(node))
        super()._form()
        wait_until(self._know_names, what="the nodes' names known", timeout_seconds=20)

    def _know_names(self) -> bool:
        wanted = {self.name_of(node) for node in self.nodes}
        return all(self._told(node) == wanted for node in self.nodes)

    def _told(self, node: Valkey) -> set[str]:
        told = node.client().execute_command("CLUSTER", "SLOTS")
        return {(host or b"").decode() for _, _, *nodes in told for host, *_ in nodes}
