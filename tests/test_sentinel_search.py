"""G7: whoever the Sentinels are, looking for the primary takes at most the socket timeout."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import origin, sync
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from .servers.babbler import Babbler
from .servers.pipe import Pipe
from .servers.ports import LOOPBACK, free_port
from .servers.valkey import Valkey
from .test_sentinel import keep_sessions_by

TIMEOUT_SECONDS = 0.5
#: A busy machine's share.
SLACK_SECONDS = 0.4
KEY = "some-session-key-" * 2


class Place:
    """A host and a port where a Sentinel should be."""

    host = LOOPBACK

    def __init__(self, port: int) -> None:
        self.port = port


def load() -> None:
    SessionStore(KEY).load()


def aload() -> None:
    asyncio.run(SessionStore(KEY).aload())


either_way = pytest.mark.parametrize("perform", [load, aload])


def refusing() -> Place:
    return Place(free_port())


@pytest.fixture
def silent() -> Iterator[Callable[[], Place]]:
    """Make places that are connected to and say nothing."""
    with ExitStack() as stack:

        def make() -> Place:
            listening = stack.enter_context(socket.create_server((LOOPBACK, 0)))
            return Place(listening.getsockname()[1])

        yield make


@pytest.fixture(scope="module")
def sentinel() -> Iterator[Valkey]:
    """A Sentinel that watches a primary."""
    with Valkey() as primary, Valkey(sentinel=True, monitors=primary) as sentinel:
        yield sentinel


def fails_in_time(perform: Callable[[], None]) -> None:
    began = time.monotonic()
    with pytest.raises(SessionStoreUnavailable):
        perform()
    assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS


@either_way
def test_sentinels_that_refuse_cost_next_to_nothing(settings, perform):
    keep_sessions_by(settings, *(refusing() for _ in range(3)), SOCKET_TIMEOUT=TIMEOUT_SECONDS)
    fails_in_time(perform)


@either_way
def test_sentinels_that_are_silent_cost_one_timeout_all_together(settings, silent, perform):
    keep_sessions_by(settings, *(silent() for _ in range(3)), SOCKET_TIMEOUT=TIMEOUT_SECONDS)
    fails_in_time(perform)


@either_way
@pytest.mark.parametrize(
    "options",
    [
        {"socket_timeout": 5, "socket_connect_timeout": 5},
        {"retry": Retry(ConstantBackoff(1), 10)},
    ],
    ids=["timeouts", "retry"],
)
def test_so_they_do_whatever_their_own_options_are(settings, silent, perform, options):
    keep_sessions_by(
        settings,
        silent(),
        refusing(),
        SOCKET_TIMEOUT=TIMEOUT_SECONDS,
        SENTINEL_KWARGS=options,
    )
    fails_in_time(perform)


@either_way
def test_a_search_is_not_repeated_by_the_retries_of_connections(settings, silent, perform):
    keep_sessions_by(
        settings,
        silent(),
        SOCKET_TIMEOUT=TIMEOUT_SECONDS,
        CONNECTION_POOL_KWARGS={"retry": Retry(ConstantBackoff(0.1), 5)},
    )
    fails_in_time(perform)


@either_way
def test_after_two_silent_searches_they_are_asked_now_and_then(settings, silent, perform):
    keep_sessions_by(settings, silent(), SOCKET_TIMEOUT=TIMEOUT_SECONDS)
    for _ in range(2):
        fails_in_time(perform)
    began = time.monotonic()
    with pytest.raises(SessionStoreUnavailable, match="a moment ago"):
        perform()
    assert time.monotonic() - began < TIMEOUT_SECONDS


@either_way
@pytest.mark.parametrize("is_silent", [False, True], ids=["refusing", "silent"])
def test_the_one_that_tells_is_found_behind_two_that_do_not(
    settings, silent, sentinel, perform, is_silent
):
    dead = [silent() if is_silent else refusing() for _ in range(2)]
    keep_sessions_by(settings, *dead, sentinel, SOCKET_TIMEOUT=1.5)
    began = time.monotonic()
    perform()
    assert time.monotonic() - began < 1.5 + SLACK_SECONDS


def test_a_loop_begins_with_the_one_that_told_another_loop(settings, silent, sentinel):
    keep_sessions_by(settings, silent(), silent(), sentinel, SOCKET_TIMEOUT=3)
    aload()
    began = time.monotonic()
    for _ in range(3):
        aload()
    assert time.monotonic() - began < 1


def test_whoever_did_not_tell_is_asked_last_the_next_time(settings, silent, sentinel, monkeypatch):
    keep_sessions_by(settings, silent(), sentinel, SOCKET_TIMEOUT=2)
    load()
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 0.0)
    began = time.monotonic()
    for _ in range(3):
        load()
    assert time.monotonic() - began < 1


@either_way
@pytest.mark.parametrize(
    "reply",
    [
        b":1\r\n",
        b"$-1\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n*1\r\n$1\r\na\r\n",
        b"-ERR no\r\n",
        b"what\r\n",
    ],
)
def test_what_is_no_answer_names_no_primary(settings, sentinel, perform, reply):
    with Babbler() as other:
        other.answer = lambda command: reply
        keep_sessions_by(settings, other, sentinel, SOCKET_TIMEOUT=2)
        perform()
        keep_sessions_by(settings, other, SOCKET_TIMEOUT=TIMEOUT_SECONDS)
        fails_in_time(perform)


def test_a_child_process_asks_over_connections_of_its_own(settings, sentinel):
    keep_sessions_by(settings, sentinel, SOCKET_TIMEOUT=2)
    load()
    sentinels = sync.get_driver("sessions")._sentinels
    [line] = sentinels._idle[sentinels.sentinels[0]]
    sentinels._pid -= 1
    sync.get_driver("sessions").close()
    load()
    assert line not in sentinels._idle[sentinels.sentinels[0]]


def test_one_that_falls_silent_costs_one_timeout(settings, sentinel):
    with Pipe((sentinel.host, sentinel.port)) as pipe:
        keep_sessions_by(settings, pipe, SOCKET_TIMEOUT=TIMEOUT_SECONDS)
        load()
        sentinels = sync.get_driver("sessions")._sentinels
        assert sentinels.look() is not None
        pipe.hold()
        began = time.monotonic()
        assert sentinels.look() is None
        assert time.monotonic() - began < TIMEOUT_SECONDS + SLACK_SECONDS
        pipe.heal()
