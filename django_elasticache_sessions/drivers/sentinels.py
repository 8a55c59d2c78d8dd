"""Asking Sentinels which server is the primary: all of them together in one socket timeout.

redis-py asks each of a list in turn, several times over, and waits for each as long as ever.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

from redis.asyncio import sentinel as aiosentinel
from redis.connection import ConnectionPool
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from ..breaker import TIMEOUTS
from ..conf import DEFAULT_TIMEOUT_SECONDS
from ..exceptions import ReplyTooLarge
from ..operations import Command
from .leads import Lead, SentinelLead
from .lines import Line
from .opening import hurrying, within
from .origin import Primary
from .replies import WIRE_ERRORS

#: A host and a port.
Address: TypeAlias = tuple[str, int]
#: Asks a Sentinel; the answer, or why there is none, is sent back.
Search: TypeAlias = Generator[tuple[Any, float], Any, Address | None]
_MASTERS: Command = ("SENTINEL", "MASTERS")
_LIMIT_BYTES = 1024 * 1024
#: Said of a primary that is none, or that is believed to be down.
_DOWN = frozenset(("s_down", "o_down"))


def hasten(pool: ConnectionPool) -> None:
    """Have a pool's Sentinels asked within the pool's socket timeout, whatever theirs are.

    What leads a connection to the primary is then not asked again by that connection.
    """
    if isinstance(pool, SentinelConnectionPool):
        seconds = pool.connection_kwargs.get("socket_timeout") or DEFAULT_TIMEOUT_SECONDS
        own = _made_like(pool.sentinel_manager, Sentinels, {})
        own.prepare(pool.service_name, seconds, deque(range(len(own.sentinels))))
        pool.sentinel_manager = pool.proxy.sentinel_manager = own
        # Of a connection that has found no primary; a search is no less in vain the next moment.
        for name in ("retry", "retry_on_error", "retry_on_timeout"):
            pool.connection_kwargs.pop(name, None)


def make_async_sentinels(pool: SentinelConnectionPool, options: Mapping[str, Any]) -> Any:
    """Make the same for asyncio of a pool's; `options` replace those of connections."""
    like: Any = pool.sentinel_manager
    own = _made_like(like, AsyncSentinels, options)
    own.prepare(pool.service_name, like.seconds, like.order)
    return own


def sentinels_of(pool: Any, lead: Lead) -> Any:
    """Return whom a driver asks once in a while where the primary is; `None` where nobody knows."""
    return pool.sentinel_manager if isinstance(lead, SentinelLead) else None


def _made_like(like: Any, kind: type[Any], options: Mapping[str, Any]) -> Any:
    addresses = [
        (kwargs["host"], kwargs["port"])
        for kwargs in (client.connection_pool.connection_kwargs for client in like.sentinels)
    ]
    return kind(
        addresses,
        min_other_sentinels=like.min_other_sentinels,
        sentinel_kwargs={**(options or like.sentinel_kwargs), "protocol": 2},
        force_master_ip=getattr(like, "_force_master_ip", None),
    )


class _Asked:
    """What both kinds of managers share: who is asked next, and for how long."""

    sentinels: list[Any]
    seconds: float
    min_other_sentinels: int

    def prepare(self, service_name: str, seconds: float, order: deque[int]) -> None:
        """Take what the primary is called, the time for a whole search, and who is asked first.

        All of a process share the order.
        """
        self._service_name = service_name
        self.seconds = seconds
        self.order = order

    def search(self, service_name: str) -> Search:
        """Find the primary; `None` where nobody names it. Raises `TimeoutError` of redis-py.

        Each gets an equal share of the time that is left, and whoever does not tell is asked last
        from now on.
        """
        end = time.monotonic() + self.seconds
        has_timed_out = False
        candidates = tuple(self.order)
        for number, place in enumerate(candidates):
            left = end - time.monotonic()
            if left <= 0:
                break
            answer = yield self.sentinels[place], left / (len(candidates) - number)
            has_timed_out |= isinstance(answer, TIMEOUTS)
            address = None if isinstance(answer, Exception) else self._found(answer, service_name)
            if address is not None:
                return address
            if self.order[0] == place:
                self.order.rotate(-1)
        if has_timed_out:
            raise RedisTimeoutError("No Sentinel answered in time.")
        return None

    def _found(self, masters: Any, service_name: str) -> Address | None:
        try:
            for words in masters:
                state = dict(zip(words[::2], words[1::2], strict=True))
                if state[b"name"] == service_name.encode() and self._is_primary(state):
                    host = getattr(self, "_force_master_ip", None) or state[b"ip"].decode()
                    return host, int(state[b"port"])
        except (TypeError, ValueError, KeyError, AttributeError):
            # What is no answer to this question.
            pass
        return None

    def _is_primary(self, state: Mapping[bytes, bytes]) -> bool:
        flags = set(state[b"flags"].decode().split(","))
        others = int(state.get(b"num-other-sentinels", b"0"))
        return "master" in flags and flags.isdisjoint(_DOWN) and others >= self.min_other_sentinels


