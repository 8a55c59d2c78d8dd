"""System checks of the caches that connect through `ConnectionFactory`, sessions' or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.utils.module_loading import import_string

from .factory import ConnectionFactory, names_database
from .options import FactoryOptions

_ID = "django_elasticache_sessions."


def check_connection_factory(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E014, E015, W007: the options of `ConnectionFactory`."""
    return [
        message
        for alias, options, urls in _caches()
        for check in (_check_options, _check_database, _check_verification)
        for message in check(alias, options, urls)
    ]


def _caches() -> Iterator[tuple[str, Mapping[str, Any], list[str]]]:
    for alias, cache in settings.CACHES.items():
        options: Any = cache.get("OPTIONS")
        if isinstance(options, Mapping) and _is_ours(options):
            yield alias, options, _urls(cache.get("LOCATION"))


def _is_ours(options: Mapping[str, Any]) -> bool:
    path = options.get("CONNECTION_FACTORY") or getattr(
        settings, "DJANGO_REDIS_CONNECTION_FACTORY", None
    )
    try:
        factory = import_string(str(path))
    except ImportError:
        # None, or nothing that can be imported, which setting up the cache says.
        return False
    return isinstance(factory, type) and issubclass(factory, ConnectionFactory)


def _urls(location: Any) -> list[str]:
    urls = location.split(",") if isinstance(location, str) else location
    return [url for url in urls if isinstance(url, str)] if isinstance(urls, (list, tuple)) else []


def _check_options(
    alias: str, options: Mapping[str, Any], urls: list[str]
) -> Iterator[CheckMessage]:
    for problem in FactoryOptions.read(options).problems:
        yield Error(
            f"OPTIONS of CACHES[{alias!r}]: {problem}.",
            hint=f"Correct it in the OPTIONS of CACHES[{alias!r}], or remove it.",
            id=_ID + "E014",
        )


def _check_database(
    alias: str, options: Mapping[str, Any], urls: list[str]
) -> Iterator[CheckMessage]:
    if options.get("CLUSTER") is True and any(_names_database(url, options) for url in urls):
        yield Error(
            f"CACHES[{alias!r}] is a cluster, and its LOCATION or OPTIONS name a database other "
            "than 0: a cluster has no other.",
            hint='Write "LOCATION": "rediss://<endpoint>:6379/0", and remove "DB" from its OPTIONS '
            'and "db" from its CONNECTION_POOL_KWARGS.',
            id=_ID + "E015",
        )


def _check_verification(
    alias: str, options: Mapping[str, Any], urls: list[str]
) -> Iterator[CheckMessage]:
    pool: Any = options.get("CONNECTION_POOL_KWARGS")
    pool = pool if isinstance(pool, Mapping) else {}
    if any(_is_unverified(pool) or _is_unverified(_query(url)) for url in urls):
        yield Warning(
            f"CACHES[{alias!r}] does not verify whom it speaks to: whoever is on the network can "
            "pass for the server.",
            hint="Remove ssl_cert_reqs and ssl_check_hostname from LOCATION and "
            'CONNECTION_POOL_KWARGS; for an authority of your own write "CA_FILE": "/path/ca.pem".',
            id=_ID + "W007",
        )


def _names_database(url: str, options: Mapping[str, Any]) -> bool:
    try:
        return names_database(url, options)
    except ValueError:
        # Not a URL: another check tells.
        return False


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def _is_unverified(options: Mapping[str, Any]) -> bool:
    verifies = str(options.get("ssl_cert_reqs", "required")).lower() in ("required", "2")
    checks_name = str(options.get("ssl_check_hostname", True)).lower() not in ("false", "no", "0")
    return not (verifies and checks_name)
