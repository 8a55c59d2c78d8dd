"""Connection pools for sessions, made from the project's django-redis cache alias."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from redis import asyncio as aioredis
from redis.asyncio import sentinel as aiosentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.connection import (
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import RedisError
from redis.sentinel import (
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

from ..conf import DEFAULT_TIMEOUT_SECONDS
from .opening import hurrying, overhearing
from .pool_options import RAISED, find_problems
from .sentinels import hasten, make_async_sentinels

DEFAULT_PORT = 6379
_UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")
_ASYNC_CONNECTIONS = {
    Connection: aioredis.Connection,
    SSLConnection: aioredis.SSLConnection,
    UnixDomainSocketConnection: aioredis.UnixDomainSocketConnection,
    SentinelManagedConnection: aiosentinel.SentinelManagedConnection,
    SentinelManagedSSLConnection: aiosentinel.SentinelManagedSSLConnection,
}
_VERSION_OPTIONS = {"driver_info", "lib_name", "lib_version"}
# redis-py 8 reads its version from a file for each connection. Without a descriptor to do so, its
# pools lose a place at each attempt.
_VERSION = getattr(Connection(), "driver_info", None)  # type: ignore[no-untyped-call]
# What a synchronous pool adds to its connections' arguments, or has an asyncio form of its own.
_SYNC_ONLY = {
    "command_packer",
    "connection_pool",
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_config",
    "maint_notifications_pool_handler",
    "oss_cluster_maint_notifications_handler",
    "parser_class",
    "retry",
}


class UnusableOptions(ImproperlyConfigured):
    """The options of a cache make no connection."""


def make_pool(alias: str, *, host: str = "", port: int = 0) -> ConnectionPool:
    """Make a pool of its own for sessions, as the alias's connection factory would make it.

    A pool of its own, because the driver keeps the connections it has checked out: in the cache's
    pool they would be missing. With `host` and `port` it leads to that node of a cluster. Raises
    `ImproperlyConfigured` for an alias not of django-redis, and `UnusableOptions`.
    """
    factory = _factory(alias)
    if parse_location(alias) is None:
        raise ImproperlyConfigured(bad_location(alias))
    url = primary_url(alias)
    _refuse_unusable(alias, url)
    try:
        params = {
            "socket_timeout": DEFAULT_TIMEOUT_SECONDS,
            "socket_connect_timeout": DEFAULT_TIMEOUT_SECONDS,
            **factory.make_connection_params(with_address(url, host, port) if host else url),
        }
        pool: ConnectionPool = factory.get_connection_pool(params)
        if not isinstance(pool, ConnectionPool):
            raise ImproperlyConfigured(_not_of_django_redis(alias))
        # The drivers read RESP2; RESP3 costs a longer handshake and brings the scripts nothing.
        pool.connection_kwargs["protocol"] = 2
        if _VERSION is not None and not _VERSION_OPTIONS & pool.connection_kwargs.keys():
            pool.connection_kwargs["driver_info"] = _VERSION
        # A pool takes any option; a connection does not. This one is never opened. What it lacks
        # of the system, such as a free descriptor, is told by the first that is.
        with suppress(OSError):
            pool.connection_class(**pool.connection_kwargs)
        pool.connection_class = hurrying(pool.connection_class)
        hasten(pool)
    except (AttributeError, ImportError, RedisError, TypeError, ValueError) as error:
        raise UnusableOptions(_unusable(alias, error)) from None
    return pool


def _refuse_unusable(alias: str, url: str) -> None:
    options: Any = settings.CACHES[alias].get("OPTIONS")
    for problem in find_problems(alias, options if isinstance(options, Mapping) else {}, url):
        if problem.code == RAISED:
            raise UnusableOptions(f"{problem.message} {problem.hint}")


def _unusable(alias: str, error: Exception) -> str:
    if isinstance(error, ImportError):
        return (
            f"The OPTIONS of CACHES[{alias!r}] name a class that cannot be imported. Correct "
            "PARSER_CLASS, or remove it."
        )
    # Of the error's own text no more: a value may stand in it.
    unknown = _UNKNOWN_OPTION.search(str(error))
    what = f"redis-py does not know {unknown[1]!r}" if unknown else type(error).__name__
    return (
        f"The options of CACHES[{alias!r}] make no connection ({what}). Correct its "
        "CONNECTION_POOL_KWARGS, or what follows the question mark in its LOCATION."
    )


def is_cluster(alias: str) -> bool:
    """Tell whether an alias's connection factory leads to a cluster."""
    return bool(getattr(_factory(alias), "is_cluster", False))


def seeds(alias: str) -> tuple[tuple[str, int], ...]:
    """Return the hosts and ports of `LOCATION`, by which a cluster is found."""
    if parse_location(alias) is None:
        raise ImproperlyConfigured(bad_location(alias))
    parts = [urlsplit(url) for url in _urls(alias)]
    return tuple((part.hostname or "localhost", part.port or DEFAULT_PORT) for part in parts)