class Sentinels(_Asked, Sentinel):
    """A pool's Sentinels, for threads; takes the place of redis-py's."""

    def prepare(self, service_name: str, seconds: float, order: deque[int]) -> None:
        """See _Asked.prepare()."""
        super().prepare(service_name, seconds, order)
        self._keep_none()
        for client in self.sentinels:
            pool = client.connection_pool
            pool.connection_class = hurrying(pool.connection_class)

    def _keep_none(self) -> None:
        #: Connections to each that nobody uses.
        self._idle: dict[Any, deque[Line]] = {client: deque() for client in self.sentinels}
        self._pid = os.getpid()

    def discover_master(self, service_name: str) -> Address:
        """See redis.sentinel.Sentinel."""
        address = self.primary(service_name)
        if address is None:
            raise MasterNotFoundError(f"No Sentinel names the primary of {service_name!r}.")
        return address

    def primary(self, service_name: str) -> Address | None:
        """Return where the primary is, `None` where nobody tells."""
        if self._pid != os.getpid():
            # After a fork the parent's sockets are the parent's.
            self._keep_none()
        search = self.search(service_name)
        try:
            client, seconds = next(search)
            while True:
                client, seconds = search.send(self._ask(client, seconds))
        except StopIteration as stop:
            found: Address | None = stop.value
            return found

    def look(self) -> Address | None:
        """Return where the pool's primary is, `None` also where nobody answers in time."""
        try:
            return self.primary(self._service_name)
        except TIMEOUTS:
            return None

    def _ask(self, client: Any, seconds: float) -> Any:
        idle = self._idle[client]
        try:
            line = idle.pop()
        except IndexError:
            connection = client.connection_pool.connection_class(
                **client.connection_pool.connection_kwargs
            )
            line = Line(connection, Lead(Primary()), 0)
        try:
            return line.exchange((_MASTERS,), _LIMIT_BYTES, seconds)[0]
        except (*WIRE_ERRORS, ReplyTooLarge) as error:
            return error
        finally:
            idle.append(line)

    def close(self) -> None:
        """Close the connections to them."""
        for lines in self._idle.values():
            for line in tuple(lines):
                line.hang_up()


class AsyncSentinels(_Asked, aiosentinel.Sentinel):
    """See Sentinels; for an event loop."""

    def prepare(self, service_name: str, seconds: float, order: deque[int]) -> None:
        """See _Asked.prepare()."""
        super().prepare(service_name, seconds, order)
        self._idle: dict[Any, deque[Any]] = {client: deque() for client in self.sentinels}

    async def discover_master(self, service_name: str) -> Address:
        """See redis.asyncio.sentinel.Sentinel."""
        address = await self.primary(service_name)
        if address is None:
            raise MasterNotFoundError(f"No Sentinel names the primary of {service_name!r}.")
        return address

    async def primary(self, service_name: str) -> Address | None:
        """See Sentinels.primary(). In a task of its own, for the time limits in it."""
        search = self.search(service_name)
        try:
            client, seconds = next(search)
            while True:
                client, seconds = search.send(await self._ask(client, seconds))
        except StopIteration as stop:
            found: Address | None = stop.value
            return found

    async def look(self) -> Address | None:
        """See Sentinels.look()."""
        try:
            return await self.primary(self._service_name)
        except TIMEOUTS:
            return None

    async def _ask(self, client: Any, seconds: float) -> Any:
        idle = self._idle[client]
        connection = idle.pop() if idle else client.connection_pool.make_connection()
        try:
            async with asyncio.timeout(seconds):
                with within(connection, seconds):
                    await connection.connect()
                await connection.send_command(*_MASTERS)
                answer = await connection.read_response(disable_decoding=True)
        except WIRE_ERRORS as error:
            await connection.disconnect(nowait=True)
            return error
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            idle.append(connection)
        return answer

    async def aclose(self) -> None:
        """Close the connections to them."""
        for connections in self._idle.values():
            for connection in tuple(connections):
                await connection.disconnect(nowait=True)
