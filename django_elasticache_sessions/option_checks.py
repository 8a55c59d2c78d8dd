"""System checks of what a django-redis cache alias says of its connections.

Errors are what stops every session, or every connection; warnings are what has no effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.utils.module_loading import import_string
from django_redis.cache import RedisCache
from django_redis.client import SentinelClient
from django_redis.pool import SentinelConnectionFactory
from redis.connection import ConnectionPool, SSLConnection, parse_url

from .drivers.pool_options import find_problems
from .drivers.pools import parameters, primary_url
from .elasticache.factory import ConnectionFactory
from .elasticache.options import FactoryOptions

_ID = "django_elasticache_sessions."
#: Of a server that nobody has told otherwise.
_USUAL_DATABASES = 16
#: By key of OPTIONS, the class that stands in where it is absent.
_CLASSES = {
    "CLIENT_CLASS": "django_redis.client.DefaultClient",
    "CONNECTION_FACTORY": "django_redis.pool.ConnectionFactory",
    "CONNECTION_POOL_CLASS": "redis.connection.ConnectionPool",
    "REDIS_CLIENT_CLASS": "redis.client.Redis",
    "PARSER_CLASS": "",
    "SERIALIZER": "django_redis.serializers.pickle.PickleSerializer",
    "COMPRESSOR": "django_redis.compressors.identity.IdentityCompressor",
}
#: Whose absence is the same as `None`.
_OPTIONAL = ("CONNECTION_FACTORY", "PARSER_CLASS")
#: Those whose classes read OPTIONS.
_READERS = ("CLIENT_CLASS", "CONNECTION_FACTORY", "SERIALIZER", "COMPRESSOR")
_READ_BY_ALL = frozenset(
    {
        *_CLASSES,
        "CLOSE_CONNECTION",
        "CONNECTION_POOL_KWARGS",
        "CULL_FREQUENCY",
        "IGNORE_EXCEPTIONS",
        "MAX_ENTRIES",
        "PASSWORD",
        "PICKLE_VERSION",
        "REDIS_CLIENT_KWARGS",
        "REPLICA_READ_ONLY",
        "SOCKET_CONNECT_TIMEOUT",
        "SOCKET_TIMEOUT",
        "USERNAME",
        # Of which other checks tell.
        "CLUSTER",
        "IAM",
    }
)
_READ_BY_SENTINELS = frozenset({"SENTINELS", "SENTINEL_KWARGS"})
_READ_BY_OURS = frozenset({"CA_FILE", "CLIENT_NAME"})
_BESIDE_OPTIONS = ("KEY_FUNCTION", "KEY_PREFIX", "REVERSE_KEY_FUNCTION", "TIMEOUT", "VERSION")
_OUR_FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
_SENTINEL_FACTORY = "django_redis.pool.SentinelConnectionFactory"
_SENTINELS = '"SENTINELS": [("sentinel-1.example.com", 26379)]'


def check_alias_options(alias: str) -> Iterator[CheckMessage]:
    """E020-E024, W020, W021: the options of a cache alias of django-redis."""
    backend = _imported(settings.CACHES[alias].get("BACKEND"))
    options: Any = settings.CACHES[alias].get("OPTIONS", {})
    if not isinstance(options, Mapping) or not _is_kind(backend, RedisCache):
        # Of which other checks tell.
        return
    factory = _imported(_path(options, "CONNECTION_FACTORY"))
    if _is_kind(factory, ConnectionFactory):
        # It validates those of its own: E014.
        own = FactoryOptions.read(options).problems
        told = {name for name in options if any(repr(name) in problem for problem in own)}
    else:
        told = set()
    rest = {name: value for name, value in options.items() if name not in told}
    url = primary_url(alias)
    yield from _check_classes(alias, rest)
    for problem in find_problems(alias, rest, url):
        yield Error(problem.message, hint=problem.hint, id=_ID + problem.code)
    yield from _check_sentinels(alias, rest, factory)
    yield from _check_database(alias, rest, url)
    if _is_stock(backend):
        yield from _check_unread(alias, rest, factory)


def is_of_django_valkey(alias: str) -> bool:
    """Tell whether an alias has a backend of django-valkey, which connects by valkey-py."""
    backend = _imported(settings.CACHES[alias].get("BACKEND"))
    kinds = getattr(backend, "__mro__", ())
    return any(kind.__module__.partition(".")[0] == "django_valkey" for kind in kinds)


def _check_classes(alias: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    for name in _CLASSES:
        if name not in options or (name in _OPTIONAL and options[name] is None):
            continue
        if name == "CONNECTION_FACTORY" and not options[name]:
            continue
        path = options[name]
        if _imported(path) is None:
            shown = repr(path) if isinstance(path, str) else type(path).__name__
            yield Error(
                f"CACHES[{alias!r}]: {name!r} in its OPTIONS must be the dotted path of a class, "
                f"and {shown} cannot be imported.",
                hint=_HIREDIS.format(alias)
                if name == "PARSER_CLASS"
                else f'Write "{name}": "{_CLASSES[name]}" in the OPTIONS of CACHES[{alias!r}], or '
                "remove it.",
                id=_ID + "E021",
            )


def _check_sentinels(
    alias: str, options: Mapping[str, Any], factory: object
) -> Iterator[CheckMessage]:
    if _is_kind(factory, SentinelConnectionFactory):
        if not _are_addresses(options.get("SENTINELS")):
            yield Error(
                f"CACHES[{alias!r}]: 'SENTINELS' in its OPTIONS must be a list of pairs, each of a "
                "host and a port.",
                hint=f"Write {_SENTINELS} in the OPTIONS of CACHES[{alias!r}].",
                id=_ID + "E023",
            )
    elif _is_stock(factory) and _is_kind(_imported(_path(options, "CLIENT_CLASS")), SentinelClient):
        yield Error(
            f"CACHES[{alias!r}] has SentinelClient as its CLIENT_CLASS, but connects through "
            f"{getattr(factory, '__name__', 'another factory')}, which asks no Sentinels.",
            hint=f'Write "CONNECTION_FACTORY": "{_SENTINEL_FACTORY}" and {_SENTINELS} in the '
            f"OPTIONS of CACHES[{alias!r}].",
            id=_ID + "E023",
        )


def _check_database(alias: str, options: Mapping[str, Any], url: str) -> Iterator[CheckMessage]:
    number = _database(options, url)
    if number >= _USUAL_DATABASES and not options.get("CLUSTER"):
        yield Warning(
            f"CACHES[{alias!r}] names database {number}. A server has those from 0 to "
            f"{_USUAL_DATABASES - 1}, unless its parameter 'databases' is raised.",
            hint=f'Write "LOCATION": "rediss://<host>:6379/0" in CACHES[{alias!r}].',
            id=_ID + "W020",
        )


def _database(options: Mapping[str, Any], url: str) -> int:
    kwargs: Any = options.get("CONNECTION_POOL_KWARGS")
    of_pool = kwargs.get("db") if isinstance(kwargs, Mapping) else None
    try:
        return int(parse_url(url).get("db", of_pool) or 0)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError):
        # Of which other checks tell.
        return 0


def _check_unread(
    alias: str, options: Mapping[str, Any], factory: object
) -> Iterator[CheckMessage]:
    if not all(_is_stock(_imported(_path(options, name))) for name in _READERS):
        # Classes of the project's own may read whatever they like.
        return
    read = _READ_BY_ALL
    if _is_kind(factory, SentinelConnectionFactory):
        read |= _READ_BY_SENTINELS
    if _is_kind(factory, ConnectionFactory):
        read |= _READ_BY_OURS
    for name in options:
        if name not in read:
            yield Warning(
                f"CACHES[{alias!r}]: nothing reads {name!r} in its OPTIONS.",
                hint=_mend_of_unread(alias, name, read),
                id=_ID + "W021",
            )


def _mend_of_unread(alias: str, name: object, read: frozenset[str]) -> str:
    where = f"in the OPTIONS of CACHES[{alias!r}]"
    known = str(name).lower()
    if known == "db":
        return (
            f'Write "LOCATION": "rediss://<host>:6379/<number>" in CACHES[{alias!r}], and remove '
            f"{name!r} from its OPTIONS."
        )
    if name in _BESIDE_OPTIONS:
        return f'Write "{name}" in CACHES[{alias!r}] itself, beside its OPTIONS.'
    if name in _READ_BY_OURS:
        return f'Write "CONNECTION_FACTORY": "{_OUR_FACTORY}" {where}.'
    if name in _READ_BY_SENTINELS:
        return f'Write "CONNECTION_FACTORY": "{_SENTINEL_FACTORY}" {where}.'
    if nearest := get_close_matches(str(name).upper(), read, n=1, cutoff=0.8):
        return f'Write "{nearest[0]}" in its place {where}.'
    if known in parameters(SSLConnection) | parameters(ConnectionPool):
        return f'Write "CONNECTION_POOL_KWARGS": {{"{known}": ...}} in its place {where}.'
    return f"Remove {name!r} from the OPTIONS of CACHES[{alias!r}]."


def _are_addresses(sentinels: object) -> bool:
    if not isinstance(sentinels, (list, tuple, set, frozenset)) or not sentinels:
        return False
    return all(
        isinstance(pair, (list, tuple))
        and len(pair) == 2
        and isinstance(pair[0], str)
        and str(pair[1]).isdigit()
        for pair in sentinels
    )


def _path(options: Mapping[str, Any], name: str) -> Any:
    if name == "CONNECTION_FACTORY":
        of_all = getattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY", _CLASSES[name])
        return options.get(name) or of_all
    return options.get(name, _CLASSES[name])


def _imported(path: object) -> object:
    """Return what a dotted path leads to, `None` where that cannot be imported."""
    try:
        return import_string(path) if isinstance(path, str) else None
    except ImportError:
        return None


def _is_kind(found: object, kind: type[Any]) -> bool:
    return isinstance(found, type) and issubclass(found, kind)


def _is_stock(found: object) -> bool:
    package = getattr(found, "__module__", "").partition(".")[0]
    return package in ("django_redis", "django_elasticache_sessions")


_HIREDIS = (
    'Remove "PARSER_CLASS" from the OPTIONS of CACHES[{!r}]: redis-py uses hiredis by itself where '
    "it is installed."
)
