"""What processes of the release before do meanwhile: Django's engine, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from django.core.cache import caches

from django_elasticache_sessions.marks import MARK

from .adapter import Call
from .ledger import USER_FIELD
from .promises import End, Key, Login, Promise, Session, State, Write
from .requests import Request, Steps

USER = "1"
P = TypeVar("P", bound=Promise)


def load(request: Request) -> Steps:
    """Read the session."""
    yield from _opened(request)


def save(request: Request) -> Steps:
    """Read the session and set a key."""
    store = yield from _opened(request)
    if store is None:
        return
    if request.key is None:
        yield from _saved_first(request, store)
        return
    store[request.op.field] = _written(request, request.world.new_value())
    yield from _saved(request, store)


def remove(request: Request) -> Steps:
    """Read the session and remove a key."""
    store = yield from _opened(request)
    if store is not None and request.key is not None and request.op.field in store._session:
        del store[request.op.field]
        _written(request, None)
        yield from _saved(request, store)


def touch(request: Request) -> Steps:
    """Read the session and put off its expiry."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        yield from _saved(request, store)


def create(request: Request) -> Steps:
    """Begin a session, whatever the visitor had."""
    request.key = None
    yield from _saved_first(request, _new_store(request, None))


def rotate(request: Request) -> Steps:
    """Give the session another key."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        visitors = request.key
        key = yield from _rotated(request, store)
        yield from _saved(request, store)
        request.key = visitors
        request.take_cookie(key)


def login(request: Request) -> Steps:
    """Rotate, and make the session the user's."""
    store = yield from _opened(request)
    if store is None:
        request.key, store = None, _new_store(request, None)
    if request.key is None:
        store[USER_FIELD] = USER
        yield from _saved_first(request, store, user=USER)
        return
    visitors = request.key
    key = yield from _rotated(request, store)
    request.promise(Login, key.session.logins, user=USER, is_theirs=True)
    store[USER_FIELD] = _written(request, USER, USER_FIELD)
    store[request.op.field] = _written(request, request.world.new_value())
    yield from _saved(request, store)
    request.key = visitors
    request.take_cookie(key)


def logout(request: Request) -> Steps:
    """End the session."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        key = request.key
        promise = request.promise(End, key.session.ends, by="logout")
        yield Call(store.flush)
        request.name_left(key, promise)


def nothing(request: Request) -> Steps:
    """Do nothing: it is no operation of that engine."""
    yield from ()


def _new_store(request: Request, session_key: str | None) -> Any:
    store = import_module(request.world.previous).SessionStore(session_key)
    if hasattr(store, "_cache"):
        # SESSION_CACHE_ALIAS is that of the release before.
        store._cache = caches["default"]
    return store


def _opened(request: Request) -> Steps:
    key = request.key
    store = _new_store(request, key.text if key else None)
    if key is None:
        return store
    mark = request.mark()
    yield Call(lambda: store._session)
    reading = request.reading(mark)
    found = None if store.session_key is None else dict(store._session)
    request.is_unmarked = found is not None and MARK not in found
    if found is not None:
        found.pop(MARK, None)
        request.loaded = dict(found)
    request.loaded_at = request.now
    request.ledger.check_reading(key, found, reading)
    return None if found is None else store


def _written(request: Request, value: Any, name: str = "") -> Any:
    assert request.key is not None
    writes = request.key.session.fields.setdefault(name or request.op.field, [])
    request.promise(Write, writes, value=value, is_theirs=True)
    return value


def _saved(request: Request, store: Any) -> Steps:
    key = request.key
    assert key is not None
    mark = request.mark()
    _say_what_is_repeated(request, key)
    is_marked = yield Call(partial(_save, store))
    _say_what_is_repeated(request, key)
    request.ledger.check_accepted(key, "save", request.reading(mark))
    is_unseen = key.is_torn or (is_marked and request.is_unmarked)
    if is_unseen and request.ledger.allows("saved there while it was migrated"):
        for promise in request.promises:
            promise.is_doubtful = True
        if request.ledger.is_cache_alone:
            # The mark there was all that kept it from being migrated again.
            for end in key.session.ends:
                end.is_doubtful |= end.by != "logout"


def _save(store: Any) -> bool:
    """Save a session; tell whether it was marked as migrated by then."""
    row = store.model.objects.filter(session_key=store.session_key).first()
    store.save()
    return row is not None and MARK in store.decode(row.session_data)


def _say_what_is_repeated(request: Request, key: Key) -> None:
    """Say of the fields that somebody changed there since the loading that they go back."""
    for name, writes in key.session.fields.items():
        others = [one for one in writes if one.is_theirs and one not in request.promises]
        if any(one.done > request.loaded_at for one in others) and not any(
            one in request.promises for one in writes
        ):
            repeated = Write(began=request.now, value=request.loaded.get(name), is_theirs=True)
            repeated.is_repeated = repeated.is_doubtful = True
            repeated.state, repeated.done = State.UNKNOWN, request.now
            writes.append(repeated)


def _saved_first(request: Request, store: Any, user: str = "") -> Steps:
    made = request.promise(Promise)
    field, value = request.op.field, request.world.new_value()
    store[field] = value
    # One that stays: an empty session is not migrated.
    store["kept"] = True
    values = {"a": None, "b": None, USER_FIELD: user or None, "kept": True, field: value}
    writes = {
        name: request.promise(Write, value=one, is_theirs=True) for name, one in values.items()
    }
    login = request.promise(Login, user=user, is_theirs=True) if user else None
    yield Call(store.save)
    key = request.ledger.add_session(store.session_key, made)
    key.is_theirs = True
    key.session.fields.update({name: [write] for name, write in writes.items()})
    key.session.logins += [login] if login else []
    request.take_cookie(key)


def _rotated(request: Request, store: Any) -> Steps:
    """Do what cycle_key() does; what was changed at the other engine is not in the copy."""
    old = request.key
    assert old is not None
    departure = request.promise(Promise, old.left)
    data, session_key = store._session, store.session_key
    yield Call(store.create)
    store._session_cache = data
    yield Call(partial(store.delete, session_key))
    copy = Session(logins=[_copied(one) for one in old.session.logins])
    for name, writes in old.session.fields.items():
        # Of these it has those that were there when it was read.
        copy.fields[name] = [_copied(one) for one in writes]
    request.ledger.sessions.append(copy)
    key = request.ledger.add_key(store.session_key, copy, departure)
    key.is_theirs = True
    request.key = key
    # Nobody else has it before the response.
    request.is_unmarked = False
    return key


def _copied(promise: P) -> P:
    return replace(promise, is_theirs=True, is_doubtful=True)


OPERATIONS: dict[str, Callable[[Request], Steps]] = {
    "load": load,
    "save": save,
    "remove": remove,
    "replace": save,
    "touch": touch,
    "create": create,
    "rotate": rotate,
    "login": login,
    "logout": logout,
}
