"""What a relay is told to do wrong.

Tests set these from their own thread while the relay's reads them: each is replaced as a whole, or
is a deque, so that no lock is needed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .tape import Command

# A client sends these by itself on a new connection, and even a server that is loading or read-only
# answers them. A fault aimed at "the next request" means the next one of the application.
HANDSHAKE = frozenset({b"AUTH", b"CLIENT", b"HELLO", b"READONLY", b"SELECT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Which command a fault strikes: the one named, or any that is not part of a handshake."""

    on: str | None = None

    def strikes(self, command: Command) -> bool:
        """Tell whether the fault is for this command."""
        name = command[0].upper()
        return name not in HANDSHAKE if self.on is None else name == self.on.upper().encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CutReply(Aim):
    """Let the server do it, hand on only the first bytes of what it replies, then end or hang."""

    after_bytes: int
    then: Literal["close", "stall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectReply(Aim):
    """Answer in the server's place."""

    reply: bytes


Fault = CutReply | InjectReply


@dataclass(slots=True)
class Faults:
    """The faults of one relay that are in force."""

    delay_seconds: float = 0.0
    rewrite: Callable[[bytes], bytes] | None = None
    black_hole: bool = False
    always: InjectReply | None = None
    once: deque[Fault] = field(default_factory=deque)
    healed: asyncio.Event = field(default_factory=asyncio.Event)

    def striking(self, command: Command) -> Fault | None:
        """Return the fault for this command, if any; one that strikes once is then spent."""
        if self.once and self.once[0].strikes(command):
            return self.once.popleft()
        return self.always if self.always and self.always.strikes(command) else None

    def clear(self) -> None:
        """Have no fault and let stalled replies go on; to be called in the relay's loop."""
        self.delay_seconds = 0.0
        self.rewrite = None
        self.black_hole = False
        self.always = None
        self.once.clear()
        self.healed.set()
        self.healed = asyncio.Event()
