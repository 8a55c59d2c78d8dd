"""IAM authentication in a cluster: a token opens the door of every node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from django_elasticache_sessions import breaker, live
from django_elasticache_sessions.elasticache import iam
from django_elasticache_sessions.exceptions import SessionStoreUnavailable

from ..conftest import point_sessions_at
from ..servers.doorman import Doorman
from ..servers.front import ClusterBehindRelays
from ..servers.http import HttpService
from ..servers.tls import ServerIdentity
from ..servers.waiting import wait_until
from ..test_iam import IAM, STATIC, Role, count_signings, for_something_else, let_pass
from .conftest import FACTORY
from .test_faults import keys_on_each
from .test_tls import DOMAIN, aread, fronted, read, use_another_cache

pytestmark = pytest.mark.usefixtures("aws_profiles")
both = pytest.mark.parametrize(
    "read", [read, lambda key: asyncio.run(aread(key))], ids=["sync", "async"]
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[tuple[ClusterBehindRelays, ServerIdentity, Doorman]]:
    doorman = Doorman()
    identity = ServerIdentity.of_a_cluster(tmp_path_factory.mktemp("authority"))
    with fronted(), ClusterBehindRelays(tls=identity, domain=DOMAIN, doorman=doorman) as cluster:
        yield cluster, identity, doorman


@pytest.fixture
def doorman(cluster) -> Doorman:
    """Who admits to each node."""
    _, _, doorman = cluster
    doorman.secrets = {STATIC[0]: (STATIC[1], "")}
    doorman.clock, doorman.admitted = time.time, 0
    doorman.refusals.clear()
    return doorman


@pytest.fixture
def sign_in(cluster, doorman, settings) -> Callable[..., None]:
    """Keep sessions there from now on, over connections yet to be made."""
    behind, identity, _ = cluster

    def change(**options: object) -> None:
        point_sessions_at(
            settings,
            f"{behind.url}/0",
            CONNECTION_FACTORY=FACTORY,
            CLUSTER=True,
            CA_FILE=str(identity.ca_file),
            # What the doorman hears is AUTH.
            CONNECTION_POOL_KWARGS={"protocol": 2},
            IAM={**IAM, **options},
        )

    return change


@pytest.fixture
def valkey(cluster, sign_in, settings) -> ClusterBehindRelays:
    """An empty cluster to sign in to."""
    behind, _, _ = cluster
    behind.flush()
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
    sign_in()
    return behind


@pytest.fixture
def static(monkeypatch) -> None:
    """Have lasting credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", STATIC[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", STATIC[1])


@pytest.fixture
def endpoint(doorman, monkeypatch) -> Iterator[HttpService]:
    """Have the credentials of a role, refreshed from a container's endpoint."""
    with HttpService(Role(doorman).respond) as service:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/role")
        yield service


def sign_ins(cluster: ClusterBehindRelays) -> list[int]:
    """Return how often clients have signed in to each node."""
    return [relay.requests.count("AUTH") for relay in cluster.relays]


def test_every_connection_to_every_node_signs_in(engine, valkey, doorman, static):
    before, connections = sign_ins(valkey), valkey.connections
    keys = keys_on_each(valkey, engine, a=1)

    async def use() -> None:
        for key in keys:
            session = engine(key)
            await session.aset("b", 2)
            await session.asave()
        assert (await live.acount()).anonymous >= 3

    asyncio.run(use())
    new = [now - then for now, then in zip(valkey.connections, connections, strict=True)]
    assert [now - then for now, then in zip(sign_ins(valkey), before, strict=True)] == new
    # A thread's and a loop's.
    assert all(count >= 2 for count in new)
    assert doorman.refusals == []


def requests(cluster: ClusterBehindRelays) -> list[int]:
    """Return how often each node was asked for anything but to be let in."""
    return [
        len(relay.requests) - count
        for relay, count in zip(cluster.relays, sign_ins(cluster), strict=True)
    ]


def test_one_token_serves_all_nodes(valkey, doorman, static, monkeypatch):
    made = count_signings(monkeypatch)
    keys_on_each(valkey, a=1)
    assert len(made) == 1
    assert doorman.admitted >= 3


