"""The example shop, whose own data are out of the line of fire: only sessions are in PostgreSQL."""

from __future__ import annotations

import os

from example.settings import *  # noqa: F403
from example.settings import CACHES, DATABASES, MIDDLEWARE

DATABASES["default"]["OPTIONS"] = {"timeout": 20}
DATABASES["sessions"] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "postgres",
    "USER": "postgres",
    "HOST": os.environ["CHAOS_POSTGRES"],
    "CONN_MAX_AGE": None,
}
IS_CLUSTER = "CHAOS_CLUSTER" in os.environ
CACHES["sessions"]["OPTIONS"] = (
    {
        "CONNECTION_FACTORY": "django_elasticache_sessions.elasticache.ConnectionFactory",
        "CLUSTER": True,
    }
    if IS_CLUSTER
    else {}
)
MIDDLEWARE = [
    "tests.chaos.middleware.TellingSessionMiddleware" if "elasticache" in path else path
    for path in MIDDLEWARE
]
SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
ELASTICACHE_SESSIONS: dict[str, object] = {"FALLBACK_DATABASE": "sessions"}
if IS_CLUSTER:
    # Few slots, each of which is then moved often.
    ELASTICACHE_SESSIONS["INDEX_BUCKETS"] = 32
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
