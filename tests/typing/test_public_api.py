"""What a type checker must see of the public names; run by mypy, not by pytest."""

from __future__ import annotations

from typing import assert_type

from django_elasticache_sessions.backends.cache import SessionStore
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
