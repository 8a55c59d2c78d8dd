"""Sessions that another engine keeps, as they are taken over from it.

What was taken over is marked there, not deleted: whoever goes back to the other engine finds its
sessions as they were. A session that ends here is deleted there.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from .exceptions import SessionStoreUnavailable
from .keys import SESSION_KEY_MIN_LENGTH
from .marks import Found, Since
from .texts import Text

T = TypeVar("T")

_MARK_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A step of an operation: a call of another engine."""

    function: Callable[..., T]
    arguments: tuple[Any, ...] = field(repr=False)

    def run(self) -> T:
        """Call it. Raises `SessionStoreUnavailable` for whatever the other engine raises."""
        try:
            return self.function(*self.arguments)
        except (SessionStoreUnavailable, ImproperlyConfigured):
            raise
        except Exception as error:
            # Its text may show a session key.
            raise SessionStoreUnavailable(
                Text(
                    "A previous session engine did not serve (%(error)s).",
                    error=type(error).__name__,
                )
            ) from None


class Source(ABC):
    """Another engine; raises what that raises."""

    def __init__(self, store_class: type[SessionBase], cache_alias: str) -> None:
        """Take its `SessionStore`, and the cache alias that it kept sessions in, if in a cache."""
        self._store_class = store_class
        self._cache_alias = cache_alias

    def find(self, session_key: str) -> Found | None:
        """Return a session that lives there and was not taken over yet."""
        found = self.read(session_key)
        return None if found is None or found.known is not None else found

    def read(self, session_key: str) -> Found | None:
        """Return a session that lives there, taken over or not."""
        store = self.open(session_key)
        data = dict(store.load())
        if store.session_key is None or not data:
            return None
        seconds_left = self.seconds_left(store, data)
        return Found.read(self, session_key, data, seconds_left) if seconds_left > 0 else None

    def end(self, session_key: str) -> None:
        """Delete a session there."""
        self.open(session_key).delete(session_key)

    def open(self, session_key: str | None = None) -> Any:
        """Return its session under a session key."""
        return self._store_class(session_key)

    @abstractmethod
    def seconds_left(self, store: Any, data: dict[str, Any]) -> int:
        """Return the seconds that a loaded session has left."""

    def mark(self, found: Found, created: int) -> bool:
        """See Found.mark(). What was saved there since stays, and is seen at the next load."""
        now = self.read(found.session_key)
        marked = found.marked(now, created) if now else None
        if now is None or marked is None:
            return False
        return self.rewrite(found.session_key, marked, now.seconds_left)

    def rewrite(self, session_key: str, data: dict[str, Any], seconds: int) -> bool:
        """Replace a session's data; `False` when it is gone."""
        raise NotImplementedError

    @abstractmethod
    def session_keys(self, batch_size: int) -> Iterator[str]:
        """Yield the session keys of all sessions, `batch_size` at a time."""


class InDatabase(Source):
    """Django's `db` and `cached_db`; the row is read, which both write."""

    def read(self, session_key: str) -> Found | None:
        """See Source.read()."""
        row = self._rows().filter(session_key=session_key).first()
        found = self._found(row) if row else None
        return found if found and (found.data or found.known) else None

    def _found(self, row: Any) -> Found:
        data = self.open().decode(row.session_data)
        return Found.read(self, row.session_key, data, _seconds_until(row.expire_date))

    def seconds_left(self, store: Any, data: dict[str, Any]) -> int:
        """See Source.seconds_left()."""
        raise NotImplementedError

    def mark(self, found: Found, created: int) -> bool:
        """See Source.mark()."""
        rows = self._rows().filter(session_key=found.session_key)
        for _ in range(_MARK_ATTEMPTS):
            row = rows.first()
            marked = found.marked(self._found(row), created) if row else None
            if row is None or marked is None:
                return False
            text = self.open().encode(marked)
            if rows.filter(session_data=row.session_data).update(session_data=text):
                self._forget_cached(found.session_key)
                return True
        raise SessionStoreUnavailable(Text("The session kept changing while it was saved."))

    def session_keys(self, batch_size: int) -> Iterator[str]:
        """See Source.session_keys()."""
        last = ""
        while True:
            keys = self._rows().filter(session_key__gt=last).order_by("session_key")
            batch = list(keys.values_list("session_key", flat=True)[:batch_size])
            yield from batch
            if len(batch) < batch_size:
                return
            last = batch[-1]

    def end(self, session_key: str) -> None:
        """See Source.end()."""
        self._rows().filter(session_key=session_key).delete()
        self._forget_cached(session_key)

    def _rows(self) -> Any:
        return self._store_class.get_model_class().objects.filter(  # type: ignore[attr-defined]
            expire_date__gt=timezone.now()
        )

    def _forget_cached(self, session_key: str) -> None:
        prefix = getattr(self._store_class, "cache_key_prefix", None)
        if prefix:
            caches[self._cache_alias].delete(prefix + session_key)


