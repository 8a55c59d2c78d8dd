"""The connection factory: django-redis with what ElastiCache needs.

    CACHES = {"sessions": {"BACKEND": "django_redis.cache.RedisCache",
                           "LOCATION": "rediss://<endpoint>:6379/0",
                           "OPTIONS": {"CONNECTION_FACTORY":
                               "django_elasticache_sessions.elasticache.ConnectionFactory"}}}

A name is resolved whenever a connection is made, so after a failover new connections lead to the
new primary; one that meets a read-only server is closed for that.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django_redis.pool import ConnectionFactory as DjangoRedisConnectionFactory
from redis import ConnectionPool
from redis import asyncio as aioredis
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisClusterException
from redis.retry import Retry

from ..conf import DEFAULT_TIMEOUT_SECONDS
from ..drivers.pools import make_async_pool
from ..forks import after_fork
from .clients import AsyncClusterClient, ClusterClient
from .iam import make_credential_provider
from .options import FactoryOptions

#: A refused connection is tried again so often, after about so many seconds; a timeout is not.
CONNECT_RETRIES = 2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 0.1
#: Dead after a minute and a half in all.
_KEEPALIVE_IDLE_SECONDS, _KEEPALIVE_INTERVAL_SECONDS, _KEEPALIVE_PROBES = 60, 10, 3
#: Of RedisCluster, which knows no URL once it has nodes, nor a pool's own things.
_NOT_FOR_CLUSTERS = ("parser_class", "url")
_IN_CLEAR = (
    "OPTIONS['IAM'] signs in with a token that could be read on the network without TLS. Turn on "
    'encryption in transit and write the LOCATION of the cache as "rediss://...".'
)


class ConnectionFactory(DjangoRedisConnectionFactory):  # type: ignore[misc]
    """Connects to a primary endpoint, or with `"CLUSTER": True` to a cluster or Serverless cache.

    Serves the caches of a project, too: `connect()` returns a client of redis-py. Raises
    `ImproperlyConfigured` for options that it does not understand.
    """

    _pools: dict[Any, ConnectionPool] = {}
    _clusters: dict[Any, ClusterClient] = {}
    _lock = Lock()

    def __init__(self, options: dict[str, Any]) -> None:
        """Take the `OPTIONS` of a cache."""
        super().__init__(options)
        self._options = FactoryOptions.read_or_raise(options)

    @property
    def is_cluster(self) -> bool:
        """Whether commands go to the node that owns their key's slot."""
        return self._options.cluster

    def make_connection_params(self, url: str) -> dict[str, Any]:
        """Return the arguments of a pool.

        Raises `ImproperlyConfigured` for IAM without TLS: the token would be sent in clear.
        """
        params: dict[str, Any] = {
            "socket_timeout": DEFAULT_TIMEOUT_SECONDS,
            "socket_connect_timeout": DEFAULT_TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "socket_keepalive_options": keepalive_options(),
            "client_name": self._options.client_name,
            "retry": _retry(),
        }
        if url.startswith("rediss://"):
            params |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
            if self._options.ca_file:
                params["ssl_ca_certs"] = self._options.ca_file
        if url.startswith("unix://"):
            del params["socket_keepalive"], params["socket_keepalive_options"]
        params |= super().make_connection_params(url)
        if self.options.get("IAM") is not None:
            if not url.startswith("rediss://"):
                raise ImproperlyConfigured(_IN_CLEAR)
            params["credential_provider"] = make_credential_provider(self.options["IAM"])
        return params

    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        """Return a new pool that leads to one server."""
        self._refuse_databases(params["url"])
        pool: ConnectionPool = super().get_connection_pool(params)
        return pool

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        """Return the process's pool for these arguments."""
        key = self._key(params)
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self.get_connection_pool(params)
            return pool

    def get_connection(self, params: dict[str, Any]) -> Any:
        """Return a client: redis-py's, of a cluster where it is one."""
        if not self.is_cluster:
            return super().get_connection(params)
        key = self._key(params)
        with self._lock:
            client = self._clusters.get(key)
            if client is None:
                client = self._clusters[key] = self._connect_to_cluster(params)
            return client

    def disconnect(self, connection: Any) -> None:
        """Close a client's connections."""
        if isinstance(connection, ClusterClient):
            connection.disconnect_connection_pools()  # type: ignore[no-untyped-call]
        else:
            super().disconnect(connection)

    def make_async_client(self, url: str) -> Any:
        """Return a client for the running event loop; whoever asked for it has to `aclose()` it."""
        params = self.make_connection_params(url)
        if not self.is_cluster:
            pool = make_async_pool(self.get_connection_pool(params))
            return aioredis.Redis.from_pool(pool)
        arguments = self._cluster_arguments(params)
        arguments["ssl"] = url.startswith("rediss://")
        retry = arguments["retry"]
        arguments["retry"] = aioredis.retry.Retry(retry._backoff, retry._retries)
        return AsyncClusterClient(**{**arguments, **_place(url)})

    def _connect_to_cluster(self, params: dict[str, Any]) -> ClusterClient:
        try:
            return ClusterClient(url=params["url"], **self._cluster_arguments(params))
        except RedisClusterException as error:
            # django-redis knows what to do about this one.
            raise RedisConnectionError(f"No node of the cluster answered ({error}).") from error

    def _cluster_arguments(self, params: dict[str, Any]) -> dict[str, Any]:
        self._refuse_databases(params["url"])
        arguments = {
            # The configuration endpoint's name is asked again; what is served is served although
            # other slots are not.
            "dynamic_startup_nodes": False,
            "require_full_coverage": False,
            **params,
            **self.pool_cls_kwargs,
        }
        return {name: arguments[name] for name in arguments if name not in _NOT_FOR_CLUSTERS}

    def _refuse_databases(self, url: str) -> None:
        if self.is_cluster and names_database(url, self.options):
            raise ImproperlyConfigured(
                "The LOCATION or the OPTIONS of a cluster name a database other than 0, and a "
                'cluster has no other. Write "rediss://<endpoint>:6379/0", and no "DB" or "db".'
            )

    def _key(self, params: dict[str, Any]) -> tuple[Any, ...]:
        # Other options to the same place are another pool.
        provider = params.get("credential_provider")
        return (params["url"], self._options, repr(sorted(self.pool_cls_kwargs)), provider)


