"""A SCAN over all primaries: the cursor tells the node, too.

As with a SCAN of one server, what is there from beginning to end is found; but keys that move from
a node not yet scanned to one already scanned are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...operations import Word
from .topology import Address

_END = b"0"


@dataclass(frozen=True, slots=True)
class Position:
    """A node, and the cursor there."""

    address: Address
    cursor: bytes

    @classmethod
    def parse(cls, cursor: Word, primaries: Sequence[Address]) -> Position | None:
        """Read a cursor, "0" for the beginning; `None` where there is no node.

        In place of a node that is no primary any more, its successor is scanned from its beginning:
        cursors of one server mean nothing to another.
        """
        text = bytes(cursor) if isinstance(cursor, bytes) else str(cursor).encode()
        if not primaries:
            return None
        own, _, place = text.partition(b"@")
        if not place:
            return cls(primaries[0], _END)
        index, _, node = place.partition(b"@")
        for address in primaries:
            if str(address).encode() == node:
                return cls(address, own)
        return cls(primaries[min(int(index), len(primaries) - 1)], _END)

    def following(self, cursor: bytes, primaries: Sequence[Address]) -> bytes:
        """Return where to go on after a reply with this cursor, "0" at the end of the last node."""
        index = primaries.index(self.address) if self.address in primaries else 0
        address = self.address
        if cursor == _END:
            index += 1
            if index >= len(primaries):
                return _END
            address = primaries[index]
        return b"%s@%d@%s" % (cursor, index, str(address).encode())
