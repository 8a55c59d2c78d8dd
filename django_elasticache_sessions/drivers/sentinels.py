"""Asking Sentinels which server is the primary, and none of them for longer than its timeouts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio import sentinel as aiosentinel
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from ..breaker import TIMEOUTS

#: A host and a port.
Address: TypeAlias = tuple[str, int]
_ERRORS = (RedisError, OSError)


def is_led_by_sentinels(pool: object) -> bool:
    """Tell whether a pool's connections lead to the primary that Sentinels name."""
    kinds = (SentinelConnectionPool, aiosentinel.SentinelConnectionPool)
    return isinstance(pool, kinds) and bool(pool.is_master)


def hasten(pool: ConnectionPool) -> None:
    """Have a pool's Sentinels asked once, with the pool's timeouts where they have none.

    By themselves they would be asked up to ten times, for five seconds each.
    """
    if isinstance(pool, SentinelConnectionPool):
        names = ("socket_timeout", "socket_connect_timeout")
        options = {name: pool.connection_kwargs[name] for name in names}
        options |= {"retry": Retry(NoBackoff(), 0), **pool.sentinel_manager.sentinel_kwargs}
        own = make_manager(pool.sentinel_manager, Sentinel, options)
        pool.sentinel_manager = pool.proxy.sentinel_manager = own


def make_manager(like: Any, kind: type[Any], options: Mapping[str, Any]) -> Any:
    """Make a manager of a kind, sync or async, of the same Sentinels as another has."""
    addresses = [
        (kwargs["host"], kwargs["port"])
        for kwargs in (client.connection_pool.connection_kwargs for client in like.sentinels)
    ]
    return kind(
        addresses,
        min_other_sentinels=like.min_other_sentinels,
        sentinel_kwargs=options,
        force_master_ip=getattr(like, "_force_master_ip", None),
    )


@dataclass(slots=True)
class _Heard:
    """What one Sentinel said."""

    primary: Address | None = None
    has_timed_out: bool = False

    @property
    def is_enough(self) -> bool:
        """Whether nobody else is to be asked."""
        return self.primary is not None or self.has_timed_out


class Sentinels:
    """Those of a pool, asked apart from what its connections ask them.

    One that hangs is not waited for again before all the others.
    """

    def __init__(self, pool: Any) -> None:
        """Take a pool that Sentinels lead."""
        like = pool.sentinel_manager
        self._service: str = pool.service_name
        self._manager = make_manager(like, type(like), like.sentinel_kwargs)
        self._clients = deque[Any](self._manager.sentinels)

    def primary(self) -> Address | None:
        """Return where the primary is, `None` where nobody tells; waits for one timeout at most."""
        for client in tuple(self._clients):
            with self._listening() as heard:
                heard.primary = self._found(client.sentinel_masters())
            if heard.is_enough:
                return heard.primary
        return None

    @contextmanager
    def _listening(self) -> Iterator[_Heard]:
        """Take what one says; whoever does not tell is asked last from now on."""
        heard = _Heard()
        try:
            yield heard
        except TIMEOUTS:
            heard.has_timed_out = True
        except _ERRORS:
            pass
        if heard.primary is None:
            self._clients.rotate(-1)

    def close(self) -> None:
        """Close the connections to them."""
        for client in self._clients:
            client.close()

    def _found(self, masters: Any) -> Address | None:
        state = masters.get(self._service)
        if not state or not self._manager.check_master_state(state, self._service):
            return None
        return getattr(self._manager, "_force_master_ip", None) or state["ip"], state["port"]


class AsyncSentinels(Sentinels):
    """The same for an event loop."""

    async def aprimary(self) -> Address | None:
        """See primary()."""
        for client in tuple(self._clients):
            with self._listening() as heard:
                heard.primary = self._found(await client.sentinel_masters())
            if heard.is_enough:
                return heard.primary
        return None

    async def aclose(self) -> None:
        """See close()."""
        for client in self._clients:
            await client.aclose()
