"""System checks of where a cache's `LOCATION` leads on ElastiCache, as far as names tell.

The forms of names: "Finding connection endpoints" in the ElastiCache user guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

from ..conf import CACHE_ENGINE, CACHED_DB_ENGINE
from ..drivers.pools import primary_url
from .factory import ConnectionFactory

_ID = "django_elasticache_sessions."
_DOMAINS = (".cache.amazonaws.com", ".cache.amazonaws.com.cn")
_WRITE_CLUSTER = (
    'Write "CLUSTER": True and "CONNECTION_FACTORY": '
    '"django_elasticache_sessions.elasticache.ConnectionFactory" in the OPTIONS of CACHES[{!r}].'
)


def check_endpoints(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E016, W008, W009, W013: what the names of endpoints say of the servers behind them."""
    sessions = _session_alias()
    messages: list[CheckMessage] = []
    for alias in settings.CACHES:
        factory = _factory(alias)
        if factory is not None:
            is_concerned = alias == sessions or isinstance(factory, ConnectionFactory)
            messages += _check_cluster(alias, factory, is_concerned=is_concerned)
        if factory is not None and alias == sessions:
            messages += _check_replica(alias)
            messages += _check_eviction(alias)
    return messages


def _check_cluster(alias: str, factory: Any, *, is_concerned: bool) -> Iterator[CheckMessage]:
    if getattr(factory, "is_cluster", False):
        return
    options = _options(alias)
    if options.get("CLUSTER"):
        yield Error(
            f'CACHES[{alias!r}] has "CLUSTER" in its OPTIONS, but connects through '
            f"{type(factory).__name__}, which does not heed it.",
            hint=_WRITE_CLUSTER.format(alias),
            id=_ID + "E016",
        )
    elif is_concerned and (_is_cluster(alias) or _is_serverless(alias)):
        yield Warning(
            f"CACHES[{alias!r}] leads to a cluster or a Serverless cache, and is spoken to as a "
            "single server: what lies on another node is refused.",
            hint=_WRITE_CLUSTER.format(alias),
            id=_ID + "W008",
        )


def _check_replica(alias: str) -> Iterator[CheckMessage]:
    name, *others = _labels(alias) or [""]
    # With TLS, and without.
    if name == "replica" or (name.endswith("-ro") and "ng" in others):
        yield Warning(
            f"CACHES[{alias!r}] leads to a reader endpoint. Replicas are behind their primary and "
            "take no writes: sessions that were just saved would be missing.",
            hint="Write the primary endpoint in its LOCATION: "
            '"rediss://master.<name>.<id>.<region>.cache.amazonaws.com:6379/0".',
            id=_ID + "W009",
        )


def _check_eviction(alias: str) -> Iterator[CheckMessage]:
    ours: Any = getattr(settings, "ELASTICACHE_SESSIONS", None)
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE or not isinstance(ours, Mapping):
        return
    if ours.get("FALLBACK_WRITES") == "behind" and _is_serverless(alias):
        yield Warning(
            "FALLBACK_WRITES is 'behind', and the session cache is ElastiCache Serverless, which "
            "evicts sessions when memory is short (volatile-lru): changes that wait there for the "
            "database are lost.",
            hint='Write "FALLBACK_WRITES": "through" in ELASTICACHE_SESSIONS, or take a '
            "replication group with maxmemory-policy noeviction.",
            id=_ID + "W013",
        )


def _is_cluster(alias: str) -> bool:
    return not {"clustercfg", "serverless"}.isdisjoint(_labels(alias))


def _is_serverless(alias: str) -> bool:
    iam = _options(alias).get("IAM")
    is_said_so = isinstance(iam, Mapping) and iam.get("SERVERLESS") is True
    return is_said_so or "serverless" in _labels(alias)


def _labels(alias: str) -> list[str]:
    """Return the parts of the host's name where it is one of ElastiCache's."""
    try:
        host = urlsplit(primary_url(alias)).hostname or ""
    except ValueError:
        # Not a URL: another check tells.
        return []
    host = host.removesuffix(".")
    return host.split(".") if host.endswith(_DOMAINS) else []


def _factory(alias: str) -> Any:
    try:
        return caches[alias].client.connection_factory  # type: ignore[attr-defined]
    except Exception:
        # Not of django-redis, or cannot be set up, of which other checks tell.
        return None


def _session_alias() -> str:
    is_ours = settings.SESSION_ENGINE in (CACHE_ENGINE, CACHED_DB_ENGINE)
    return str(settings.SESSION_CACHE_ALIAS) if is_ours else ""


def _options(alias: str) -> Mapping[str, Any]:
    options: Any = settings.CACHES[alias].get("OPTIONS", {})
    return options if isinstance(options, Mapping) else {}
