"""What this process knows of a cluster; shared by its threads and event loops."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from random import SystemRandom
from threading import Lock

from ...breaker import Breaker
from ...exceptions import LimitReached, SessionStoreUnavailable
from ...health import Health
from ...texts import Text, text_of
from .topology import Address, Topology

#: The topology is asked for at most this often, give or take a half: processes that lost the same
#: node do not all ask at once.
REFRESH_SECONDS = 0.25
#: Nodes asked for the topology, one after the other, until one tells.
_MOST_SOURCES = 4
#: Seeded by nobody: processes forked from one must not choose alike.
_chance = SystemRandom()


class Cluster:
    """The topology as it was told last, and which nodes did not serve when last asked."""

    def __init__(self, seeds: Sequence[Address], health: Health) -> None:
        """Take the addresses of `LOCATION`; `health` is that of slots which nobody serves."""
        self.seeds = tuple(seeds)
        self.topology: Topology | None = None
        #: In the order of their slots.
        self.primaries: tuple[Address, ...] = ()
        #: Grows whenever nodes may have gone.
        self.generation = 0
        self._health = health
        self._breakers: dict[Address, Breaker] = {}
        self._problems: dict[Address, str] = {}
        self._unserved: set[int] = set()
        self._next_refresh = 0.0
        self._lock = Lock()

    @property
    def addresses(self) -> frozenset[Address]:
        """Every node that may be talked to."""
        known = frozenset(self.seeds)
        if self.topology:
            known = known.union(self.primaries, self.topology.replicas)
        return known

    @property
    def is_partly_left_alone(self) -> bool:
        """Whether some primary did not serve when last asked."""
        return any(self._breaker(address).is_open for address in self.primaries)

    def owner(self, slot: int) -> Address | None:
        """Return who serves a slot."""
        return self.topology.owners[slot] if self.topology else None

    def any_primary(self) -> Address | None:
        """Return a primary, one that serves where there is one."""
        serving = [address for address in self.primaries if not self._breaker(address).is_open]
        candidates = serving or self.primaries
        return _chance.choice(candidates) if candidates else None

    def admits(self, address: Address) -> bool:
        """Tell whether a node may be asked now; see `Breaker`."""
        return self._breaker(address).admits()

    def leaves_alone(self, address: Address) -> bool:
        """Tell whether a node did not serve when it was asked last."""
        return self._breaker(address).is_open

    def failed(self, address: Address, problem: Exception | None = None) -> None:
        """Note that a node did not serve, and why."""
        if isinstance(problem, SessionStoreUnavailable):
            self._problems[address] = text_of(problem)
        if isinstance(problem, LimitReached):
            # Others are served there.
            return
        self._breaker(address).failed()

    def problem_of(self, address: Address) -> SessionStoreUnavailable:
        """Return why a node did not serve when it was asked last."""
        text = self._problems.get(address, "")
        reason = text.values.get("reason", text) if isinstance(text, Text) else text
        if not reason:
            return SessionStoreUnavailable(
                Text("The session store's node %(node)s did not serve.", node=address)
            )
        return SessionStoreUnavailable(
            Text(
                "The session store's node %(node)s did not serve: %(reason)s",
                node=address,
                reason=reason,
            )
        )

    def served(self, address: Address) -> None:
        """Note that a node served."""
        self._breaker(address).served()

    def lacks(self, slot: int, problem: SessionStoreUnavailable) -> None:
        """Note that the cluster does not serve a slot."""
        self._unserved.add(slot)
        self._health.failed(problem)

    def serves(self, slot: int) -> None:
        """Note that it does."""
        if self._unserved:
            self._unserved.discard(slot)
            if not self._unserved:
                self._health.answered()

    def moved(self, slot: int, address: Address) -> None:
        """Note what a node said of a slot; the whole is asked for soon."""
        if self.topology and self.topology.owners[slot] != address:
            self.topology.owners[slot] = address
            self._note_change(self.topology)

    def hasten_refresh(self) -> None:
        """Have the next caller ask for the topology."""
        self._next_refresh = 0.0

    def claims_refresh(self) -> bool:
        """Tell one caller per interval to ask for the topology."""
        with self._lock:
            now = time.monotonic()
            if now < self._next_refresh:
                return False
            self._next_refresh = now + REFRESH_SECONDS * _chance.uniform(0.5, 1.5)
            return True

    def sources(self) -> Iterator[Address]:
        """Yield whom to ask for the topology: nodes that serve first, the seeds last."""
        known = list(self.addresses.difference(self.seeds))
        _chance.shuffle(known)
        serving = [address for address in known if not self._breaker(address).is_open]
        # Where none serves, the name of the configuration endpoint may lead to others by now.
        yield from [*serving[: _MOST_SOURCES - 1], *self.seeds][:_MOST_SOURCES]

    def take(self, topology: Topology) -> None:
        """Believe a node."""
        if topology != self.topology:
            self.topology = topology
            self._note_change(topology)

    def _note_change(self, topology: Topology) -> None:
        self.primaries = topology.primaries
        self.generation += 1

    def _breaker(self, address: Address) -> Breaker:
        breaker = self._breakers.get(address)
        return breaker or self._breakers.setdefault(address, Breaker())
