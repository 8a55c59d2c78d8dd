"""How often each node of a cluster is asked, counted at the wire: many things at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.test import Client

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.scripts import BY_SHA

from ..servers.cluster import ValkeyCluster
from ..servers.relay import Relay
from .conftest import point_sessions_at_cluster

PAGES = "/admin/django_elasticache_sessions/livesession/"
#: So many that none of three nodes is left without any, and no two in one bucket.
MANY = 40


@pytest.fixture(scope="module")
def all_relays() -> Iterator[list[Relay]]:
    """A relay in front of each node of a cluster; clients are told of no other way."""
    with ValkeyCluster(replicas=False) as cluster, ExitStack() as stack:
        yield cluster.put_behind(stack, Relay)


@pytest.fixture
def relays(all_relays, settings) -> list[Relay]:
    """The same, with sessions kept there, of which there are none."""
    for relay in all_relays:
        with redis.Redis(port=relay.port) as client:
            client.flushall()
            # A script that a node does not know costs one more round trip.
            for script in BY_SHA.values():
                client.script_load(script.source)
    point_sessions_at_cluster(settings, all_relays[0])
    return all_relays


@pytest.fixture
def many(relays) -> list[str]:
    """The ids of many sessions, which one user has."""
    by_bucket: dict[int, str] = {}
    while len(by_bucket) < MANY:
        session = saved(**{SESSION_KEY: "7"})
        bucket = get_configuration().naming.session(session.session_key).bucket
        if bucket in by_bucket:
            session.flush()
        else:
            by_bucket[bucket] = session.session_id
    return list(by_bucket.values())


def saved(**data: object) -> SessionStore:
    session = SessionStore()
    session.update({"a": 1, **data})
    session.save()
    return session


def asked(relays: list[Relay], act: Callable[[], object]) -> list[int]:
    """Do something twice, for the first time connects; how often each node was asked then."""
    act()
    with ExitStack() as stack:
        tapes = [stack.enter_context(relay.recording()) for relay in relays]
        act()
    return [tape.round_trips for tape in tapes]


def test_a_session_is_asked_of_one_node(relays):
    session_key = saved().session_key

    def change() -> None:
        session = SessionStore(session_key)
        session["a"] += 1
        session.save()

    assert sorted(asked(relays, change)) == [0, 0, 2]


def test_a_login_asks_the_node_of_the_users_index_at_the_same_time(relays):
    keys = [saved().session_key for _ in range(2)]

    def login() -> None:
        session = SessionStore(keys.pop())
        session["a"] += 1
        session.cycle_key()
        session[SESSION_KEY] = "7"
        session.save()

    assert sorted(asked(relays, login)) in ([0, 0, 3], [0, 1, 3])


def test_all_buckets_of_a_node_are_counted_in_one_round_trip(relays, many):
    assert asked(relays, live.count) == [1, 1, 1]


@pytest.mark.parametrize("limit", [MANY // 2, MANY])
def test_a_page_is_two_round_trips_to_each_node(relays, many, limit):
    # Which sessions there are, of every bucket; then what they are.
    assert asked(relays, lambda: live.page(limit=limit)) == [2, 2, 2]


def test_a_users_sessions_are_asked_of_all_nodes_at_once(relays, many):
    # The user's index lies on one of them.
    assert sorted(asked(relays, lambda: live.for_user(7))) == [1, 1, 2]


def test_selected_sessions_are_ended_on_all_nodes_at_once(relays, many):
    selections = [many[MANY // 2 :], many[: MANY // 2]]
    trips = asked(relays, lambda: live.end_all(selections.pop()))
    assert max(trips) <= 2
    assert live.count() == (0, 0)


def test_asyncio_asks_as_often(relays, many):
    async def ask() -> list[int]:
        # The first round trip of an event loop connects.
        await live.acount()
        with ExitStack() as stack:
            tapes = [stack.enter_context(relay.recording()) for relay in relays]
            await live.acount()
            await live.apage(limit=MANY)
        return [tape.round_trips for tape in tapes]

    assert asyncio.run(ask()) == [3, 3, 3]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("page", "trips"),
    # The session of who looks; then: to count, to look at a page; to count, to count by buckets, to
    # draw some sessions, to look at those; to learn the time from one of them, twice, to count, to
    # have their figures, to have the names of a sample and its times of creation.
    [("", 1 + 3 * 3), ("sizes/", 1 + 3 * 4), ("dashboard/", 1 + 2 + 3 * 4)],
)
def test_a_page_of_the_admin_asks_all_nodes_at_once(relays, many, page, trips):
    client = Client()
    client.force_login(User.objects.create_superuser("anna"))
    assert sum(asked(relays, lambda: client.get(f"{PAGES}{page}"))) == trips
