"""A server, a relay in front of it, and a client of each."""

from collections.abc import Callable, Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.relay import Relay
from tests.servers.valkey import Valkey

Connect = Callable[[Relay], redis.Redis]


@pytest.fixture(scope="module")
def shared_server() -> Iterator[Valkey]:
    """Run one server for a whole module, to be left running and thawed."""
    with Valkey() as server:
        yield server


@pytest.fixture
def server(shared_server: Valkey) -> Valkey:
    """Return the module's server, emptied."""
    shared_server.client().flushall()
    return shared_server


@pytest.fixture
def direct(server: Valkey) -> redis.Redis:
    """Return a client that goes past the relay."""
    return server.client()


@pytest.fixture
def relay(server: Valkey) -> Iterator[Relay]:
    """Run a relay without faults."""
    with Relay(server.host, server.port) as relay:
        yield relay


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a maker of clients that retry nothing and wait a second."""
    clients: list[redis.Redis] = []

    def connect_to(relay: Relay) -> redis.Redis:
        client = redis.Redis(
            host=relay.host,
            port=relay.port,
            socket_timeout=1,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 0),
        )
        clients.append(client)
        return client

    yield connect_to
    for client in clients:
        client.close()


@pytest.fixture
def client(relay: Relay, connect: Connect) -> redis.Redis:
    """Return a client of the relay that has shaken hands."""
    client = connect(relay)
    client.ping()
    return client
