"""What can be done with sessions, by the package's own functions."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings

from django_elasticache_sessions import conf, homes, live, operations, rekey
from django_elasticache_sessions import purge as purging
from django_elasticache_sessions import synchronization as synchronizing
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.keys import SELECTOR_LENGTH

from .adapter import Sub


def new_store(session_key: str | None) -> Any:
    """Return the session of a request."""
    return import_module(settings.SESSION_ENGINE).SessionStore(session_key)


def contents(store: Any) -> dict[str, Any] | None:
    """Return what a loaded session holds, `None` if it is missing."""
    if store.session_key is None:
        return None
    data = store._session_cache
    found = {name: data[name] for name in list(data)}
    return None if store.session_key is None else found


def sid_of(session_key: str) -> str:
    """Return the id by which staff name a session."""
    return get_configuration().naming.session(session_key).sid


def hash_key_of(session_key: str) -> str:
    """Return where a session is kept in the cache."""
    return get_configuration().naming.session(session_key).hash_key


def synchronize() -> Sub:
    """Do what `syncsessions` does; returns how many sessions are left waiting."""
    done = yield from synchronizing._synchronize(homes.get_homes(), 200)
    return done.waiting


def prune() -> Sub:
    """Do what `clearsessions` does."""
    return new_store(None)._operations.prune(get_configuration().naming)


def end_all(session_keys: list[str]) -> Sub:
    """End sessions as staff does; returns how many there were."""
    return live._end_all([sid_of(key) for key in session_keys], "ended")


def end_for_user(user_id: str, keep: str | None = None) -> Sub:
    """Sign a user out everywhere, but for one session; returns how many sessions ended."""
    return live._end_for_user(user_id, keep and sid_of(keep), "ended")


def purge_user(user_id: str) -> Sub:
    """Do what `clearsessions_cache --user` does."""
    naming, store_class = get_configuration().naming, live.get_store_class()
    purged = purging._Purge(store_class, naming, None, False, lambda tally: None)
    return purged.of_users(purging.Selection(user_ids=(user_id,)))


def rekey_all() -> Sub:
    """Do what `rekeysessions` does."""
    configuration = get_configuration()
    if settings.SESSION_ENGINE == conf.CACHED_DB_ENGINE:
        yield from rekey._rekey_rows(configuration, 200, lambda tally: None, dry_run=False)
    _, names = yield from operations.scan(configuration.naming, b"0", 200)
    if names:
        yield from rekey._rekey(configuration, names, dry_run=False)


def is_same_session(session_key: str, other: str) -> bool:
    """Tell whether two session keys are of one session."""
    return session_key[:SELECTOR_LENGTH] == other[:SELECTOR_LENGTH]
