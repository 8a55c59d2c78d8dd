"""Which primary owns which slot, read from what the cluster says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .slots import SLOTS

#: Asks a node for the topology.
CLUSTER_SLOTS = ("CLUSTER", "SLOTS")


class Address(NamedTuple):
    """Where a node is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, *, asked: Address) -> Address | None:
        """Read "host:port" as in MOVED; without a host, it is that of the node that was asked."""
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or host == "?":
            return None
        return cls(host or asked.host, int(port))


class Redirection(NamedTuple):
    """Where a node says that a slot is: for good (MOVED), or for this once (ASK)."""

    slot: int
    address: Address
    is_for_good: bool

    @classmethod
    def parse(cls, text: str, *, asked: Address) -> Redirection | None:
        """Read an error reply; `None` where it is another error."""
        words = text.split()
        if len(words) < 3 or words[0] not in ("MOVED", "ASK") or not words[1].isdecimal():
            return None
        slot, address = int(words[1]), Address.parse(words[2], asked=asked)
        if address is None or slot >= SLOTS:
            return None
        return cls(slot, address, words[0] == "MOVED")


@dataclass(frozen=True, slots=True)
class Topology:
    """The owner of each slot, `None` for a slot that nobody serves; and every known replica.

    Replicas are asked for the topology only. `has_unnamed`: some owner is told without its host,
    and nobody can ask it.
    """

    owners: list[Address | None]
    replicas: frozenset[Address] = frozenset()
    has_unnamed: bool = False

    @classmethod
    def parse(cls, ranges: Any, *, asked: Address) -> Topology | None:
        """Read a reply to `CLUSTER SLOTS`; `None` where it names no primary or cannot be read.

        https://valkey.io/commands/cluster-slots/
        """
        owners: list[Address | None] = [None] * SLOTS
        replicas: set[Address] = set()
        has_unnamed = False
        try:
            for first, last, *nodes in ranges:
                if not 0 <= first <= last < SLOTS:
                    return None
                primary, *others = _addresses(nodes, asked)
                has_unnamed |= primary is None
                owners[first : last + 1] = [primary] * (last + 1 - first)
                replicas.update(address for address in others if address)
        except (TypeError, ValueError, AttributeError):
            return None
        if not any(owners):
            return None
        return cls(owners, frozenset(replicas), has_unnamed)

    @property
    def primaries(self) -> tuple[Address, ...]:
        """Every owner, in the order of their first slots."""
        return tuple(dict.fromkeys(owner for owner in self.owners if owner))


def _addresses(nodes: Iterable[Sequence[Any]], asked: Address) -> list[Address | None]:
    # A node that does not know its own name leaves it out: it is where it was asked.
    return [
        Address.parse(f"{(host or b'').decode()}:{port}", asked=asked) for host, port, *_ in nodes
    ]
