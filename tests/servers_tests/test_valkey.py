"""A server process does what its handle is told."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.ports import free_port
from tests.servers.releases import VERSIONS
from tests.servers.valkey import RELEASES, SERVICE_NAME, Release, Valkey
from tests.servers.waiting import wait_until

NO_RETRY = Retry(NoBackoff(), 0)

LEAKING = """
from tests.servers.valkey import Valkey
server = Valkey()
server.start()
print(server.pid, flush=True)
"""


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Release:
    """Return each release that this machine has."""
    chosen: Release = request.param
    if not Valkey.available(chosen):
        pytest.skip(f"no server program of release {chosen!r}")
    return chosen


@pytest.fixture
def server(release: Release) -> Iterator[Valkey]:
    """Run a server of its own for the test, which may kill it."""
    with Valkey(release) as server:
        yield server


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def number_of_replicas(sentinel: Valkey) -> object:
    seen = cast(dict[str, object], sentinel.client().sentinel_master(SERVICE_NAME))
    return seen["num-slaves"]


def port_of_primary(sentinel: Valkey) -> object:
    address = sentinel.client().sentinel_get_master_addr_by_name(SERVICE_NAME)
    return cast(tuple[str, int], address)[1]


def test_it_is_the_release_that_was_asked_for(release: Release, server: Valkey) -> None:
    information = server.client().info("server")
    name = "valkey" if "valkey_version" in information else "redis"
    assert f"{name} {information[f'{name}_version']}".startswith(VERSIONS[release])


def test_its_url_leads_to_it(server: Valkey) -> None:
    server.client().set("key", "value")
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


def test_it_persists_nothing(server: Valkey) -> None:
    assert server.client().config_get("save") == {"save": ""}
    assert server.client().config_get("appendonly") == {"appendonly": "no"}


def test_extra_configuration_wins(release: Release) -> None:
    with Valkey(release, config={"maxmemory": "64mb", "appendonly": "yes"}) as server:
        assert server.client().config_get("maxmemory") == {"maxmemory": str(64 * 2**20)}
        assert server.client().config_get("appendonly") == {"appendonly": "yes"}


def test_it_asks_for_its_password(release: Release) -> None:
    with Valkey(release, password="p@ss/word") as server:
        assert server.client().ping()
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
        with pytest.raises(redis.AuthenticationError):
            server.client(password="wrong").ping()


@pytest.mark.parametrize("command", ["KEYS *", "CONFIG GET port", "SELECT 1", "SLOWLOG GET"])
def test_whoever_comes_by_its_url_is_refused_what_serverless_refuses(
    server: Valkey, command: str
) -> None:
    with redis.Redis.from_url(server.url) as client:
        assert client.set("key", "value")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())
    for url in (server.administrators_url, f"{server.administrators_url}/1"):
        with redis.Redis.from_url(url) as client:
            client.execute_command(*command.split())


def test_a_test_may_say_otherwise(release: Release) -> None:
    with Valkey(release, restricted=False) as server:
        for url in (server.url, server.administrators_url):
            with redis.Redis.from_url(url) as client:
                assert client.keys() == []


def test_it_knows_the_users_of_its_acl(release: Release) -> None:
    with Valkey(release, acl=["app on >secret ~app:* +get +set"]) as server:
        app = server.client(username="app", password="secret")
        assert app.set("app:key", "value")
        with pytest.raises(redis.exceptions.NoPermissionError):
            app.set("key", "value")


def test_a_restart_keeps_the_port_and_on_demand_the_data(server: Valkey) -> None:
    port = server.port
    server.client().set("key", "value")
    server.restart(keep_data=True)
    assert server.port == port
    assert server.client().get("key") == b"value"


def test_a_restart_loses_the_data_on_demand(server: Valkey) -> None:
    server.client().set("key", "value")
    server.restart(keep_data=False)
    assert server.client().get("key") is None


def test_a_crash_loses_the_data_even_after_a_restart_that_kept_it(server: Valkey) -> None:
    server.client().set("key", "value")
    server.restart(keep_data=True)
    server.kill()
    server.start()
    assert server.client().get("key") is None


def test_a_crash_leaves_the_files_of_a_server_that_persists(release: Release) -> None:
    with Valkey(release, config={"appendonly": "yes", "appendfsync": "always"}) as server:
        server.client().set("key", "value")
        server.kill()
        server.restart(keep_data=True)
        assert server.client().get("key") == b"value"


def test_a_killed_server_refuses_connections(server: Valkey) -> None:
    pid = server.pid
    server.kill()
    assert not process_exists(pid)
    with pytest.raises(redis.ConnectionError):
        server.client().ping()


def test_a_frozen_server_accepts_and_does_not_answer_until_it_is_thawed(server: Valkey) -> None:
    server.freeze()
    with redis.Redis(port=server.port, socket_timeout=0.1, retry=NO_RETRY) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.thaw()
        server.wait_until_ready()
        assert client.ping()


def test_it_can_freeze_again_and_be_stopped_frozen(server: Valkey) -> None:
    server.freeze()
    server.thaw()
    server.freeze()
    pid = server.pid
    server.stop()
    assert not process_exists(pid)


def test_stopping_twice_is_harmless_and_starting_twice_is_an_error(server: Valkey) -> None:
    with pytest.raises(RuntimeError, match="is running already"):
        server.start()
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="call start"):
        server.freeze()


def test_a_bad_configuration_is_reported_by_the_servers_own_log(release: Release) -> None:
    with pytest.raises(RuntimeError, match="ended by itself"):
        Valkey(release, config={"maxmemory": "plenty"}).start()


def test_a_replica_follows_its_primary(release: Release) -> None:
    with (
        Valkey(release, password="secret") as primary,
        Valkey(release, password="secret", replica_of=primary) as replica,
    ):
        primary.client().set("key", "value")
        follower = replica.client()
        wait_until(lambda: follower.get("key") == b"value", what="the value at the replica")
        with pytest.raises(redis.exceptions.ReadOnlyError):
            replica.client().set("key", "other")


def test_a_sentinel_promotes_the_replica_and_takes_the_old_primary_back(release: Release) -> None:
    if release == "redis-6.2":
        pytest.skip("its Sentinels have one pace, and take half a minute")
    with (
        Valkey(release, password="secret") as primary,
        Valkey(release, password="secret", replica_of=primary) as replica,
        Valkey(release, sentinel=True, monitors=primary) as sentinel,
    ):
        wait_until(lambda: number_of_replicas(sentinel) == 1, what="the replica known")
        primary.kill()
        wait_until(lambda: port_of_primary(sentinel) == replica.port, what="the replica promoted")
        primary.start()
        wait_until(
            lambda: f"{primary.port}" in str(replica.client().info("replication").get("slave0")),
            what="the old primary following",
        )


def test_a_sentinel_needs_somebody_to_monitor() -> None:
    with pytest.raises(ValueError, match="belong together"):
        Valkey(sentinel=True)


def test_a_leaked_server_ends_with_the_program_that_leaked_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LEAKING],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert not process_exists(int(ended.stdout))


def test_no_port_is_given_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)
