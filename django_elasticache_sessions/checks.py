"""System checks: a misconfiguration is told at start, with the line that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qs

from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from .conf import CACHE_ENGINE, CACHED_DB_ENGINE, SETTING, read_options
from .dialects import DIALECTS
from .drivers.pools import (
    UnusableOptions,
    bad_location,
    make_pool,
    parse_location,
    primary_url,
)
from .elasticache.checks import check_extra, check_iam, check_region
from .elasticache.endpoint_checks import check_endpoints
from .elasticache.factory_checks import check_connection_factory
from .models import FallbackSession
from .option_checks import check_alias_options, is_of_django_valkey
from .previous import make_source
from .statements import unknown_alias

ENGINES = (CACHE_ENGINE, CACHED_DB_ENGINE)
_ID = "django_elasticache_sessions."
_PICKLE = ("pickle", "marshal", "dill", "shelve")


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001-E005, E060: `ELASTICACHE_SESSIONS` itself."""
    _, problems = read_options(getattr(settings, SETTING, {}))
    return [Error(found.message, hint=found.hint, id=_ID + found.code) for found in problems]


def check_cache_alias(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E006, E007, E009, E010, E020-E024, W020, W021: the cache alias that sessions are kept in."""
    if not _is_engine_ours():
        return []
    alias = settings.SESSION_CACHE_ALIAS
    if not _is_alias(alias):
        return [
            Error(
                f"SESSION_CACHE_ALIAS is {alias!r}, which CACHES does not have.",
                hint=f'Add CACHES = {{..., {alias!r}: {{"BACKEND": "django_redis.cache.RedisCache",'
                ' "LOCATION": "rediss://<host>:6379/0"}}.',
                id=_ID + "E006",
            )
        ]
    found = list(check_alias_options(alias))
    return [
        *_check_location(alias),
        *found,
        # What is found wrong above would only be told once more, and less clearly.
        *(() if any(isinstance(message, Error) for message in found) else _check_client(alias)),
        *_check_ignored_exceptions(alias),
    ]


def check_serializer(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E008: what `SESSION_SERIALIZER` names must be there, and must not be pickle."""
    if not _is_engine_ours():
        return []
    path = settings.SESSION_SERIALIZER
    try:
        serializer = import_string(path)
    except ImportError as error:
        return [
            Error(
                f"SESSION_SERIALIZER {path!r} cannot be imported: {error}",
                hint=_SERIALIZER_HINT,
                id=_ID + "E008",
            )
        ]
    names = f"{path} {getattr(serializer, '__module__', '')}".lower()
    if any(word in names for word in _PICKLE):
        return [
            Error(
                f"SESSION_SERIALIZER {path!r} runs code from the store: whoever can write there "
                "could take over the application.",
                hint=_SERIALIZER_HINT,
                id=_ID + "E008",
            )
        ]
    return []


def check_refresh(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W005: `REFRESH_AFTER` must come before the session's end."""
    options, problems = read_options(getattr(settings, SETTING, {}))
    if problems or not options.refresh_after or not _is_engine_ours():
        return []
    if options.refresh_after >= settings.SESSION_COOKIE_AGE:
        return [
            Warning(
                f"{SETTING}['REFRESH_AFTER'] is {options.refresh_after} seconds, not below "
                f"SESSION_COOKIE_AGE ({settings.SESSION_COOKIE_AGE}): sessions end before they "
                "are refreshed.",
                hint=f"Write {SETTING} = {{..., 'REFRESH_AFTER': "
                f"{max(1, settings.SESSION_COOKIE_AGE // 10)}}}.",
                id=_ID + "W005",
            )
        ]
    return []


def check_fallback_database(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E011: `FALLBACK_DATABASE` names one of `DATABASES`."""
    options, _ = read_options(getattr(settings, SETTING, {}))
    alias = options.fallback_database
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE or alias in settings.DATABASES:
        return []
    return [
        Error(
            unknown_alias(alias),
            hint=f"Add DATABASES = {{..., {alias!r}: ...}}, or remove 'FALLBACK_DATABASE' from "
            f'{SETTING} for the database "default".',
            id=_ID + "E011",
        )
    ]


def check_fallback_vendor(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E012: the fallback database is one whose SQL this package speaks."""
    alias = _fallback_alias()
    if alias is None or connections[alias].vendor in DIALECTS:
        return []
    return [
        Error(
            f"The fallback database {alias!r} is {connections[alias].display_name}, which the "
            "engine cached_db does not support.",
            hint="Keep sessions in PostgreSQL, MySQL, MariaDB or SQLite: name its alias as "
            f"'FALLBACK_DATABASE' in {SETTING}.",
            id=_ID + "E012",
        )
    ]


def check_fallback_table(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W006 (`--database`): the fallback database has the table."""
    alias = _fallback_alias()
    if alias is None or alias not in (databases or ()):
        return []
    table = FallbackSession._meta.db_table
    if table in connections[alias].introspection.table_names():
        return []
    return [
        # An error would keep "migrate" from mending it.
        Warning(
            f"The fallback database {alias!r} has no table {table!r}: sessions cannot be saved.",
            hint=f"Run: manage.py migrate --database={alias}",
            id=_ID + "W006",
        )
    ]


def check_previous_engines(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E013: sessions can be taken over from each of `PREVIOUS_ENGINES`."""
    options, _ = read_options(getattr(settings, SETTING, {}))
    return [
        Error(
            problem,
            hint=f"Correct 'PREVIOUS_ENGINES' in {SETTING}, or remove it.",
            id=_ID + "E013",
        )
        for engine in options.previous_engines
        if (problem := _problem_of_previous(engine, options.previous_cache_alias))
    ]


def _problem_of_previous(engine: str, cache_alias: str) -> str:
    if engine == settings.SESSION_ENGINE:
        return f"{engine!r} is SESSION_ENGINE and one of PREVIOUS_ENGINES at the same time."
    if engine in ENGINES:
        return "" if engine == CACHE_ENGINE else f"Sessions of {engine!r} need no taking over."
    if cache_alias not in settings.CACHES:
        return f"PREVIOUS_CACHE_ALIAS is {cache_alias!r}, which CACHES does not have."
    try:
        make_source(engine, cache_alias)
    except ImproperlyConfigured as problem:
        return str(problem)
    return ""


def _fallback_alias() -> str | None:
    options, _ = read_options(getattr(settings, SETTING, {}))
    alias = options.fallback_database
    return (
        alias
        if settings.SESSION_ENGINE == CACHED_DB_ENGINE and alias in settings.DATABASES
        else None
    )


def check_transport(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001, W002 (`--deploy`): TLS and a password between the application and the store."""
    alias = settings.SESSION_CACHE_ALIAS
    if not _is_engine_ours() or not _is_alias(alias):
        return []
    url = parse_location(alias)
    if url is None:
        return []
    return [*_check_tls(alias, url), *_check_auth(alias, url, _options(alias))]


def check_cookie(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W003 (`--deploy`): the session cookie travels over HTTPS only."""
    if not _is_engine_ours() or settings.SESSION_COOKIE_SECURE:
        return []
    return [
        Warning(
            "SESSION_COOKIE_SECURE is not set: the session cookie can be read off plain HTTP.",
            hint="Write SESSION_COOKIE_SECURE = True.",
            id=_ID + "W003",
        )
    ]


def check_encryption(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W004 (`--deploy`): values are encrypted."""
    options, _ = read_options(getattr(settings, SETTING, {}))
    if options.encrypt or not _is_engine_ours():
        return []
    return [
        Warning(
            f"{SETTING}['ENCRYPT'] is False: session values lie readable and forgeable in the "
            "store, its snapshots and its replicas.",
            hint=f"Remove 'ENCRYPT' from {SETTING}.",
            id=_ID + "W004",
        )
    ]


def _check_location(alias: str) -> Iterator[CheckMessage]:
    if parse_location(alias) is None:
        yield Error(
            bad_location(alias),
            hint='Write "LOCATION": "rediss://<host>:6379/0", the user name and password apart '
            'from it as "USERNAME" and "PASSWORD" in its OPTIONS.'
            + (_VALKEY if primary_url(alias).startswith("valkey") else ""),
            id=_ID + "E010",
        )


def _check_client(alias: str) -> Iterator[CheckMessage]:
    hint = f'Write CACHES = {{..., {alias!r}: {{"BACKEND": "django_redis.cache.RedisCache", ...}}.'
    backend = settings.CACHES[alias].get("BACKEND")
    if is_of_django_valkey(alias):
        yield Error(
            f"CACHES[{alias!r}], which sessions are to be kept in, is {backend!r}: not a "
            "django-redis cache.",
            hint=hint + _VALKEY,
            id=_ID + "E007",
        )
        return
    try:
        client = caches[alias].client  # type: ignore[attr-defined]
        client.connection_factory  # noqa: B018 - asking is the check
    except ImproperlyConfigured as problem:
        yield Error(
            f"CACHES[{alias!r}], which sessions are to be kept in, cannot be set up: {problem}",
            hint=hint
            if isinstance(problem, InvalidCacheBackendError)
            else f"Correct it in CACHES[{alias!r}].",
            id=_ID + "E007",
        )
    except AttributeError:
        if parse_location(alias) is None and "django_redis" in str(backend):
            # Of which another check tells.
            return
        yield Error(
            f"CACHES[{alias!r}], which sessions are to be kept in, is {backend!r}: not a "
            "django-redis cache.",
            hint=hint,
            id=_ID + "E007",
        )
    except Exception as error:
        yield Error(
            f"CACHES[{alias!r}], which sessions are to be kept in, is {backend!r} and cannot be "
            f"set up ({type(error).__name__}).",
            hint=hint,
            id=_ID + "E007",
        )
    else:
        if not _has_iam_problems(alias):
            yield from _check_pool(alias)
        if "Shard" in type(client).__name__:
            yield Error(
                f"CACHES[{alias!r}] spreads keys over servers with {type(client).__name__}; a "
                "session's keys must stay together.",
                hint="Remove CLIENT_CLASS from its OPTIONS and give one LOCATION.",
                id=_ID + "E007",
            )


def _has_iam_problems(alias: str) -> bool:
    """Tell whether E040 to E048 say what keeps an alias from connecting."""
    found = [*check_extra(None), *check_iam(None), *check_region(None)]
    return any(f"CACHES[{alias!r}]" in message.msg for message in found)


def _check_pool(alias: str) -> Iterator[CheckMessage]:
    try:
        make_pool(alias)
    except UnusableOptions as problem:
        message, mend = str(problem).split(". ", 1)
        yield Error(f"{message}.", hint=mend, id=_ID + "E007")
    except ImproperlyConfigured as problem:
        # Of a bad location E010 tells.
        if parse_location(alias) is not None:
            yield Error(
                f"CACHES[{alias!r}], which sessions are to be kept in, makes no connection: "
                f"{problem}",
                hint=f"Correct it in CACHES[{alias!r}].",
                id=_ID + "E007",
            )
    except Exception as error:
        yield Error(
            f"CACHES[{alias!r}], which sessions are to be kept in, makes no connection "
            f"({type(error).__name__}).",
            hint=f"Correct its OPTIONS in CACHES[{alias!r}].",
            id=_ID + "E007",
        )


def _check_ignored_exceptions(alias: str) -> Iterator[CheckMessage]:
    options = _options(alias)
    globally = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
    if options.get("IGNORE_EXCEPTIONS", globally):
        yield Error(
            f"CACHES[{alias!r}] ignores exceptions: an outage would look like empty sessions to "
            "whatever reads them through the cache.",
            hint=f'Write "IGNORE_EXCEPTIONS": False in the OPTIONS of CACHES[{alias!r}].',
            id=_ID + "E009",
        )


def _check_tls(alias: str, url: SplitResult) -> Iterator[CheckMessage]:
    if url.scheme in ("rediss", "unix"):
        return
    yield Warning(
        f"CACHES[{alias!r}] is reached without TLS: whoever is on the network can read the "
        "password and change what the store answers.",
        hint='Turn on encryption in transit and write its LOCATION as "rediss://...".',
        id=_ID + "W001",
    )


def _check_auth(alias: str, url: SplitResult, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    pool_options: Any = options.get("CONNECTION_POOL_KWARGS")
    if not isinstance(pool_options, Mapping):
        pool_options = {}
    if (
        url.password
        or "password" in parse_qs(url.query)
        or options.get("PASSWORD")
        or pool_options.get("password")
        or pool_options.get("credential_provider")
        or options.get("IAM") is not None
    ):
        return
    yield Warning(
        f"CACHES[{alias!r}] is reached without a password: anyone in the network can read, end and "
        "flood sessions.",
        hint='Make an ElastiCache user and write its name and password as "USERNAME" and '
        f'"PASSWORD" in the OPTIONS of CACHES[{alias!r}].',
        id=_ID + "W002",
    )


def _options(alias: str) -> Mapping[str, Any]:
    options: Any = settings.CACHES[alias].get("OPTIONS", {})
    return options if isinstance(options, Mapping) else {}


def _is_alias(alias: object) -> bool:
    return isinstance(alias, str) and alias in settings.CACHES


def _is_engine_ours() -> bool:
    return settings.SESSION_ENGINE in ENGINES


Check = Callable[..., Iterable[CheckMessage]]
CHECKS: tuple[Check, ...] = (
    check_settings,
    check_cache_alias,
    check_serializer,
    check_refresh,
    check_fallback_database,
    check_fallback_vendor,
    check_previous_engines,
    check_connection_factory,
    check_endpoints,
)
DATABASE_CHECKS: tuple[Check, ...] = (check_fallback_table,)
DEPLOY_CHECKS: tuple[Check, ...] = (check_transport, check_cookie, check_encryption)
_VALKEY = " django-redis serves Valkey as well as Redis."
_SERIALIZER_HINT = (
    'Write SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer".'
)
