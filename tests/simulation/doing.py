"""What actors do: each a generator of steps that tells the ledger what it promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import adapter, calls
from .ledger import USER_FIELD
from .promises import End, Key, Login, Promise, Renewal, SignOut, State, Write
from .requests import Request, Steps

USER = "1"


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
    if store is None or request.key is None:
        return
    if request.op.field in store._session_cache:
        del store[request.op.field]
        _written(request, None)
    yield from _saved(request, store)


def replace(request: Request) -> Steps:
    """Read the session and replace all of it, but for whose it is."""
    store = yield from _opened(request)
    if store is None or request.key is None:
        return
    user = store._session_cache.get(USER_FIELD)
    store.clear()
    if user is not None:
        store[USER_FIELD] = user
    values = {USER_FIELD: user, request.op.field: request.world.new_value()}
    for name in {*request.key.session.fields, request.op.field}:
        value = values.get(name)
        writes = request.key.session.fields.setdefault(name, [])
        request.promise(Write, writes, value=value, read=request.loaded_at)
        if value is not None:
            store[name] = value
    yield from _saved(request, store)


def touch(request: Request) -> Steps:
    """Read the session and put off its expiry."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        yield from _saved(request, store)


def create(request: Request) -> Steps:
    """Begin a session, whatever the visitor had."""
    request.key = None
    yield from _saved_first(request, calls.new_store(None))


def rotate(request: Request) -> Steps:
    """Give the session another key."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        yield from _rotated(request, store)
        yield from _saved(request, store)


def login(request: Request) -> Steps:
    """Rotate, and make the session the user's."""
    store = yield from _opened(request)
    if store is None:
        request.key, store = None, calls.new_store(None)
    if request.key is None:
        store[USER_FIELD] = USER
        yield from _saved_first(request, store, user=USER)
        return
    yield from _rotated(request, store)
    assert request.key is not None
    promise = request.promise(Login, request.key.session.logins, user=USER)
    request.ledger.note_login(request.key.session, promise.began)
    store[USER_FIELD] = _written(request, USER, USER_FIELD)
    store[request.op.field] = _written(request, request.world.new_value())
    yield from _saved(request, store)


def logout(request: Request) -> Steps:
    """End the session of this request."""
    store = yield from _opened(request)
    if store is not None and request.key is not None:
        key = request.key
        promise = request.promise(End, key.session.ends, by="logout")
        store.clear()
        yield from store._delete(None)
        request.name_left(key, promise)


def end(request: Request) -> Steps:
    """End the session as staff does."""
    key = request.key
    if key is None:
        return
    mark = request.mark()
    promise = request.promise(End, key.session.ends, by="staff")
    _miss_what_is_there(request, key, promise)
    count = yield from calls.end_all([key.text])
    reading = request.reading(mark)
    if not count and request.ledger.may_be_dead(key, reading, request.promises):
        promise.state, promise.done = State.UNKNOWN, request.now
    elif not adapter.ROTATION_KEEPS_ID:
        request.name_left(key, promise)


def end_both(request: Request) -> Steps:
    """End the sessions of two visitors at once."""
    keys = [key for key in map(request.world.cookie_of, (0, 1)) if key]
    for key in keys:
        promise = request.promise(End, key.session.ends, by="staff, many")
        _miss_what_is_there(request, key, promise)
    yield from calls.end_all([key.text for key in keys])
    if not adapter.ROTATION_KEEPS_ID:
        for key, promise in zip(keys, request.promises, strict=True):
            request.name_left(key, promise)


def end_for_user(request: Request) -> Steps:
    """Sign the user out everywhere."""
    yield from _signed_out(request, None)


def end_others(request: Request) -> Steps:
    """Sign the user out everywhere else, as after a change of password."""
    yield from _signed_out(request, request.key)


