"""System checks of how long the fallback database is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004
from django.db import connections

from .conf import CACHED_DB_ENGINE, SETTING, read_options

_PATIENT_SECONDS = 10


def check_database_timeouts(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W010 (`--deploy`): a database that does not answer keeps nobody waiting who connects.

    What is connected is bound by `DATABASE_TIMEOUT`; to connect is the driver's.
    """
    options, _ = read_options(getattr(settings, SETTING, {}))
    alias = options.fallback_database
    if settings.SESSION_ENGINE != CACHED_DB_ENGINE or alias not in settings.DATABASES:
        return []
    found: Any = settings.DATABASES[alias].get("OPTIONS", {})
    missing = [
        f'"{name}": {seconds}'
        for name, seconds in _WANTED.get(connections[alias].vendor, {}).items()
        if not 0 < _seconds(found, name) <= _PATIENT_SECONDS
    ]
    pool = found.get("pool")
    if pool and not 0 < _seconds(pool if isinstance(pool, dict) else {}, "timeout") <= (
        _PATIENT_SECONDS
    ):
        # psycopg_pool's default is 30 seconds.
        missing.append('"pool": {..., "timeout": 2}')
    if not missing:
        return []
    return [
        Warning(
            f"Whoever connects to the fallback database {alias!r} waits without a limit, or for "
            f"more than {_PATIENT_SECONDS} seconds, while it does not answer.",
            hint=f'Write DATABASES[{alias!r}]["OPTIONS"] = {{..., {", ".join(missing)}}}.',
            id="django_elasticache_sessions.W010",
        )
    ]


def _seconds(options: Mapping[str, Any], name: str) -> float:
    try:
        return float(options.get(name, 0))
    except (TypeError, ValueError):
        return 0.0


#: psycopg takes no less than 2 seconds, and waits 130 by default; mysqlclient reads without end.
_WANTED = {
    "postgresql": {"connect_timeout": 2},
    "mysql": {"connect_timeout": 2, "read_timeout": 5},
}
