"""A SCAN over all primaries: the cursor tells the node, too, and those already walked.

As with a SCAN of one server, what is there from beginning to end is found; but keys that move from
a node not yet scanned to one already scanned are not. That primaries change places, as when slots
move, leaves out none of them; one that took over from another already scanned is scanned as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...operations import Word
from .topology import Address

_END = b"0"
_SEPARATOR = b"@"


@dataclass(frozen=True, slots=True)
class Position:
    """A node, the cursor there, and the nodes walked to their ends before."""

    address: Address
    cursor: bytes
    walked: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, cursor: Word, primaries: Sequence[Address]) -> Position | None:
        """Read a cursor, "0" for the beginning; `None` where no node is left to walk.

        In place of a node that is no primary any more, its successor is scanned from its beginning:
        cursors of one server mean nothing to another.
        """
        text = bytes(cursor) if isinstance(cursor, bytes) else str(cursor).encode()
        own, *nodes = text.split(_SEPARATOR)
        current, walked = nodes[:1], tuple(nodes[1:])
        for address in primaries:
            if [_name(address)] == current:
                return cls(address, own, walked)
        following = _first_left(primaries, walked)
        return cls(following, _END, walked) if following else None

    def following(self, cursor: bytes, primaries: Sequence[Address]) -> bytes:
        """Return where to go on after a reply with this cursor, "0" at the end of the last node."""
        if cursor != _END:
            return _SEPARATOR.join([cursor, _name(self.address), *self.walked])
        walked = (*self.walked, _name(self.address))
        following = _first_left(primaries, walked)
        return _SEPARATOR.join([_END, _name(following), *walked]) if following else _END


def _first_left(primaries: Sequence[Address], walked: Sequence[bytes]) -> Address | None:
    return next((address for address in primaries if _name(address) not in walked), None)


def _name(address: Address) -> bytes:
    return str(address).encode()