@after_fork
def _begin_anew() -> None:
    ConnectionFactory._lock = Lock()
    ConnectionFactory._pools.clear()
    ConnectionFactory._clusters.clear()


def names_database(url: str, options: Mapping[str, Any]) -> bool:
    """Tell whether a URL, or `OPTIONS`, name a database other than 0."""
    pool: Any = options.get("CONNECTION_POOL_KWARGS")
    names = [parse_url(url).get("db"), options.get("DB")]  # type: ignore[no-untyped-call]
    if isinstance(pool, Mapping):
        names.append(pool.get("db"))
    return any(str(name or 0) != "0" for name in names)


def keepalive_options() -> dict[int, int]:
    """Return the socket options, as far as the system has them, that find a dead connection.

    Load balancers and NAT gateways of AWS forget one that was silent for 350 seconds, and tell
    neither side.
    """
    # macOS has another name for the first.
    idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"
    seconds = {
        idle: _KEEPALIVE_IDLE_SECONDS,
        "TCP_KEEPINTVL": _KEEPALIVE_INTERVAL_SECONDS,
        "TCP_KEEPCNT": _KEEPALIVE_PROBES,
    }
    return {
        getattr(socket, name): value for name, value in seconds.items() if hasattr(socket, name)
    }


def _retry() -> Retry:
    backoff = ExponentialWithJitterBackoff(base=_FIRST_PAUSE_SECONDS, cap=_LONGEST_PAUSE_SECONDS)
    return Retry(backoff, CONNECT_RETRIES, (RedisConnectionError, ReadOnlyError))


def _place(url: str) -> dict[str, Any]:
    options = parse_url(url)  # type: ignore[no-untyped-call]
    place = {"host": urlsplit(url).hostname or "localhost", "port": options.get("port", 6379)}
    return place | {name: options[name] for name in ("username", "password") if name in options}
