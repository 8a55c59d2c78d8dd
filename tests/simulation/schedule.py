"""What happens in a simulation, as a literal that a test can hold."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

#: Which exchange: of which actor, in which of its operations, counted from 0.
At = tuple[int, int, int]

#: What can become of an exchange, besides being done.
FATES = (
    "slow",
    "refused",
    "lost",
    "held",
    "killed",
    "killed after",
    "cancelled",
    "cancelled after",
)
#: What can happen before an exchange.
EVENTS = (
    "cache away",
    "cache back",
    "database away",
    "database back",
    "jump",
    "empty",
    "evict",
    "snapshot",
    "restore",
    "promote",
    "split",
    "move",
    "join",
    "release",
    "ahead",
)
EVERYBODY = -1


class Op(NamedTuple):
    """An operation of an actor, on a visitor's session."""

    kind: str
    visitor: int = 0
    field: str = "a"

    def __repr__(self) -> str:
        """Leave out what is as usual."""
        if self.field != "a":
            return f"Op({self.kind!r}, {self.visitor}, {self.field!r})"
        return f"Op({self.kind!r}, {self.visitor})" if self.visitor else f"Op({self.kind!r})"


class Switch(NamedTuple):
    """Another actor continues before this exchange."""

    at: At
    to: int


class Fault(NamedTuple):
    """What becomes of an exchange (`FATES`), or happens before it (`EVENTS`).

    `value` is a process, a visitor or a number of seconds; of a held exchange, 1 if it is
    delivered only after everything else; of a slow one, the milliseconds until its process goes on.
    """

    at: At
    kind: str
    value: int = EVERYBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A whole simulation. Actors continue in their order, but for the switches."""

    actors: tuple[tuple[Op, ...], ...]
    switches: tuple[Switch, ...] = ()
    faults: tuple[Fault, ...] = ()
    #: The process of each actor; by default each has its own.
    processes: tuple[int, ...] = ()
    engine: str = "cached_db"
    writes: str = "through"
    database: str = "sqlite"
    #: The engine of before, and which processes still have it.
    previous: str = ""
    old: tuple[int, ...] = ()

    @property
    def size(self) -> tuple[int, int, int]:
        """How long it is to read; for shrinking."""
        operations = sum(map(len, self.actors))
        return operations, len(self.switches) + len(self.faults), len(self.actors)

    def __str__(self) -> str:
        """Write it as Python, one part a line."""
        lines = [
            f"    {field.name}={getattr(self, field.name)!r},"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return "\n".join(["Schedule(", *lines, ")"])
