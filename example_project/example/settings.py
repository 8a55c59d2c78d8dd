"""Settings of the example shop: embedded Valkey and SQLite, or `REDIS_URL` and `DATABASE_URL`."""

from __future__ import annotations

import os
from pathlib import Path

from .database import database_from_url
from .secret import secret_key

BASE = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEMO_DATA") or BASE / ".demo").resolve()

SECRET_KEY = os.environ.get("SECRET_KEY") or secret_key(DATA)
DEBUG = os.environ.get("DEBUG") == "1"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "example.urls"
WSGI_APPLICATION = "example.wsgi.application"
ASGI_APPLICATION = "example.asgi.application"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "shop:products"
LOGOUT_REDIRECT_URL = "shop:products"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    # Before the package, so that the shop's templates take the place of the package's.
    "shop",
    "django_elasticache_sessions",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "shop.policy.content_security_policy",
    "django_elasticache_sessions.middleware.SessionMiddleware",
    # The admin and the devices speak the browser's language; the shop itself speaks English.
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shop.cart.item_count",
            ]
        },
    }
]
DATABASES = {
    "default": database_from_url(os.environ["DATABASE_URL"])
    if "DATABASE_URL" in os.environ
    else {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "shop.sqlite3",
        # Writers wait for each other instead of failing.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }
}

SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
SESSION_CACHE_ALIAS = "sessions"
# Browsers do not tell ports apart: under Django's own names the shop would overwrite the cookies
# of whatever else is developed on localhost.
SESSION_COOKIE_NAME = "shop_session"
CSRF_COOKIE_NAME = "shop_csrf"
# The demo speaks plain HTTP on the loopback interface; behind HTTPS this is True.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("COOKIE_SECURE") == "1"
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "sessions": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"),
        # Seconds; longer than the engine's 0.25, for the server shares a desk's busy machine.
        "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 2, "SOCKET_TIMEOUT": 2},
    },
}
# Without it errors would be mailed to nobody: DEBUG is off.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"terminal": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["terminal"], "level": "WARNING"},
    "loggers": {"django.request": {"level": "ERROR"}},
}
