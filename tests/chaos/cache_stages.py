"""Stages by their cache: a server behind a relay for each process, or Sentinels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import redis

from ..servers.ports import LOOPBACK, free_port
from ..servers.relay import Relay
from ..servers.valkey import SERVICE_NAME, Valkey
from ..servers.waiting import wait_until
from .stages import PROCESSES, Stage


class ServerStage(Stage):
    """With one primary, behind a relay for each process."""

    def start_cache(self, stack: ExitStack) -> list[Mapping[str, object]]:
        """See Stage."""
        self._nobody = free_port()
        self.valkey = stack.enter_context(Valkey())
        self.relays = [
            stack.enter_context(Relay(self.valkey.host, self.valkey.port, gather_seconds=0))
            for _ in range(PROCESSES)
        ]
        return [{"location": f"{relay.url}/0", "options": {}} for relay in self.relays]

    def empty_cache(self) -> None:
        """See Stage."""
        with self.valkey.client() as client:
            client.flushall()

    def cut_cache(self, *relays: Relay) -> None:
        """Have processes find nobody where the cache was, all of them unless told which.

        The relays listen on: one that stops while it is being connected to leaves asyncio with a
        connection that nobody ends (CPython 3.13.0).
        """
        for relay in relays or self.relays:
            relay.lead_to(LOOPBACK, self._nobody)

    def heal_cache(self) -> None:
        """Have all reach it, without a fault."""
        for relay in self.relays:
            relay.heal()
        self.lead_to(self.valkey)

    def lead_to(self, server: Valkey, *relays: Relay) -> None:
        """Have processes reach another server, as a name does after a failover."""
        for relay in relays or self.relays:
            relay.lead_to(server.host, server.port)


class SentinelStage(Stage):
    """With a primary, its replica, and a Sentinel that has the replica take over."""

    def start_cache(self, stack: ExitStack) -> list[Mapping[str, object]]:
        """See Stage."""
        first = stack.enter_context(Valkey())
        self.servers = [first, stack.enter_context(Valkey(replica_of=first))]
        self.sentinel = stack.enter_context(Valkey(sentinel=True, monitors=first))
        options = {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [(self.sentinel.host, self.sentinel.port)],
        }
        return [{"location": f"redis://{SERVICE_NAME}/0", "options": options}] * PROCESSES

    def empty_cache(self) -> None:
        """See Stage."""
        with self.primary.client() as client:
            client.flushall()

    @property
    def primary(self) -> Valkey:
        """Who the Sentinel says is the primary."""
        with self.sentinel.client() as client:
            port = client.sentinel_get_master_addr_by_name(SERVICE_NAME)[1]
        return next(server for server in self.servers if server.port == port)

    def wait_until_led_by_another(self, before: Valkey) -> None:
        """Wait until the other server has taken over."""
        wait_until(
            lambda: self.primary is not before and _role(self.primary) == "master",
            what="the replica in its place",
        )

    def wait_until_whole(self) -> None:
        """Wait until the other server follows the primary."""
        primary = self.primary
        [other] = [server for server in self.servers if server is not primary]
        wait_until(
            lambda: _follows(other, primary) and self._knows_replica(), what="a replica in step"
        )

    def _knows_replica(self) -> bool:
        # Else the next failover finds nobody to promote.
        with self.sentinel.client() as client:
            replicas = client.sentinel_slaves(SERVICE_NAME)
        return any(replica["flags"] == "slave" for replica in replicas)


def _role(server: Valkey) -> str:
    with server.client() as client:
        return str(client.info("replication")["role"])


def _follows(server: Valkey, primary: Valkey) -> bool:
    try:
        with server.client() as client:
            state = client.info("replication")
    except redis.RedisError:
        return False
    return state.get("master_port") == primary.port and state.get("master_link_status") == "up"
