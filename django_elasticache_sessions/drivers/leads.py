"""Where the connections of a pool lead to, and noticing that it is somewhere else by now.

The drivers keep connections. They have to leave them when another server takes over, also while the
one behind them can be reached and says nothing of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import sentinel as aiosentinel
from redis.sentinel import SentinelConnectionPool

from . import origin
from .origin import Primary


class Lead:
    """Of connections that lead to one server, whatever its address.

    A connection may be used as long as `number` is what it was when it was asked for.
    """

    __slots__ = ("_moves", "_next_look", "primary")

    def __init__(self, primary: Primary) -> None:
        """Take whom all connections of a name lead to, by whichever pool."""
        self.primary = primary
        self._moves = 0
        self._next_look = math.inf

    @property
    def number(self) -> int:
        """The number of those asked for now; it grows whenever all made before are to be left."""
        return self.primary.number + self._moves

    def address(self, connection: Any, peer: Callable[[], Any]) -> Any:
        """Return the address that a connection of redis-py has been made to, if that matters."""
        return None

    def led_to(self, address: Any, number: int) -> int:
        """Note where a connection leads that was asked for at a number; return its number now."""
        return number

    def claims_look(self) -> bool:
        """Tell one caller per interval to ask where a connection would lead by now."""
        return False


class NameLead(Lead):
    """Of connections that are made by a host name."""

    __slots__ = ()

    def address(self, connection: Any, peer: Callable[[], Any]) -> Any:
        """See Lead.address(). That behind the name."""
        try:
            return peer()
        except OSError:
            # It has closed by now.
            return None

    def led_to(self, address: Any, number: int) -> int:
        """See Lead.led_to()."""
        if address is None or number != self.number:
            # Others have left meanwhile: this may be what they have left.
            return number
        return number + self.primary.led_to(address, in_turn=True)


class SentinelLead(Lead):
    """Of connections that Sentinels lead to the primary.

    Pools may ask Sentinels that disagree. Each goes by its own, and none by what the other is told.
    """

    __slots__ = ("_address",)

    def __init__(self, primary: Primary) -> None:
        """See Lead."""
        super().__init__(primary)
        self._address: Any = None

    def address(self, connection: Any, peer: Callable[[], Any]) -> Any:
        """See Lead.address(). As Sentinels call it, which may be by a name."""
        return connection.host, connection.port

    def led_to(self, address: Any, number: int) -> int:
        """See Lead.led_to()."""
        self._next_look = time.monotonic() + origin.CONFIRMED_SECONDS
        if address in (None, self._address) or number != self.number:
            return number
        is_first, self._address = self._address is None, address
        if not is_first:
            self._moves += 1
        return number + (not is_first) + self.primary.led_to(address, in_turn=False)

    def claims_look(self) -> bool:
        """See Lead.claims_look()."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + origin.CONFIRMED_SECONDS
        return True


def is_led_by_sentinels(pool: object) -> bool:
    """Tell whether a pool's connections lead to the primary that Sentinels name."""
    kinds = (SentinelConnectionPool, aiosentinel.SentinelConnectionPool)
    return isinstance(pool, kinds) and bool(pool.is_master)


def make_lead(pool: object, primary: Primary, *, follows_name: bool) -> Lead:
    """Make what goes with a pool; `follows_name`: where its name leads is where the primary is."""
    if not follows_name:
        return Lead(primary)
    return SentinelLead(primary) if is_led_by_sentinels(pool) else NameLead(primary)
