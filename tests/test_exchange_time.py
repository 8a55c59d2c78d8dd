"""G7: an exchange takes no longer than the socket timeout, however its server spends that time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .conftest import point_sessions_at
from .servers.babbler import Babbler
from .servers.tls import ServerIdentity

TIMEOUT_SECONDS = 0.5
#: Each byte comes well before the timeout, the last one long after it.
SECONDS_A_BYTE = 0.1
LONG = b"$100\r\n" + b"x" * 100 + b"\r\n"
KEY = "some-session-key-" * 2


def load() -> None:
    SessionStore(KEY).load()


def aload() -> None:
    asyncio.run(SessionStore(KEY).aload())


either_way = pytest.mark.parametrize("perform", [load, aload])


@pytest.fixture
def dripping(settings) -> Iterator[Babbler]:
    """A server that says its replies byte by byte."""
    with Babbler() as server:
        server.answer = lambda command: LONG
        server.seconds_a_byte = SECONDS_A_BYTE
        point_sessions_at(settings, server.url, is_patient=False, SOCKET_TIMEOUT=TIMEOUT_SECONDS)
        yield server


def unavailable_within(seconds: float, perform: Callable[[], None]) -> None:
    began = time.monotonic()
    with pytest.raises(SessionStoreUnavailable, match="in time"):
        perform()
    assert time.monotonic() - began < seconds


@either_way
def test_a_server_that_drips_is_waited_for_no_longer_than_one_that_is_silent(dripping, perform):
    unavailable_within(2 * TIMEOUT_SECONDS, perform)


@either_way
def test_so_is_one_that_drips_while_it_is_signed_in_to(dripping, perform):
    dripping.babbles_at_once = True
    dripping.answer = lambda command: b"-" + b"x" * 100 + b"\r\n"
    unavailable_within(3 * TIMEOUT_SECONDS, perform)


def test_a_reply_in_many_pieces_that_is_there_in_time_is_read(new_session, relay, settings):
    session = new_session(big="x" * 300_000)
    point_sessions_at(settings, relay.url, SOCKET_TIMEOUT=TIMEOUT_SECONDS * 10)
    for _ in range(3):
        assert len(SessionStore(session.session_key)["big"]) == 300_000


def test_over_tls_too(settings, tmp_path):
    identity = ServerIdentity.valid(tmp_path)
    with Babbler(tls=identity.context) as server:
        server.answer = lambda command: LONG
        server.seconds_a_byte = SECONDS_A_BYTE
        trust = {"ssl_ca_certs": str(identity.ca_file)}
        url = f"rediss://localhost:{server.port}/0"
        point_sessions_at(
            settings,
            url,
            is_patient=False,
            SOCKET_TIMEOUT=TIMEOUT_SECONDS,
            CONNECTION_POOL_KWARGS=trust,
        )
        unavailable_within(3 * TIMEOUT_SECONDS, load)