class InCache(Source):
    """Django's `cache`."""

    def open(self, session_key: str | None = None) -> Any:
        """See Source.open()."""
        store: Any = self._store_class(session_key)
        # SESSION_CACHE_ALIAS names this package's own cache by now.
        store._cache = caches[self._cache_alias]
        return store

    def seconds_left(self, store: Any, data: dict[str, Any]) -> int:
        """See Source.seconds_left(). Where the cache does not tell, a whole life is left."""
        cache, key = store._cache, store.cache_key
        if hasattr(cache, "ttl"):
            left = cache.ttl(key)
        elif hasattr(getattr(cache, "_cache", None), "get_client"):
            left = cache._cache.get_client(cache.make_key(key)).ttl(cache.make_key(key))
        elif hasattr(cache, "_expire_info"):
            expires = cache._expire_info.get(cache.make_key(key))
            left = None if expires is None else int(expires - time.time())
        else:
            left = None
        whole = int(store.get_expiry_age(expiry=data.get("_session_expiry")))
        # Redis answers -1 for a key that does not expire.
        return whole if left is None or left == -1 else min(int(left), whole)

    def rewrite(self, session_key: str, data: dict[str, Any], seconds: int) -> bool:
        """See Source.rewrite()."""
        store = self.open(session_key)
        if not store._cache.touch(store.cache_key, seconds):
            return False
        store._cache.set(store.cache_key, data, seconds)
        return True

    def session_keys(self, batch_size: int) -> Iterator[str]:
        """See Source.session_keys(). Raises `ImproperlyConfigured` for a cache without SCAN."""
        cache: Any = caches[self._cache_alias]
        prefix = self._store_class.cache_key_prefix  # type: ignore[attr-defined]
        if hasattr(cache, "iter_keys"):
            keys = cache.iter_keys(f"{prefix}*", itersize=batch_size)
        elif hasattr(getattr(cache, "_cache", None), "get_client"):
            pattern = cache.make_key(f"{prefix}*")
            found = cache._cache.get_client(None).scan_iter(match=pattern, count=batch_size)
            keys = (key.decode() for key in found)
        else:
            raise ImproperlyConfigured(
                f"CACHES[{self._cache_alias!r}] ({type(cache).__name__}) cannot list its keys, so "
                "its sessions can only be taken over one by one, at their next visit: name the "
                "engine in ELASTICACHE_SESSIONS['PREVIOUS_ENGINES']."
            )
        return (str(key).rpartition(prefix)[2] for key in keys)