def test_the_session_token_of_a_role_is_signed_along(valkey, doorman, endpoint):
    keys = keys_on_each(valkey, a=1)
    assert [asyncio.run(aread(key)) for key in keys] == [1, 1, 1]
    assert doorman.refusals == []


@both
@for_something_else
def test_a_token_for_something_else_opens_no_node(
    valkey, doorman, static, sign_in, caplog, wrong, reason, read
):
    sign_in(**wrong)
    served = requests(valkey)
    for _ in range(3):
        with pytest.raises(SessionStoreUnavailable, match="refused the user name or password"):
            read("some-session-key-that-nobody-has")
    assert set(doorman.refusals) == {reason}
    assert requests(valkey) == served
    assert len([record for record in caplog.records if record.name == iam.logger.name]) == 1


@both
def test_one_node_that_refuses_leaves_the_others(valkey, static, sign_in, monkeypatch, read):
    keys = keys_on_each(valkey, a=1)
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 600.0)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 600.0)
    # As one that has not heard of the user yet.
    monkeypatch.setattr(valkey.relays[2], "_doorman", Doorman())
    sign_in()
    for _ in range(3):
        with pytest.raises(SessionStoreUnavailable, match=f"node node-2.{DOMAIN}:.*it refused"):
            read(keys[2])
        assert [read(key) for key in keys[:2]] == [1, 1]


def test_a_token_is_renewed_for_new_connections_to_any_node(valkey, doorman, static, monkeypatch):
    made = count_signings(monkeypatch)
    keys = keys_on_each(valkey, a=1)
    for minutes, signings in ((9, 1), (11, 2), (20, 2), (22, 3)):
        let_pass(monkeypatch, doorman, minutes * 60)
        assert [asyncio.run(aread(key)) for key in keys] == [1, 1, 1]
        assert len(made) == signings
    assert doorman.refusals == []


@both
def test_credentials_that_were_revoked_are_fetched_anew(
    valkey, doorman, endpoint, sign_in, settings, read
):
    keys = keys_on_each(valkey, a=1)
    given = len(endpoint.requests)
    doorman.secrets.clear()
    sign_in()
    with pytest.raises(SessionStoreUnavailable, match="it refused"):
        read(keys[0])
    for key in keys:
        wait_until(lambda key=key: is_served(key, read), what="a session read")
    assert len(endpoint.requests) == given + 1


def is_served(key: str, read: Callable[[str], object]) -> bool:
    try:
        return read(key) == 1
    except SessionStoreUnavailable:
        return False


@pytest.mark.parametrize(("hours", "new"), [(9.8, 0), (11.1, 1)])
class TestAge:
    """Connections are replaced before ElastiCache ends them."""

    @pytest.fixture
    def age(self, monkeypatch):
        """Let hours pass for connections."""

        def pass_hours(hours: float) -> None:
            real = time.monotonic
            for module in ("authentication", "lines", "aio_lines", "wire"):
                monkeypatch.setattr(
                    f"django_elasticache_sessions.drivers.{module}.now",
                    lambda: real() + hours * 3600,
                )

        return pass_hours

    def test_a_threads_are_replaced_at_each_node(self, valkey, static, age, hours, new):
        keys = keys_on_each(valkey, a=1)
        before = sign_ins(valkey)
        age(hours)
        for _ in range(3):
            assert [read(key) for key in keys] == [1, 1, 1]
        assert sign_ins(valkey) == [count + new for count in before]

    def test_a_loops_are_replaced_at_each_node(self, valkey, static, age, hours, new):
        keys = keys_on_each(valkey, a=1)

        async def use() -> None:
            for key in keys:
                await aread(key)
            before = sign_ins(valkey)
            age(hours)
            for _ in range(3):
                assert [await aread(key) for key in keys] == [1, 1, 1]
            assert sign_ins(valkey) == [count + new for count in before]

        asyncio.run(use())


def test_a_projects_other_caches_sign_in_the_same_way(valkey, doorman, static):
    use_another_cache(f"{valkey.url}/0")
    assert doorman.refusals == []
