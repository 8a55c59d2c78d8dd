"""TLS through the connection factory: what is not to be trusted is refused, soon and clearly."""

from __future__ import annotations

import asyncio

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at
from .servers.relay import Relay
from .servers.tls import ServerIdentity

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"


@pytest.fixture
def behind(server, valkey, settings):
    """Put the store behind TLS of an identity, and believe an authority."""
    relays: list[Relay] = []

    def make(identity: ServerIdentity | None, *, ca_file=None, scheme: str = "rediss") -> None:
        relay = Relay(server.host, server.port, tls=identity).start()
        relays.append(relay)
        options = {"CA_FILE": str(ca_file or identity.ca_file)} if identity or ca_file else {}
        url = f"{scheme}://{relay.host}:{relay.port}/0"
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


def refused() -> bool:
    with pytest.raises(SessionStoreUnavailable, match="The session store did not serve"):
        SessionStore("some-session-key").get("a")
    with pytest.raises(SessionStoreUnavailable, match="The session store did not serve"):
        asyncio.run(SessionStore("some-session-key").aget("a"))
    return True


def test_a_certificate_of_an_authority_that_is_believed_is_accepted(behind, tmp_path):
    behind(ServerIdentity.valid(tmp_path))
    assert use() == 1


def test_another_authoritys_is_refused(behind, tmp_path):
    other = ServerIdentity.for_another_host(tmp_path).ca_file
    behind(ServerIdentity.valid(tmp_path), ca_file=other)
    assert refused()


def test_one_of_another_host_is_refused(behind, tmp_path):
    behind(ServerIdentity.for_another_host(tmp_path))
    assert refused()


def test_one_that_has_expired_is_refused(behind, tmp_path):
    behind(ServerIdentity.expired(tmp_path))
    assert refused()


def test_one_that_is_not_valid_yet_is_refused(behind, tmp_path):
    behind(ServerIdentity.not_yet_valid(tmp_path))
    assert refused()


def test_a_port_without_tls_is_refused(behind, tmp_path):
    behind(None, ca_file=ServerIdentity.valid(tmp_path).ca_file)
    assert refused()


def test_a_port_with_tls_is_no_plain_one(behind, tmp_path):
    behind(ServerIdentity.valid(tmp_path), scheme="redis")
    assert refused()
