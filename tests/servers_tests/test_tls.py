"""A relay speaks TLS as the identity that it was given."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.relay import Relay
from tests.servers.tls import ServerIdentity
from tests.servers.valkey import Valkey

NO_RETRY = Retry(NoBackoff(), 0)


def ping(relay: Relay, *, ca_file: Path) -> object:
    client = redis.Redis.from_url(
        relay.url,
        ssl_ca_certs=str(ca_file),
        ssl_check_hostname=True,
        socket_timeout=2,
        retry=NO_RETRY,
    )
    with client:
        return client.ping()


def test_a_client_that_knows_the_authority_is_served(server: Valkey, tmp_path: Path) -> None:
    identity = ServerIdentity.valid(tmp_path)
    with Relay(server.host, server.port, tls=identity) as relay:
        assert relay.url.startswith("rediss://")
        assert ping(relay, ca_file=identity.ca_file)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [(ServerIdentity.for_another_host, "mismatch"), (ServerIdentity.expired, "expired")],
)
def test_a_bad_certificate_is_rejected(
    server: Valkey, tmp_path: Path, make: Callable[[Path], ServerIdentity], complaint: str
) -> None:
    identity = make(tmp_path)
    with Relay(server.host, server.port, tls=identity) as relay:
        with pytest.raises(redis.ConnectionError, match=complaint):
            ping(relay, ca_file=identity.ca_file)
        assert relay.requests == []


def test_another_authority_is_rejected(server: Valkey, tmp_path: Path) -> None:
    other = ServerIdentity.expired(tmp_path)
    with (
        Relay(server.host, server.port, tls=ServerIdentity.valid(tmp_path)) as relay,
        pytest.raises(redis.ConnectionError, match="verify failed"),
    ):
        ping(relay, ca_file=other.ca_file)


def test_a_client_without_tls_gets_nowhere(server: Valkey, tmp_path: Path) -> None:
    with (
        Relay(server.host, server.port, tls=ServerIdentity.valid(tmp_path)) as relay,
        redis.Redis(port=relay.port, socket_timeout=2, retry=NO_RETRY) as client,
        pytest.raises(redis.ConnectionError),
    ):
        client.ping()


def test_counting_and_faults_work_behind_tls(server: Valkey, tmp_path: Path) -> None:
    identity = ServerIdentity.valid(tmp_path)
    with (
        Relay(server.host, server.port, tls=identity) as relay,
        redis.Redis.from_url(
            relay.url, ssl_ca_certs=str(identity.ca_file), retry=NO_RETRY
        ) as client,
    ):
        client.ping()
        with relay.recording() as tape:
            client.set("key", "value")
        assert tape.commands == [[b"SET", b"key", b"value"]]
        relay.drop_reply_once()
        with pytest.raises(redis.ConnectionError):
            client.set("key", "lost")
        assert server.client().get("key") == b"lost"
