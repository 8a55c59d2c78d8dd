"""The same with a cluster: slots that move, primaries lost in every way, and all of it down."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from ..cluster.conftest import point_sessions_at_cluster
from ..servers.cluster import NODE_TIMEOUT_SECONDS, ValkeyCluster
from ..servers.network import Network
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from .drill import BOTH_DOWN, DATABASE_DOWN, drill
from .stage import Stage

#: Within this, a lost primary's sessions are served by the cluster again.
RECOVERY_SECONDS = NODE_TIMEOUT_SECONDS + 2
#: Sessions by which that is seen.
PROBES = 5


class ClusterStage(Stage):
    """With three primaries and their replicas, in a network that can be cut."""

    def __init__(self, folder: Path, settings: Any) -> None:
        super().__init__(folder)
        self._settings = settings
        self._turn = count()

    def _start_cache(self, stack: ExitStack) -> Mapping[str, str]:
        network = stack.enter_context(Network())
        self.cluster = stack.enter_context(ValkeyCluster(network=network))
        # This process sees it as the shop's do; its own sessions are in the cluster alone.
        point_sessions_at_cluster(self._settings, self.cluster, is_patient=False)
        self._settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "probe"}
        return {"REDIS_URL": self.cluster.url, "CHAOS_CLUSTER": "1"}

    # The faults; each ends with everything as it should be.

    def slots_moved(self) -> None:
        keys = {key for client in self.cluster.clients() for key in client.scan_iter("session*")}
        slots = sorted({key_slot(key) for key in keys})
        primaries = self.cluster.current_primaries
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            turn, place = divmod(next(self._turn), len(slots))
            self.cluster.move_slot(slots[place], primaries[(place + turn) % 3])

    def primary_killed(self) -> float:
        return self._lose(_killed)

    def primary_frozen(self) -> float:
        return self._lose(_frozen)

    def primary_cut_off(self) -> float:
        return self._lose(
            lambda node: self.cluster.cut_off(node, from_clients=True, from_peers=True)
        )

    def primary_cut_off_from_peers(self) -> float:
        return self._lose(lambda node: self.cluster.cut_off(node, from_peers=True))

    def primary_cut_off_from_clients(self) -> None:
        with self.cluster.cut_off(self._next_primary(), from_clients=True):
            time.sleep(3)

    def cluster_killed_and_restarted_empty(self) -> None:
        with ExitStack() as stack:
            for node in self.cluster.nodes:
                stack.enter_context(_killed(node))
            time.sleep(2)
        self.cluster.wait_until_whole()

    def both_down(self) -> None:
        with ExitStack() as stack:
            for node in self.cluster.nodes:
                stack.enter_context(_frozen(node))
            self.postgresql_stopped_and_started()
        self.cluster.wait_until_whole()

    def _lose(self, loss: Callable[[Valkey], AbstractContextManager[None]]) -> float:
        """Lose a primary until its replica has its part; return how many seconds that took."""
        lost = self._next_primary()
        replica = self.cluster.replica_of(lost)
        probes = [self._probe_on(lost) for _ in range(PROBES)]
        with replica.client() as client:
            client.readonly()
            wait_until(
                lambda: all(client.exists(hash_key(probe)) for probe in probes), what="the copies"
            )
            began = time.monotonic()
            with loss(lost):
                wait_until(
                    lambda: client.role()[0] == b"master" and all(map(is_served, probes)),
                    what="the replica in its place",
                )
                seconds = time.monotonic() - began
                time.sleep(1)
        self.cluster.wait_until_replica(lost)
        self.cluster.wait_until_whole()
        return seconds

    def _next_primary(self) -> Valkey:
        return self.cluster.current_primaries[next(self._turn) % 3]

    def _probe_on(self, node: Valkey) -> str:
        """Return the key of a new session that lies on a node."""
        while True:
            session = SessionStore()
            session["is_served"] = True
            session.save()
            if self.cluster.primary_of(hash_key(session.session_key)) is node:
                return str(session.session_key)


def hash_key(session_key: str | None) -> str:
    return get_configuration().naming.session(session_key or "").hash_key


def is_served(session_key: str) -> bool:
    try:
        return "is_served" in SessionStore(session_key)
    except SessionStoreUnavailable:
        return False


@contextmanager
def _killed(node: Valkey) -> Iterator[None]:
    node.kill()
    yield
    node.start()


@contextmanager
def _frozen(node: Valkey) -> Iterator[None]:
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


#: The faults by what the table calls them.
FAULTS: dict[str, Callable[[ClusterStage], float | None]] = {
    "none": ClusterStage.nothing,
    "slots moved": ClusterStage.slots_moved,
    "primary killed, comes back": ClusterStage.primary_killed,
    "primary frozen": ClusterStage.primary_frozen,
    "primary cut off from clients": ClusterStage.primary_cut_off_from_clients,
    "primary cut off from all": ClusterStage.primary_cut_off,
    "primary cut off from its peers": ClusterStage.primary_cut_off_from_peers,
    "cluster killed, restarted empty": ClusterStage.cluster_killed_and_restarted_empty,
    BOTH_DOWN: ClusterStage.both_down,
    DATABASE_DOWN: ClusterStage.postgresql_stopped_and_started,
}


@pytest.mark.timeout(300)
def test_the_shop_survives_every_fault_of_a_cluster(tmp_path: Path, capsys, settings):
    with ClusterStage(tmp_path, settings) as servers:
        found = drill(servers, FAULTS)
    with capsys.disabled():
        sys.stdout.write(f"\n{found.table()}\n")
    found.judge()
    assert {
        name: seconds for name, seconds in found.recoveries.items() if seconds > RECOVERY_SECONDS
    } == {}
