"""The connection factory: its options, their checks, and other caches that use it."""

from __future__ import annotations

import asyncio
import copy

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis.credentials import UsernamePasswordCredentialProvider

from django_elasticache_sessions.checks import CHECKS
from django_elasticache_sessions.elasticache import ConnectionFactory

from .conftest import point_sessions_at
from .servers.cluster import ValkeyCluster
from .servers.valkey import Valkey

FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"


TOLD = ("E014", "E015", "E016", "W007", "W008", "W009", "W013")


def found(settings, location="rediss://cache.invalid:6379/0", **options) -> list[str]:
    point_sessions_at(
        settings, location, is_patient=False, CONNECTION_FACTORY=FACTORY, PASSWORD="x", **options
    )
    return ids()


def ids() -> list[str]:
    ids = [message.id or "" for check in CHECKS for message in check(None)]
    return [one.rpartition(".")[2] for one in ids if one.endswith(TOLD)]


def test_good_options_are_no_problem(settings):
    assert found(settings, CLUSTER=True, CLIENT_NAME="shop", SOCKET_TIMEOUT=0.5) == []


@pytest.mark.parametrize(
    "options",
    [
        {"CLUSTER": "yes"},
        {"CLUSTERS": True},
        {"CLIENT_NAME": "two words"},
        {"CA_FILE": "/nowhere/ca.pem"},
        {"CA_FILE": __file__},
        {"CONNECTION_POOL_KWARGS": ["x"]},
        {"SOCKET_TIMEOUT": -1},
        {"SOCKET_CONNECT_TIMEOUT": "1"},
    ],
)
def test_a_wrong_option_is_told(settings, options):
    assert found(settings, **options) == ["E014"]


class Factory(ConnectionFactory):
    """A project's own, built on ours."""


def test_a_factory_that_is_built_on_ours_is_checked_too(settings):
    point_sessions_at(
        settings,
        "rediss://cache.invalid:6379/1?ssl_cert_reqs=none",
        CONNECTION_FACTORY=f"{__name__}.Factory",
        CLUSTER=True,
        CLIENT_NAME="two words",
    )
    assert ids() == ["E014", "E015", "W007"]


def test_another_database_of_a_cluster_is_told(settings):
    assert found(settings, "rediss://cache.invalid:6379/1", CLUSTER=True) == ["E015"]
    assert found(settings, "rediss://cache.invalid:6379/1") == []
    assert found(settings, CLUSTER=True, DB=3) == ["E015"]
    assert found(settings, CLUSTER=True, CONNECTION_POOL_KWARGS={"db": "3"}) == ["E015"]
    assert found(settings, CLUSTER=True, DB=0, CONNECTION_POOL_KWARGS={"db": 0}) == []


AMAZON = "abc123.euc1.cache.amazonaws.com"


@pytest.mark.parametrize(
    "host",
    [
        f"clustercfg.shop.{AMAZON}",
        "shop.abc123.clustercfg.euc1.cache.amazonaws.com",
        "shop-abc123.serverless.eu-central-1.cache.amazonaws.com",
        "shop-abc123.serverless.cn-north-1.cache.amazonaws.com.cn",
    ],
)
def test_a_cluster_by_its_name_that_is_not_said_to_be_one_is_told(settings, host):
    assert found(settings, f"rediss://{host}:6379/0") == ["W008"]
    assert found(settings, f"rediss://{host}:6379/0", CLUSTER=True) == []


def test_iam_of_a_serverless_cache_that_is_not_said_to_be_a_cluster_is_told(settings):
    iam = {"USER": "app", "CACHE_NAME": "shop", "REGION": "eu-central-1", "SERVERLESS": True}
    assert found(settings, IAM=iam) == ["W008"]
    assert found(settings, IAM=iam, CLUSTER=True) == []


@pytest.mark.parametrize("writes", ["behind", "through"])
@pytest.mark.parametrize("engine", ["cache", "cached_db"])
def test_saves_that_wait_in_a_serverless_cache_are_told(settings, writes, engine):
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{engine}"
    settings.ELASTICACHE_SESSIONS = {"FALLBACK_WRITES": writes}
    told = ["W013"] if (engine, writes) == ("cached_db", "behind") else []
    iam = {"USER": "app", "CACHE_NAME": "shop", "REGION": "eu-central-1", "SERVERLESS": True}
    host = "shop-abc123.serverless.eu-central-1.cache.amazonaws.com"
    assert found(settings, f"rediss://{host}:6379/0", CLUSTER=True) == told
    assert found(settings, IAM=iam, CLUSTER=True) == told
    assert found(settings, f"rediss://master.shop.{AMAZON}:6379/0") == []


