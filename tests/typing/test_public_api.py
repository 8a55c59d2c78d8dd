"""What a type checker must see of the public names; run by mypy, not by pytest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import assert_type

from django_elasticache_sessions import cloudwatch
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.doctor import Finding, examine
from django_elasticache_sessions.exceptions import SessionStoreUnavailable
from django_elasticache_sessions.fields import FieldMap


def load() -> None:
    store = SessionStore("session-key")
    assert_type(store.load(), FieldMap)
    assert_type(store.exists("session-key"), bool)
    assert_type(store.unavailable, SessionStoreUnavailable | None)


async def load_asynchronously() -> None:
    store = SessionStore()
    assert_type(await store.aload(), FieldMap)
    assert_type(await store.aexists(None), bool)


def look_after() -> None:
    assert_type(examine("engine"), Iterator[Finding])
    readings = cloudwatch.read(patience_seconds=1.0)
    assert_type(readings, cloudwatch.Readings)
    assert_type(readings.series[0].latest.at, datetime)
    assert_type(cloudwatch.publish([]), int)