def _signed_out(request: Request, kept: Key | None) -> Steps:
    began, ledger = request.now, request.ledger
    sign_out = SignOut(began)
    ledger.sign_outs.append(sign_out)
    reader = request.actor.index
    for session, is_certain in ledger.sessions_of(USER, began, reader):
        if kept is None or session is not kept.session:
            is_halfway = any(end.state is State.UNKNOWN for end in session.ends)
            promise = request.promise(End, session.ends, by="end_for_user")
            is_missed = request.world.mover is not None and is_halfway
            is_missed = is_missed and ledger.allows("killed during a logout")
            if not is_certain or is_missed:
                promise.state, promise.done = State.UNKNOWN, request.now
    promised = {id(session) for session, _ in ledger.sessions_of(USER, began, reader)}
    count = yield from calls.end_for_user(USER, kept and kept.text)
    if not count.is_complete and ledger.allows("cut off crosswise"):
        request.give_up()
    for session, _ in ledger.sessions_of(USER, request.now, reader):
        # Begun since, or the one to keep if its id is another by now.
        is_kept = kept is not None and session is kept.session
        is_left = is_kept and kept.left and not adapter.ROTATION_KEEPS_ID
        if id(session) not in promised or is_left:
            unknown = End(began=began, state=State.UNKNOWN, done=request.now, by="end_for_user")
            session.ends.append(unknown)
    sign_out.done = request.now


def synchronize(request: Request) -> Steps:
    """Do what `syncsessions` does."""
    began = request.now
    waiting = yield from calls.synchronize()
    if not waiting:
        request.ledger.note_synchronized(began)
        request.world.note_synchronized()


def prune(request: Request) -> Steps:
    """Do what `clearsessions` does."""
    yield from calls.prune()


def purge(request: Request) -> Steps:
    """Do what `clearsessions_cache --user` does, which goes by the rows where there are any."""
    ledger, reader = request.ledger, request.actor.index
    sign_out = SignOut(request.now)
    ledger.sign_outs.append(sign_out)
    for session, is_certain in ledger.sessions_of(USER, request.now, reader):
        # What somebody else is ending just now is no session any more where a purge looks.
        is_ending = any(end.is_possible(request.now, reader) for end in session.ends)
        promise = request.promise(End, session.ends, by="purge")
        if not is_certain or is_ending or ledger.may_lack_row(session):
            promise.state, promise.done = State.UNKNOWN, request.now
    yield from calls.purge_user(USER)
    sign_out.done = request.now
    for session in ledger.sessions:
        # What somebody else is ending meanwhile is no session any more where a purge looks.
        is_ending = any(
            end.state is State.RUNNING and end not in request.promises for end in session.ends
        )
        for promise in request.promises:
            if is_ending and promise in session.ends:
                promise.state, promise.done = State.UNKNOWN, request.now
        is_halfway = any(end.state is State.UNKNOWN and end.by == "logout" for end in session.ends)
        for promise in request.promises:
            is_missed = is_halfway and promise in session.ends
            if is_missed and ledger.allows("killed during a logout"):
                promise.state, promise.done = State.UNKNOWN, request.now


def rekey(request: Request) -> Steps:
    """Do what `rekeysessions` does."""
    yield from calls.rekey_all()


def _miss_what_is_there(request: Request, key: Key, promise: Promise) -> None:
    """Have an end be unknown if its session may be at the engine of before alone."""
    is_theirs = request.world.previous and any(
        one.is_theirs for one in request.ledger.keys if one.session is key.session
    )
    is_there_alone = is_theirs and not request.ledger.is_here(key.session, 0, request.now)
    if is_there_alone and request.ledger.allows("ended by its id while both are at work"):
        promise.state, promise.done = State.UNKNOWN, request.now


def _opened(request: Request) -> Steps:
    """Load the session; return its store, or `None` if it is missing."""
    key = request.key
    store = calls.new_store(key.text if key else None)
    if key is None:
        return store
    mark = request.mark()
    request.loaded_at = request.now
    yield from store._ensure_loaded()
    found = calls.contents(store)
    if found is not None:
        key.visits.append((request.loaded_at, request.now))
        key.is_torn = False
    request.ledger.check_reading(key, found, request.reading(mark))
    return None if found is None else store