def with_address(url: str, host: str, port: int) -> str:
    """Return a URL that leads to another host, with the same credentials and options."""
    parts = urlsplit(url)
    userinfo, at, _ = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{userinfo}{at}{f'[{host}]' if ':' in host else host}:{port}"
    ).geturl()


def _factory(alias: str) -> Any:
    try:
        return caches[alias].client.connection_factory  # type: ignore[attr-defined]
    except AttributeError:
        raise ImproperlyConfigured(_not_of_django_redis(alias)) from None


def _not_of_django_redis(alias: str) -> str:
    return (
        f"CACHES[{alias!r}] (SESSION_CACHE_ALIAS) is not a django-redis cache, which serves Valkey "
        'and Redis. Set its BACKEND to "django_redis.cache.RedisCache".'
    )


def primary_url(alias: str) -> str:
    """Return the URL that sessions are read from and written to: the first of `LOCATION`.

    Empty when `LOCATION` is neither text nor a list of texts.
    """
    urls = _urls(alias)
    return urls[0] if urls else ""


def _urls(alias: str) -> list[str]:
    location: Any = settings.CACHES[alias].get("LOCATION", "")
    urls = location.split(",") if isinstance(location, str) else location
    if not isinstance(urls, (list, tuple)) or not all(isinstance(url, str) for url in urls):
        return []
    return list(urls)


def parse_location(alias: str) -> SplitResult | None:
    """Return the parts of `primary_url`, `None` when redis-py cannot make sense of it."""
    url = primary_url(alias)
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
        return urlsplit(url)
    except ValueError:
        return None


def bad_location(alias: str) -> str:
    """Say what is wrong with a location, without showing it: a password may stand in it."""
    return (
        f"The LOCATION of CACHES[{alias!r}], which sessions are to be kept in, is not a URL of the "
        "form redis://, rediss:// or unix://."
    )


def make_async_pool(pool: ConnectionPool) -> aioredis.ConnectionPool:
    """Make an asyncio pool to the same server with the same options.

    Raises `ImproperlyConfigured` for an option that asyncio connections do not have: leaving it
    out could leave out security.
    """
    connection_class = _async_connection_class(pool)
    kwargs = _async_kwargs(pool.connection_kwargs, connection_class)
    if isinstance(pool, SentinelConnectionPool):
        return _async_sentinel_pool(pool, connection_class, kwargs)
    return aioredis.ConnectionPool(
        connection_class=connection_class, max_connections=pool.max_connections, **kwargs
    )


async def close_sentinels(pool: object) -> None:
    """Close the connections over which a pool asks Sentinels for the primary, if it does."""
    if isinstance(pool, aiosentinel.SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


def _async_connection_class(pool: ConnectionPool) -> type[Any]:
    for sync_class in pool.connection_class.__mro__:
        if sync_class in _ASYNC_CONNECTIONS:
            return overhearing(_ASYNC_CONNECTIONS[sync_class])
    raise ImproperlyConfigured(
        f"Async sessions cannot connect through {pool.connection_class.__name__}. Remove "
        "connection_class from CONNECTION_POOL_KWARGS of the session cache alias."
    )


def _async_kwargs(kwargs: dict[str, Any], connection_class: type[Any]) -> dict[str, Any]:
    wanted = {
        name: value
        for name, value in kwargs.items()
        if name not in _SYNC_ONLY and not name.startswith("orig_")
    }
    unknown = sorted(wanted.keys() - parameters(connection_class))
    if unknown:
        raise ImproperlyConfigured(
            f"Async sessions do not know the connection option {unknown[0]!r}. Remove it from "
            "OPTIONS or LOCATION of the session cache alias."
        )
    return wanted | _async_retry(kwargs)


def _async_retry(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    retry = kwargs.get("retry")
    if retry is None:
        return {}
    return {"retry": AsyncRetry(retry._backoff, retry._retries, retry._supported_errors)}


def parameters(connection_class: type[Any]) -> set[str]:
    """Return the names of the arguments that a class and its bases take."""
    return {
        name
        for base in connection_class.__mro__
        if base is not object
        for name in inspect.signature(base).parameters
    }


def _async_sentinel_pool(
    pool: SentinelConnectionPool, connection_class: type[Any], kwargs: dict[str, Any]
) -> aioredis.ConnectionPool:
    manager = pool.sentinel_manager
    options = {
        name: value for name, value in manager.sentinel_kwargs.items() if name not in _SYNC_ONLY
    }
    options |= _async_retry(manager.sentinel_kwargs)
    return aiosentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]
        pool.service_name,
        make_async_sentinels(pool, options),
        is_master=pool.is_master,
        connection_class=connection_class,
        max_connections=pool.max_connections,
        **kwargs,
    )
