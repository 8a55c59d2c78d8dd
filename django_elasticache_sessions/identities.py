"""Whether servers of the cache tell who they are: does a script see the id that a command sees?

Those of Valkey and Redis do. A proxy in front of them may answer `INFO` by itself: with an id that
scripts do not see, or with another one each time. Such a server is one that does not tell: its id
is `UNTOLD`, its hashes are trusted whichever primary answers.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass

from . import scripts
from .drivers.origin import REPLICA, UNKNOWN, id_of
from .operations import Command, Operation, run

#: By which all those go that do not tell.
UNTOLD = UNKNOWN
#: As `ORIGIN`, but never answered from what is known of a connection.
_ASK: Command = ("INFO", "REPLICATION")
_ATTEMPTS = 2
#: So many new servers in one place, within so many seconds, are one whose id changes.
_MOST_NEW, _WITHIN_SECONDS = 8, 60.0
_PREDECESSOR = re.compile(
    rb"master_replid:([0-9a-f]{8}).*?master_replid2:(?!0{8})([0-9a-f]{8})", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a server said of itself; `predecessor` is the primary that it took over from, if any.

    `id` is empty where commands were told several.
    """

    id: bytes
    is_seen_by_scripts: bool
    predecessor: bytes | None = None


class Identities:
    """What a process knows of the ids that it was told."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._is_seen_by_scripts: dict[bytes, bool] = {}
        self._predecessors: dict[bytes, bytes] = {}
        self._are_changing = False
        self._met: dict[int, deque[float]] = {}

    def known_as(self, origin: bytes) -> bytes:
        """Return the id by which a server goes here: its own, or that of those that do not tell."""
        if origin in (b"", REPLICA):
            return origin
        if self._are_changing or not self._is_seen_by_scripts.get(origin, True):
            return UNTOLD
        return origin

    def is_new(self, origin: bytes) -> bool:
        """Tell whether a server that says so has to be probed."""
        return self.known_as(origin) not in (b"", UNTOLD, REPLICA, *self._is_seen_by_scripts)

    def predecessor(self, origin: bytes) -> bytes | None:
        """Return the primary whose place a server has taken, if it says so."""
        return self._predecessors.get(origin)

    def learn(self, place: int, origin: bytes, probed: Probed) -> None:
        """Take what a server said that had been called `origin`; `place` is where it was met."""
        if probed.id in self._is_seen_by_scripts and probed.is_seen_by_scripts:
            # Others met it at the same time.
            return
        if not probed.id or self._is_one_of_many(place):
            self._are_changing = True
            return
        self._is_seen_by_scripts[probed.id] = probed.is_seen_by_scripts
        if not probed.is_seen_by_scripts:
            self._is_seen_by_scripts[origin] = False
        if probed.predecessor:
            self._predecessors[probed.id] = probed.predecessor

    def _is_one_of_many(self, place: int) -> bool:
        now = time.monotonic()
        met = self._met.setdefault(place, deque(maxlen=_MOST_NEW))
        met.append(now)
        return len(met) == _MOST_NEW and now - met[0] < _WITHIN_SECONDS


def probe(key: str) -> Operation[Probed]:
    """Ask the server that a key leads to, twice in a row and once more in case of doubt.

    Once more, as a failover may fall in between. Raises `SessionStoreUnavailable`.
    """
    told: set[bytes] = set()
    for _ in range(_ATTEMPTS):
        asking = (run(scripts.ORIGIN, (key,), ()), _ASK)
        replies = yield (*asking, *asking)
        infos = replies[1::2]
        seen = set(map(id_of, infos))
        if len({*seen, *replies[::2]}) == 1:
            [origin] = seen
            return Probed(origin, is_seen_by_scripts=True, predecessor=_predecessor(infos[0]))
        told |= seen
    return Probed(told.pop() if len(told) == 1 else b"", is_seen_by_scripts=False)


def _predecessor(info: bytes) -> bytes | None:
    found = _PREDECESSOR.search(info)
    return found[2] if found else None
