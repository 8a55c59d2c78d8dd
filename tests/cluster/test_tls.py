"""TLS in a cluster: each node shows a certificate, and one that may not be trusted is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.cache import caches

from django_elasticache_sessions import breaker, live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import aio
from django_elasticache_sessions.elasticache.factory import CONNECT_RETRIES
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from ..conftest import PATIENT, point_sessions_at
from ..servers.front import FRONT, ClusterBehindRelays
from ..servers.names import Names
from ..servers.tls import CLUSTER, ServerIdentity
from ..servers.waiting import until
from .conftest import FACTORY
from .test_faults import keys_on_each

DOMAIN = "cluster.test"
ENDPOINT = f"clustercfg.{DOMAIN}"
AUTHORITY = "authority that is not believed.* CA_FILE"
OTHER_NAME = "certificate is for another host name; LOCATION, or the name by which the cluster"
EXPIRED = "certificate has expired; renew it there, or set this machine's clock right"
TOO_EARLY = "certificate is not valid yet; renew it there, or set this machine's clock right"
NO_TLS = r"does not speak TLS with us|it closed the connection; where it always does"
CLOSED = r"it closed the connection; where it always does, it may want TLS \(rediss:// in LOCATION"
#: What a node shows, whether its authority is believed, and what is said of that.
BAD = {
    "unknown authority": (ServerIdentity.of_a_cluster, False, AUTHORITY),
    "another host": (ServerIdentity.for_another_host, True, OTHER_NAME),
    "expired": (partial(ServerIdentity.expired, names=CLUSTER), True, EXPIRED),
    "not yet valid": (partial(ServerIdentity.not_yet_valid, names=CLUSTER), True, TOO_EARLY),
    "no TLS": (lambda directory: None, False, NO_TLS),
}
#: How often somebody who refuses is connected to, for one request.
MOST_ATTEMPTS = 1 + CONNECT_RETRIES


@pytest.fixture(scope="module")
def identity(tmp_path_factory) -> ServerIdentity:
    return ServerIdentity.of_a_cluster(tmp_path_factory.mktemp("authority"))


@contextmanager
def fronted() -> Iterator[Names]:
    """Have the names of the endpoint and of the nodes lead to their relays."""
    with Names() as names:
        for host in (ENDPOINT, *(f"node-{number}.{DOMAIN}" for number in range(3))):
            names.lead(host, FRONT)
        yield names


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    with fronted() as names:
        yield names


@pytest.fixture(scope="module")
def cluster(identity, names) -> Iterator[ClusterBehindRelays]:
    with ClusterBehindRelays(tls=identity, domain=DOMAIN) as cluster:
        yield cluster


@pytest.fixture
def valkey(cluster, identity, names, settings) -> Iterator[ClusterBehindRelays]:
    """Keep sessions there; what nodes are made to show ends with the test."""
    cluster.flush()
    names.asked.clear()
    point_at(settings, cluster, identity.ca_file)
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
    yield cluster
    for relay in cluster.relays:
        relay.show(identity)


def point_at(
    settings,
    cluster: ClusterBehindRelays,
    ca_file: Path,
    *,
    scheme: str = "rediss",
    host: str = ENDPOINT,
    port: int = 0,
    **options: object,
) -> None:
    url = f"{scheme}://{host}:{port or cluster.primaries[0].port}/0"
    more = {**PATIENT, "CONNECTION_FACTORY": FACTORY, "CLUSTER": True, "CA_FILE": str(ca_file)}
    point_sessions_at(settings, url, **{**more, **options})


def read(session_key: str) -> object:
    return SessionStore(session_key)["a"]


async def aread(session_key: str) -> object:
    try:
        return await SessionStore(session_key).aget("a")
    except SessionStoreUnavailable:
        await until_refused_ones_are_closed()
        raise


async def until_refused_ones_are_closed() -> None:
    # redis-py does not wait for the end of TLS where it was refused: that end needs the loop.
    in_use, loop = aio.get_driver("sessions")._lines, asyncio.get_running_loop()
    await until(lambda: len(loop._selector.get_map()) <= 1 + len(in_use), what="connections closed")
    for _ in range(10):
        await asyncio.sleep(0)


both = pytest.mark.parametrize(
    "read", [read, lambda key: asyncio.run(aread(key))], ids=["sync", "async"]
)


def test_sessions_are_kept_behind_it(engine, valkey, names):
    keys = keys_on_each(valkey, engine, a=1)
    for key in keys:
        session = engine(key)
        session[SESSION_KEY] = "7"
        session.save()
        session.cycle_key()
        assert engine(session.session_key)["a"] == 1
    assert live.count() == (3, live.count().anonymous)
    assert len(live.for_user("7")) == 3
    assert live.end_for_user("7") == 3
    assert {f"node-{number}.{DOMAIN}" for number in range(3)} <= set(names.asked)


def test_asyncio_keeps_them_there_too(engine, valkey, names):
    keys = keys_on_each(valkey, engine, a=1)
    before = valkey.connections

    async def use() -> None:
        for key in keys:
            session = engine(key)
            await session.aset("b", 2)
            await session.asave()
            await session.acycle_key()
            assert await engine(session.session_key).aget("a") == 1
        assert len((await live.apage()).sessions) >= 3

    asyncio.run(use())
    assert all(now > then for now, then in zip(valkey.connections, before, strict=True))


def test_a_projects_other_caches_are_kept_behind_it(valkey):
    use_another_cache(f"rediss://{ENDPOINT}:{valkey.primaries[0].port}/0")


def use_another_cache(url: str) -> None:
    """Use the alias as a project's cache of other things, by threads and by asyncio."""
    cache = caches["sessions"]
    cache.set_many({f"key-{number}": number for number in range(20)})
    assert cache.get_many(["key-1", "key-2"]) == {"key-1": 1, "key-2": 2}
    factory = cache.client.connection_factory

    async def use() -> object:
        client = factory.make_async_client(url)
        try:
            await client.set("a", "1")
            return await client.get("a")
        finally:
            await client.aclose()

    assert asyncio.run(use()) == b"1"
    factory.disconnect(cache.client.get_client())