def test_a_cluster_behind_a_factory_that_does_not_heed_it_is_told(settings):
    point_sessions_at(settings, "rediss://cache.invalid:6379/0", CLUSTER=True)
    assert ids() == ["E016"]


@pytest.mark.parametrize(
    "host", [f"replica.shop.{AMAZON}", "shop-ro.abc123.ng.0001.euc1.cache.amazonaws.com"]
)
def test_a_reader_endpoint_for_sessions_is_told(settings, host):
    assert found(settings, f"rediss://{host}:6379/0") == ["W009"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert ids() == []


@pytest.mark.parametrize(
    "host", [f"master.shop.{AMAZON}", "shop.abc123.ng.0001.euc1.cache.amazonaws.com", "replica.lan"]
)
def test_a_primary_endpoint_is_no_problem(settings, host):
    assert found(settings, f"rediss://{host}:6379/0") == []


@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl_check_hostname=False"])
def test_tls_that_verifies_nothing_is_told(settings, query):
    assert found(settings, f"rediss://cache.invalid:6379/0?{query}") == ["W007"]


def test_a_cluster_refuses_another_database_at_run_time_too():
    factory = ConnectionFactory({"CLUSTER": True})
    with pytest.raises(ImproperlyConfigured, match="other than 0"):
        factory.connect("redis://127.0.0.1:1/3")
    for options in ({"DB": 3}, {"CONNECTION_POOL_KWARGS": {"db": 3}}):
        factory = ConnectionFactory({"CLUSTER": True, **options})
        with pytest.raises(ImproperlyConfigured, match="other than 0"):
            factory.connect("redis://127.0.0.1:1/0")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nowhere/valkey.sock"])
def test_a_token_is_never_sent_without_tls(url):
    iam = {"USER": "app", "CACHE_NAME": "sessions", "REGION": "eu-central-1"}
    factory = ConnectionFactory({"IAM": iam})
    with pytest.raises(ImproperlyConfigured, match="without TLS"):
        factory.make_connection_params(url)


def test_connections_are_named_and_kept_alive(valkey, server, settings):
    point_sessions_at(settings, server.url, CONNECTION_FACTORY=FACTORY, CLIENT_NAME="shop")
    caches["sessions"].set("a", 1)
    assert "shop" in {client["name"] for client in valkey.client_list()}
    pool = caches["sessions"].client.connection_factory.get_connection_pool(
        caches["sessions"].client.connection_factory.make_connection_params(server.url)
    )
    assert pool.connection_kwargs["socket_keepalive"] is True
    assert pool.connection_kwargs["socket_timeout"] == 10


def test_a_credential_provider_is_asked_by_every_kind_of_client():
    class Provider(UsernamePasswordCredentialProvider):
        asked = 0

        def get_credentials(self):
            type(self).asked += 1
            return super().get_credentials()

    with Valkey(acl=["app on >secret ~* +@all"]) as server:
        options = {"CONNECTION_POOL_KWARGS": {"credential_provider": Provider("app", "secret")}}
        factory = ConnectionFactory(options)
        client = factory.connect(server.url)
        assert client.acl_whoami() in ("app", b"app")
        client.close()

        async def whoami() -> object:
            async_client = factory.make_async_client(server.url)
            try:
                return await async_client.acl_whoami()
            finally:
                await async_client.aclose()

        assert asyncio.run(whoami()) in ("app", b"app")
        assert Provider.asked >= 2


def test_a_projects_other_cache_may_lie_in_a_cluster(settings):
    with ValkeyCluster(replicas=False, restricted=False) as cluster:
        others = copy.deepcopy(settings.CACHES)
        others["other"] = {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": cluster.url,
            "OPTIONS": {"CONNECTION_FACTORY": FACTORY, "CLUSTER": True},
        }
        settings.CACHES = others
        cache = caches["other"]
        cache.set_many({f"key-{n}": n for n in range(20)})
        assert cache.get_many(["key-1", "key-2", "key-3"]) == {"key-1": 1, "key-2": 2, "key-3": 3}
        assert len(cache.keys("*")) == 20
        assert cache.incr("key-1") == 2
        cache.delete_many(["key-1", "key-2"])
        assert cache.get("key-1") is None
        cache.clear()
        assert cache.keys("*") == []

        async def use() -> object:
            client = cache.client.connection_factory.make_async_client(cluster.url)
            try:
                await client.set("a", "1")
                await client.set("b", "2")
                return await client.mget(["a", "b"]), len(await client.keys("*"))
            finally:
                await client.aclose()

        assert asyncio.run(use()) == ([b"1", b"2"], 2)
        cache.client.connection_factory.disconnect(cache.client.get_client())
