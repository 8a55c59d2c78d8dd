"""Settings of the site; where its stores are is in the environment (see `nodes.Places`)."""

from __future__ import annotations

import json
import os
from typing import Any

from . import clock

PLACES: dict[str, Any] = json.loads(os.environ["CHAOS_PLACES"])
if PLACES["clock_seconds"]:
    clock.shift(PLACES["clock_seconds"])
if PLACES["database"]["vendor"] == "mysql":
    import pymysql

    # Django asks for mysqlclient by its version; PyMySQL speaks the same protocol.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()

SECRET_KEY = "the chaos suite's secret key, which secures nothing"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "tests.chaos.site.urls"
ASGI_APPLICATION = "tests.chaos.site.asgi.application"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    # For its command.
    "django.contrib.sessions",
    "django_elasticache_sessions",
]
MIDDLEWARE = [
    "tests.chaos.site.middleware.TellingSessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES: dict[str, dict[str, Any]] = {
    # Users are out of the line of fire.
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": PLACES["users"],
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    },
    "sessions": {
        "ENGINE": f"django.db.backends.{PLACES['database']['vendor']}",
        "NAME": "chaos",
        "USER": "chaos",
        "HOST": PLACES["database"]["host"],
        "PORT": PLACES["database"]["port"],
        # Under ASGI each request has a thread, and so a connection, of its own.
        "CONN_MAX_AGE": 0 if PLACES["is_async"] else None,
        # Django refuses it for async views.
        "ATOMIC_REQUESTS": not PLACES["is_async"],
    },
}
if PLACES["database"]["vendor"] == "mysql":
    DATABASES["sessions"]["OPTIONS"] = {"ssl_disabled": True}
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "sessions": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": PLACES["cache"]["location"],
        "OPTIONS": PLACES["cache"]["options"],
    },
}
SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
SESSION_CACHE_ALIAS = "sessions"
ELASTICACHE_SESSIONS = {
    "FALLBACK_DATABASE": "sessions",
    "FALLBACK_WRITES": PLACES["writes"],
    "ENCRYPTION_KEYS": PLACES["encryption_keys"],
    # In a cluster few slots, each of which is then moved often.
    "INDEX_BUCKETS": 32,
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"terminal": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["terminal"], "level": "WARNING"},
    "loggers": {"django.request": {"level": "ERROR"}},
}
