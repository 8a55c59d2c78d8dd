"""A stage whose cache is a cluster, in a network that can be cut."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count

from redis.crc import key_slot

from ..servers.cluster import ValkeyCluster
from ..servers.network import Network
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from .stages import PROCESSES, Stage

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"


class ClusterStage(Stage):
    """With three primaries and their replicas."""

    def start_cache(self, stack: ExitStack) -> list[Mapping[str, object]]:
        """See Stage."""
        self._turn = count()
        network = stack.enter_context(Network())
        self.cluster = stack.enter_context(ValkeyCluster(network=network))
        options = {"CONNECTION_FACTORY": FACTORY, "CLUSTER": True}
        return [{"location": self.cluster.url, "options": options}] * PROCESSES

    def empty_cache(self) -> None:
        """See Stage."""
        self.cluster.flush()

    def next_primary(self) -> Valkey:
        """Return one of the primaries, in turn."""
        primaries = self.cluster.current_primaries
        return primaries[next(self._turn) % len(primaries)]

    def move_a_slot(self) -> None:
        """Move a slot with sessions to the next primary."""
        keys = {key for client in self.cluster.clients() for key in client.scan_iter("session*")}
        slots = sorted({key_slot(key) for key in keys})
        if not slots:
            time.sleep(0.1)
            return
        turn, place = divmod(next(self._turn), len(slots))
        self.cluster.move_slot(
            slots[place % len(slots)], self.cluster.current_primaries[(place + turn) % 3]
        )

    def probe_on(self, node: Valkey, replica: Valkey) -> str:
        """Return the key of a new session of the `cache` engine that a node and its copy have."""
        while True:
            answer = self.browser.ask("new_probe", "")
            is_there = partial(_has, f"*{answer.session}*")
            if answer.session and is_there(node):
                wait_until(partial(is_there, replica), what="the copy")
                return str(answer.owner)

    def is_served(self, probe: str) -> bool:
        """Tell whether a process is served such a session."""
        return self.browser.ask("is_probe", "", owner=probe).ended == 1


def _has(pattern: str, node: Valkey) -> bool:
    with node.client() as client:
        client.readonly()
        return any(client.scan_iter(pattern, count=1000))
