"""Nodes that name themselves otherwise to scripts than to commands, or each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from django_elasticache_sessions import homes
from django_elasticache_sessions.backends.cached_db import SessionStore
from django_elasticache_sessions.drivers import origin
from django_elasticache_sessions.homes import get_homes

from ..servers.cluster import ValkeyCluster
from ..servers.relay import Relay
from ..test_untold_servers import KINDS, asked, saved  # noqa: F401 - A fixture.
from .conftest import point_sessions_at_cluster


@pytest.fixture(scope="module")
def relays() -> Iterator[list[Relay]]:
    """A relay in front of each node of a cluster; clients are told of no other way."""
    with ValkeyCluster(replicas=False) as cluster, ExitStack() as stack:
        yield cluster.put_behind(stack, Relay)


@pytest.fixture
def engine(relays, settings, fallback_database, monkeypatch):
    settings.SESSION_ENGINE = SessionStore.__module__
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 8}
    fallback_database("sqlite")
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 3600)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", 0.0)
    point_sessions_at_cluster(settings, relays[0])


@pytest.fixture(params=KINDS)
def untold(request, relays) -> Iterator[None]:
    """All nodes are such."""
    for relay in relays:
        relay.rewrite(KINDS[request.param]())
    yield
    for relay in relays:
        relay.heal()


def read_all(session_keys: list[str]) -> list[object]:
    return [SessionStore(session_key)["a"] for session_key in session_keys]


def test_reads_ask_the_cache_alone(engine, untold, asked):  # noqa: F811
    session_keys = [saved(a=number) for number in range(20)]
    read_all(session_keys)
    asked.clear()
    assert read_all(session_keys) == list(range(20))
    assert asked == []
    assert get_homes().origins() == {b"0"}


def test_nodes_that_tell_are_known_by_their_own_ids(engine, asked):  # noqa: F811
    session_keys = [saved(a=number) for number in range(20)]
    read_all(session_keys)
    asked.clear()
    assert read_all(session_keys) == list(range(20))
    assert asked == []
    assert len(get_homes().origins()) == 3
