"""The session engines that are measured, and the Django settings of each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DJANGO_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OUR_MIDDLEWARE = "django_elasticache_sessions.middleware.SessionMiddleware"
DJANGO_REDIS_CACHE = "django.core.cache.backends.redis.RedisCache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an engine keeps its sessions: a server's address and a folder for SQLite files."""

    host: str
    port: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A session engine; `cache` is the cache backend under it, empty where it uses none."""

    name: str
    title: str
    engine: str
    cache: str = ""
    scheme: str = "redis"
    middleware: str = DJANGO_MIDDLEWARE
    apps: tuple[str, ...] = ("django.contrib.sessions",)
    #: Of the cache alias.
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_in_database(self) -> bool:
        """Whether it needs the table of django.contrib.sessions."""
        return self.engine.endswith("db")

    @property
    def uses_server(self) -> bool:
        """Whether it keeps anything in Valkey."""
        return bool(self.cache) or self.engine.startswith("redis_sessions")

    def settings(self, place: Place) -> dict[str, Any]:
        """Return the engine's Django settings."""
        return {
            "SECRET_KEY": "a benchmark's key, which secures nothing",
            "ALLOWED_HOSTS": ["127.0.0.1"],
            "USE_TZ": True,
            "INSTALLED_APPS": list(self.apps),
            "MIDDLEWARE": [self.middleware, "django.middleware.common.CommonMiddleware"],
            "ROOT_URLCONF": "benchmarks.site",
            "SESSION_ENGINE": self.engine,
            "SESSION_REDIS": {"host": place.host, "port": place.port, "socket_timeout": 5},
            "CACHES": {"default": self._cache(place)},
            "DATABASES": {"default": self._database(place)},
        }

    def _cache(self, place: Place) -> dict[str, Any]:
        if not self.cache:
            return {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
        return {
            "BACKEND": self.cache,
            "LOCATION": f"{self.scheme}://{place.host}:{place.port}/0",
            "OPTIONS": dict(self.options),
        }

    def _database(self, place: Place) -> dict[str, Any]:
        # What Django's documentation recommends for SQLite in production.
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(place.folder / f"{self.name}.sqlite3"),
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            },
        }


OURS = Engine(
    name="ours",
    title="django-elasticache-sessions",
    engine="django_elasticache_sessions.backends.cache",
    cache="django_redis.cache.RedisCache",
    middleware=OUR_MIDDLEWARE,
)
DJANGO_CACHE = Engine(
    name="cache",
    title="cache, Django's Redis backend",
    engine="django.contrib.sessions.backends.cache",
    cache=DJANGO_REDIS_CACHE,
)
CACHED_DB = Engine(
    name="cached_db",
    title="cached_db, Django's Redis backend, SQLite",
    engine="django.contrib.sessions.backends.cached_db",
    cache=DJANGO_REDIS_CACHE,
)
ENGINES = (
    OURS,
    DJANGO_CACHE,
    Engine(
        name="django_redis",
        title="cache, django-redis",
        engine="django.contrib.sessions.backends.cache",
        cache="django_redis.cache.RedisCache",
    ),
    Engine(
        name="django_valkey",
        title="cache, django-valkey",
        engine="django.contrib.sessions.backends.cache",
        cache="django_valkey.cache.ValkeyCache",
        scheme="valkey",
    ),
    CACHED_DB,
    Engine(name="db", title="db, SQLite", engine="django.contrib.sessions.backends.db"),
    Engine(name="redis_sessions", title="django-redis-sessions", engine="redis_sessions.session"),
)


def set_up(engine: Engine, place: Place) -> Any:
    """Configure this process for an engine and return its `SessionStore` class.

    Raises whatever a package raises that is missing or too old for this Django.
    """
    import django
    from django.conf import settings
    from django.core.cache import caches

    settings.configure(**engine.settings(place))
    django.setup()
    caches["default"].get("any")
    store_class = importlib.import_module(engine.engine).SessionStore
    if engine.is_in_database:
        _make_table(store_class)
    return store_class


def _make_table(store_class: Any) -> None:
    from django.db import connection

    model = store_class.get_model_class()
    if model._meta.db_table not in connection.introspection.table_names():
        with connection.schema_editor() as editor:
            editor.create_model(model)
