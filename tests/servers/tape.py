"""What crossed a relay, counted at the wire."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Command = list[bytes]


@dataclass(slots=True)
class Tape:
    """Commands, round trips and bytes; complete for a client as soon as that has its reply.

    A round trip begins with a request on a connection that owes no reply, so a pipeline is one.
    Commands count as the client sent them, whether or not a fault kept them from the server; so do
    those of the handshake (HELLO, CLIENT SETINFO) when a connection is new.
    """

    commands: list[Command] = field(default_factory=list)
    connections: int = 0
    round_trips: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0

    @property
    def names(self) -> list[str]:
        """The commands' names in capitals, in order."""
        return [command[0].decode().upper() for command in self.commands]


class Recorder:
    """Counts on every tape that runs, and on one, ``total``, that always does.

    The total keeps only the commands' names: it lives as long as its relay.
    """

    def __init__(self) -> None:
        self.total = Tape()
        self._tapes: list[Tape] = []
        self._lock = threading.Lock()

    @property
    def recording(self) -> bool:
        """Whether any tape runs but the total."""
        return bool(self._tapes)

    @contextmanager
    def tape(self) -> Iterator[Tape]:
        """Yield a tape that runs meanwhile."""
        tape = Tape()
        with self._lock:
            self._tapes.append(tape)
        try:
            yield tape
        finally:
            with self._lock:
                # By identity: two tapes of the same content are equal.
                self._tapes = [other for other in self._tapes if other is not tape]

    def count_connection(self) -> None:
        """Count a client that connected."""
        with self._lock:
            for tape in (self.total, *self._tapes):
                tape.connections += 1

    def count_request(self, commands: Sequence[Command], *, size: int, begins: bool) -> None:
        """Count the ``size`` bytes of a request, which begins a round trip or does not."""
        with self._lock:
            self.total.commands.extend(command[:1] for command in commands)
            for tape in self._tapes:
                tape.commands.extend(commands)
            for tape in (self.total, *self._tapes):
                tape.bytes_to_server += size
                tape.round_trips += begins

    def count_reply(self, size: int) -> None:
        """Count bytes that go to a client."""
        with self._lock:
            for tape in (self.total, *self._tapes):
                tape.bytes_to_client += size