class InFiles(Source):
    """Django's `file`."""

    def seconds_left(self, store: Any, data: dict[str, Any]) -> int:
        """See Source.seconds_left()."""
        return int(store.get_expiry_age(expiry=store._expiry_date(data)))

    def rewrite(self, session_key: str, data: dict[str, Any], seconds: int) -> bool:
        """See Source.rewrite()."""
        store = self.open(session_key)
        file = Path(store._key_to_file())
        try:
            before = file.stat()
            store._session_cache = data
            store.save()
            # The file's age is the session's.
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        except (FileNotFoundError, UpdateError):
            return False
        return True

    def session_keys(self, batch_size: int) -> Iterator[str]:
        """See Source.session_keys()."""
        store: Any = self._store_class
        prefix = settings.SESSION_COOKIE_NAME
        # All at once: files that are rewritten would be listed again.
        names = os.listdir(store._get_storage_path())
        keys = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
        # Others are files that are just being written.
        return (key for key in keys if key.isalnum())


class InRedisSessions(Source):
    """The package django-redis-sessions."""

    def seconds_left(self, store: Any, data: dict[str, Any]) -> int:
        """See Source.seconds_left()."""
        return int(store.server.ttl(store.get_real_stored_key(store.session_key)))

    def rewrite(self, session_key: str, data: dict[str, Any], seconds: int) -> bool:
        """See Source.rewrite()."""
        store = self.open(session_key)
        key = store.get_real_stored_key(session_key)
        return bool(store.server.set(key, store.encode(data), ex=seconds, xx=True))

    def session_keys(self, batch_size: int) -> Iterator[str]:
        """See Source.session_keys()."""
        store = self.open()
        prefix = store.get_real_stored_key("")
        for key in store.server.scan_iter(match=f"{prefix}*", count=batch_size):
            yield key.decode().removeprefix(prefix)


def make_source(engine: str, cache_alias: str) -> Source:
    """Return the source for an engine's module. Raises `ImproperlyConfigured`."""
    try:
        store_class: Any = import_module(engine).SessionStore
    except (ImportError, AttributeError) as error:
        raise ImproperlyConfigured(
            f"{engine!r} is no session engine that can be imported ({error}). Install its package, "
            "or correct ELASTICACHE_SESSIONS['PREVIOUS_ENGINES']."
        ) from None
    if hasattr(store_class, "get_model_class"):
        return InDatabase(store_class, cache_alias)
    if hasattr(store_class, "_key_to_file"):
        return InFiles(store_class, cache_alias)
    if hasattr(store_class, "get_real_stored_key"):
        return InRedisSessions(store_class, cache_alias)
    if hasattr(store_class, "cache_key_prefix"):
        return InCache(store_class, cache_alias)
    raise ImproperlyConfigured(
        f"Sessions of {engine!r} cannot be taken over: it is none of Django's db, cached_db, cache "
        "and file engines, nor that of django-redis-sessions."
    )


def find(engines: tuple[str, ...], cache_alias: str, session_key: str) -> Found | None:
    """Return a session from the first engine that has it, taken over or not."""
    if not _is_theirs(session_key):
        return None
    for engine in engines:
        found = make_source(engine, cache_alias).read(session_key)
        if found:
            return found
    return None


def since(engines: tuple[str, ...], cache_alias: str, session_key: str) -> Since | None:
    """Return what the other engine did to a session that was taken over; `None` if it ended it."""
    for engine in engines:
        found = make_source(engine, cache_alias).read(session_key)
        if found:
            return Since.of(found)
    return None


def end(engines: tuple[str, ...], cache_alias: str, session_key: str) -> None:
    """Delete a session from every engine."""
    if _is_theirs(session_key):
        for engine in engines:
            make_source(engine, cache_alias).end(session_key)


def _is_theirs(session_key: str) -> bool:
    """Tell whether a cookie's value can be a session key there: not a path, a pattern, a page.

    And here, where shorter ones than Django's own are refused.
    """
    return (
        SESSION_KEY_MIN_LENGTH <= len(session_key) <= _LONGEST_KEY
        and session_key.isascii()
        and session_key.isalnum()
    )


#: The column of Django's own table.
_LONGEST_KEY = 40


def _seconds_until(moment: Any) -> int:
    return int((moment - timezone.now()).total_seconds())
