"""Slots that move, primaries lost in every way, and all of a cluster down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from ...servers.valkey import Valkey
from ...servers.waiting import wait_until
from ..cluster_stage import ClusterStage
from . import database

#: Sessions of the `cache` engine by which is seen that a part is served again.
PROBES = 3


def slots_moved(stage: ClusterStage) -> None:
    """Move one slot after the other, key by key."""
    ends = time.monotonic() + 2.5
    while time.monotonic() < ends:
        stage.move_a_slot()


def primary_killed(stage: ClusterStage) -> float:
    """Lose a primary that comes back."""
    return _lose(stage, _killed)


def primary_frozen(stage: ClusterStage) -> float:
    """Have a primary stand still."""
    return _lose(stage, _frozen)


def primary_cut_off(stage: ClusterStage) -> float:
    """Have nobody reach a primary."""
    return _lose(
        stage, lambda node: stage.cluster.cut_off(node, from_clients=True, from_peers=True)
    )


def primary_cut_off_from_peers(stage: ClusterStage) -> float:
    """Have only clients reach a primary, which goes on for a moment."""
    return _lose(stage, lambda node: stage.cluster.cut_off(node, from_peers=True))


def primary_cut_off_from_clients(stage: ClusterStage) -> None:
    """Have only its peers reach a primary."""
    with stage.cluster.cut_off(stage.next_primary(), from_clients=True):
        time.sleep(2.5)


def killed_and_restarted_empty(stage: ClusterStage) -> None:
    """Lose all of it."""
    with ExitStack() as stack:
        for node in stage.cluster.nodes:
            stack.enter_context(_killed(node))
        time.sleep(1.5)
    stage.cluster.wait_until_whole()


def both_down(stage: ClusterStage) -> None:
    """Have neither store."""
    with ExitStack() as stack:
        for node in stage.cluster.nodes:
            stack.enter_context(_frozen(node))
        database.stopped(stage)
    stage.cluster.wait_until_whole()


def _lose(stage: ClusterStage, loss: Callable[[Valkey], AbstractContextManager[None]]) -> float:
    """Lose a primary until its replica has its part; return how many seconds that took."""
    lost = stage.next_primary()
    replica = stage.cluster.replica_of(lost)
    probes = [stage.probe_on(lost, replica) for _ in range(PROBES)]
    began = time.monotonic()
    with replica.client() as client, loss(lost):
        wait_until(
            lambda: client.role()[0] == b"master" and all(map(stage.is_served, probes)),
            what="the replica in its place",
        )
        seconds = time.monotonic() - began
        time.sleep(0.7)
    stage.cluster.wait_until_replica(lost)
    stage.cluster.wait_until_whole()
    return seconds


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


FAULTS: dict[str, Callable[[ClusterStage], float | None]] = {
    "slots moved": slots_moved,
    "primary killed, comes back": primary_killed,
    "primary frozen": primary_frozen,
    "primary cut off from clients": primary_cut_off_from_clients,
    "primary cut off from all": primary_cut_off,
    "primary cut off from its peers": primary_cut_off_from_peers,
    "cluster killed, restarted empty": killed_and_restarted_empty,
    "both down": both_down,
}