@pytest.fixture
def left_alone(monkeypatch) -> None:
    """Have a node that did not serve left alone for the rest of the test."""
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 600.0)


@both
@pytest.mark.parametrize("bad", BAD)
def test_a_node_that_may_not_be_trusted_is_refused_and_the_others_serve(
    valkey, identity, names, settings, tmp_path, left_alone, bad, read
):
    make, is_believed, said = BAD[bad]
    other = make(tmp_path)
    keys = keys_on_each(valkey, a=1)
    point_at(settings, valkey, believing(tmp_path, identity, other if is_believed else None))
    valkey.relays[2].show(other)
    host = f"node-2.{DOMAIN}"
    names.asked.clear()
    served = len(valkey.relays[2].requests)
    for _ in range(5):
        with pytest.raises(
            SessionStoreUnavailable, match=f"node {host}:.* did not serve: .*{said}"
        ):
            read(keys[2])
        assert [read(key) for key in keys[:2]] == [1, 1]
    assert 1 <= names.asked.count(host) <= MOST_ATTEMPTS
    assert len(valkey.relays[2].requests) == served


@both
def test_a_node_that_says_nothing_during_the_handshake_is_waited_for_once(
    valkey, identity, names, settings, left_alone, read
):
    keys = keys_on_each(valkey, a=1)
    point_at(settings, valkey, identity.ca_file, SOCKET_TIMEOUT=1, SOCKET_CONNECT_TIMEOUT=1)
    assert read(keys[0]) == 1
    valkey.relays[2].refuse()
    names.asked.clear()
    with socket.create_server((FRONT, valkey.relays[2].port)):
        for _ in range(5):
            with pytest.raises(SessionStoreUnavailable, match="did not serve: it did not answer"):
                read(keys[2])
            assert read(keys[1]) == 1
    # Where it timed out far too late, this process was busy: once more, twice at the most.
    assert 1 <= names.asked.count(f"node-2.{DOMAIN}") <= 3


@both
@pytest.mark.parametrize("bad", BAD)
def test_an_endpoint_that_may_not_be_trusted_is_refused(
    valkey, identity, names, settings, tmp_path, left_alone, bad, read
):
    make, is_believed, said = BAD[bad]
    other = make(tmp_path)
    point_at(settings, valkey, believing(tmp_path, identity, other if is_believed else None))
    valkey.relays[0].show(other)
    refused_by(ENDPOINT, names, said, read)


@both
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"host": "nowhere.invalid"}, "host name is not known; correct LOCATION, or look at DNS"),
        ({"port": 1}, "nobody listens there; correct host and port in LOCATION"),
        ({"scheme": "redis"}, CLOSED),
    ],
    ids=["host", "port", "no TLS"],
)
def test_a_wrong_location_is_told(valkey, identity, names, settings, left_alone, wrong, said, read):
    point_at(settings, valkey, identity.ca_file, **wrong)
    refused_by(wrong.get("host", ENDPOINT), names, said, read)


def refused_by(host: str, names: Names, said: str, read: Callable[[str], object]) -> None:
    """See to it that an endpoint is tried a bounded number of times, and what is wrong told."""
    for _ in range(5):
        with pytest.raises(
            SessionStoreUnavailable, match=f"node {host}:.* did not serve: .*{said}"
        ):
            read("some-session-key-that-nobody-has")
    assert 1 <= names.asked.count(host) <= MOST_ATTEMPTS


def believing(directory: Path, *identities: ServerIdentity | None) -> Path:
    """Return a file with the certificates of several authorities."""
    path = directory / "believed.pem"
    path.write_bytes(b"".join(one.ca_file.read_bytes() for one in identities if one))
    return path