def _written(request: Request, value: Any, name: str = "") -> Any:
    assert request.key is not None
    writes = request.key.session.fields.setdefault(name or request.op.field, [])
    request.promise(Write, writes, value=value, read=request.loaded_at)
    return value


def _saved(request: Request, store: Any) -> Steps:
    key = request.key
    assert key is not None
    request.what = "save"
    request.renew(key)
    mark = request.mark()
    yield from store._save(False)
    request.ledger.check_accepted(key, "save", request.reading(mark))


def _saved_first(request: Request, store: Any, user: str = "") -> Steps:
    made = request.promise(Promise)
    seconds = request.world.clock.seconds
    renewal = request.promise(Renewal, seconds=seconds, is_creation=True)
    field, value = request.op.field, request.world.new_value()
    store[field] = value
    write = request.promise(Write, value=value)
    none = request.promise(Write, value=None)
    whose = request.promise(Write, value=user or None)
    login = request.promise(Login, user=user) if user else None
    # It goes into the row with its session.
    write.is_safe = none.is_safe = whose.is_safe = renewal.is_safe = not (
        request.ledger.is_cache_alone or request.ledger.has_database_failed
    )
    yield from store._save(False)
    key = request.ledger.add_session(store.session_key, made)
    key.session.fields[field] = [write]
    key.session.fields[USER_FIELD] = [whose]
    key.session.renewals.append(renewal)
    for other in {"a", "b"} - {field}:
        key.session.fields[other] = [none]
    if login:
        key.session.logins.append(login)
        request.ledger.note_login(key.session, made.began)
    request.take_cookie(key)


def _rotated(request: Request, store: Any) -> Steps:
    old = request.key
    assert old is not None
    request.what = "rotation"
    mark = request.mark()
    request.renew(old)
    departure = request.promise(Promise, old.left)
    own = list(request.promises)
    is_anonymous = USER_FIELD not in store._session_cache
    yield from store._cycle_key()
    reading = request.reading(mark)
    others = [left for left in old.left if left is not departure]
    is_contested = any(left.is_possible(request.now) for left in others)
    is_contested = is_contested and request.ledger.allows("two rotations")
    if not calls.is_same_session(old.text, store.session_key):
        # The data of a visit that ended may begin another one.
        if not (is_anonymous and request.ledger.may_be_dead(old, reading, own)):
            request.ledger.violated("a rotation begins another session", old.text[:6])
        request.take_cookie(
            request.ledger.add_session(store.session_key, departure, like=old.session)
        )
        return
    request.lose_unseen(old)
    departure.is_doubtful = is_contested
    is_hidden = is_contested and reading.is_crosswise
    is_hidden = is_hidden and request.ledger.allows("cut off crosswise")
    for left in others:
        # It was under way too, in its transaction maybe, or done where this one could not see it.
        is_beside = is_contested and not left.is_certain(departure.began, request.actor.index)
        is_unseen = is_contested and reading.is_row_alone and not left.is_safe
        is_unseen = is_unseen and request.ledger.allows("row alone")
        left.is_doubtful |= is_beside or is_hidden or is_unseen
    if not is_contested:
        request.ledger.check_accepted(old, "rotation", reading)
    request.take_cookie(request.ledger.add_key(store.session_key, old.session, departure))


OPERATIONS: dict[str, Callable[[Request], Steps]] = {
    "load": load,
    "save": save,
    "remove": remove,
    "replace": replace,
    "touch": touch,
    "create": create,
    "rotate": rotate,
    "login": login,
    "logout": logout,
    "end": end,
    "end both": end_both,
    "end for user": end_for_user,
    "end others": end_others,
    "synchronize": synchronize,
    "prune": prune,
    "purge": purge,
    "rekey": rekey,
}
