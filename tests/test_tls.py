"""TLS through the connection factory: what is not to be trusted is refused, soon and clearly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.elasticache.factory import CONNECT_RETRIES
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at
from .servers.http import HttpService
from .servers.names import Names
from .servers.relay import Relay
from .servers.tls import ServerIdentity

#: Asked for whenever somebody connects, so that attempts can be counted.
HOST = "localhost"
MOST_ATTEMPTS = 1 + CONNECT_RETRIES
FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"


@pytest.fixture(autouse=True)
def names() -> Iterator[Names]:
    """Know who asks for which name."""
    with Names() as names:
        names.lead(HOST, "127.0.0.1")
        yield names


@pytest.fixture
def behind(server, valkey, settings):
    """Put the store behind TLS of an identity, and believe an authority."""
    relays: list[Relay] = []

    def make(identity: ServerIdentity | None, *, ca_file=None, scheme: str = "rediss") -> None:
        relay = Relay(server.host, server.port, tls=identity).start()
        relays.append(relay)
        options = {"CA_FILE": str(ca_file or identity.ca_file)} if identity or ca_file else {}
        url = f"{scheme}://{HOST}:{relay.port}/0"
        point_sessions_at(
            settings,
            url,
            is_patient=False,
            SOCKET_TIMEOUT=1,
            SOCKET_CONNECT_TIMEOUT=1,
            CONNECTION_FACTORY=FACTORY,
            **options,
        )

    yield make
    for relay in relays:
        relay.stop()


def use() -> object:
    session = SessionStore()
    session["a"] = 1
    session.save()
    return asyncio.run(SessionStore(session.session_key).aget("a"))


@pytest.fixture
def refused(names):
    """See to it that both drivers tell what is wrong, after a bounded number of attempts."""

    def check(said: str) -> bool:
        for read in (read_in_thread, read_in_loop):
            names.asked.clear()
            with pytest.raises(SessionStoreUnavailable, match=f"store did not serve: .*{said}"):
                read()
            assert 1 <= names.asked.count(HOST) <= MOST_ATTEMPTS
        return True

    return check


def read_in_thread() -> None:
    SessionStore("some-session-key-" * 2).get("a")


def read_in_loop() -> None:
    asyncio.run(SessionStore("some-session-key-" * 2).aget("a"))


def test_a_certificate_of_an_authority_that_is_believed_is_accepted(behind, tmp_path):
    behind(ServerIdentity.valid(tmp_path))
    assert use() == 1


def test_another_authoritys_is_refused(behind, tmp_path, refused):
    other = ServerIdentity.for_another_host(tmp_path).ca_file
    behind(ServerIdentity.valid(tmp_path), ca_file=other)
    assert refused("its certificate is of an authority that is not believed; .* as CA_FILE in the")


def test_one_of_another_host_is_refused(behind, tmp_path, refused):
    behind(ServerIdentity.for_another_host(tmp_path))
    assert refused("its certificate is for another host name; LOCATION")


def test_one_that_has_expired_is_refused(behind, tmp_path, refused):
    behind(ServerIdentity.expired(tmp_path))
    assert refused("its certificate has expired; renew it there")


def test_one_that_is_not_valid_yet_is_refused(behind, tmp_path, refused):
    behind(ServerIdentity.not_yet_valid(tmp_path))
    assert refused("its certificate is not valid yet; .* this machine's clock")


def test_a_port_without_tls_is_refused(behind, tmp_path, refused):
    behind(None, ca_file=ServerIdentity.valid(tmp_path).ca_file)
    assert refused("does not speak TLS with us|it closed the connection; where it always does")


def test_a_server_without_tls_is_refused(server, settings, refused):
    url = f"rediss://{HOST}:{server.port}/0"
    point_sessions_at(settings, url, is_patient=False, CONNECTION_FACTORY=FACTORY)
    # It waits for the end of what it takes for a line.
    assert refused("it did not answer in time when it was connected to; .* whether it speaks TLS")


def test_a_port_with_tls_is_no_plain_one(behind, tmp_path, refused):
    behind(ServerIdentity.valid(tmp_path), scheme="redis")
    assert refused(r"it closed the connection; .* may want TLS \(rediss:// in LOCATION")


def test_a_port_that_nobody_listens_on_is_told(settings, refused):
    point_sessions_at(settings, f"rediss://{HOST}:1/0", CONNECTION_FACTORY=FACTORY)
    assert refused("nobody listens there; correct host and port in LOCATION")


def test_a_host_that_nobody_knows_is_told(settings, refused, names):
    point_sessions_at(settings, f"rediss://{HOST}:1/0", CONNECTION_FACTORY=FACTORY)
    names.lead(HOST, "nowhere.invalid")
    assert refused("its host name is not known; correct LOCATION, or look at DNS")


def test_who_speaks_another_protocol_is_told(settings, refused):
    with HttpService() as service:
        url = service.url.replace("http://127.0.0.1", f"redis://{HOST}")
        point_sessions_at(settings, url, CONNECTION_FACTORY=FACTORY)
        assert refused("is not of Valkey's or Redis's protocol; correct the port in LOCATION")
