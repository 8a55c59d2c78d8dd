"""The operations of the `cached_db` engine: the row is the truth, the hash its cache.

The same operations as in `operations`, each a generator as there. A write goes to the row first;
its version tells the hash whether it may follow. What cannot reach the cache marks its row, what
cannot reach the database waits in the hash (see `outbox`).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence

from django.contrib.sessions.backends.base import CreateError

from . import operations, outbox, rows, scripts
from .conf import get_configuration
from .ending import LACKS_END, delete
from .ending import end_all as end_all
from .exceptions import (
    DatabaseUnavailable,
    InvalidValue,
    ReplyTooLarge,
    SessionStoreUnavailable,
)
from .homes import Homes, ask_cache, ask_database, drop_if_stale, get_homes, try_cache
from .keys import Naming, SessionName
from .operations import (
    MISSING,
    NAME_TAKEN,
    ORIGIN,
    OTHER_VERSION,
    Command,
    NewSession,
    Operation,
    Save,
    StoredSession,
    Word,
    parse_session,
    read_commands,
    run,
)
from .texts import Text

security_logger = logging.getLogger("django.security.SuspiciousSession")

#: A reader of the database that takes longer leaves the cache alone.
LEASE_SECONDS = 30


def load(
    name: SessionName, older_names: Callable[[], Sequence[SessionName]]
) -> Operation[StoredSession | None]:
    """See operations.load(). Reads the row where the hash is missing or cannot be trusted."""
    homes = get_homes()
    yield from _hand_over(homes)
    names: tuple[SessionName, ...] = (name,)
    cached, lease, is_alone = None, None, False
    try:
        cached, origin = yield from _cached(homes, names)
        if cached is None and (older := older_names()):
            names = (name, *older)
            cached, origin = yield from _cached(homes, tuple(older))
        if cached and homes.is_partly_down and (yield from drop_if_stale(homes, cached.name)):
            cached, origin = yield from _cached(homes, (cached.name,))
        if cached and cached.origin == origin and not cached.is_disputed:
            return cached
        if cached:
            yield from _bring_over(homes, cached)
        lease = yield from _lease(homes, names)
    except DatabaseUnavailable:
        # Nobody can tell whether what was found is the newest, or has been ended.
        raise
    except SessionStoreUnavailable:
        names = (name, *older_names())
        is_alone = True
    if lease == {}:
        return None
    stored, ttl = yield from _stored(homes, names)
    if is_alone and homes.is_database_behind:
        raise SessionStoreUnavailable(
            Text(
                "The fallback database came back a moment ago, and may not hold all that was saved."
            )
        )
    if stored:
        homes.occurrences.note("fallback_loads")
    if lease:
        yield from _heal(homes, stored, ttl, lease)
    return stored


def exists(names: Sequence[SessionName]) -> Operation[bool]:
    """See operations.exists()."""
    try:
        stored = yield from load(names[0], lambda: names[1:])
    except InvalidValue:
        # To be refused when it is read, so it is missing.
        return False
    return stored is not None


def create(naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """See operations.create()."""
    homes = get_homes()
    if new.ttl <= 0:
        return True
    try:
        is_new = yield from ask_database(homes, rows.create, _content(name, new))
    except DatabaseUnavailable:
        return (yield from outbox.create(homes, naming, name, new))
    if is_new:
        yield from try_cache(homes, _creation(naming, name, new, is_counted=True))
    return is_new


def save(naming: Naming, stored: StoredSession, change: Save) -> Operation[int]:
    """See operations.save()."""
    homes = get_homes()
    if change.ttl <= 0:
        yield from delete(naming, (stored.name,), user_tag=stored.user_tag)
        return stored.version
    try:
        # Whose a session is goes through: the rows are asked for a user's sessions.
        if get_configuration().is_behind and change.user_tag is None:
            version = yield from outbox.save_behind(homes, naming, stored, change)
            if version not in (outbox.NOT_HERE, outbox.TOO_MANY):
                return version
    except SessionStoreUnavailable:
        pass
    return (yield from _save_through(homes, naming, stored, change))


def _save_through(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int]:
    patch = rows.Patch(
        stored.name.digest,
        change.ttl,
        change.changed,
        change.removed,
        change.replace,
        change.user_tag,
        homes.cache.is_open,
    )
    try:
        if stored.is_pending:
            yield from outbox.drain(homes, naming, (stored.name,))
        version = yield from ask_database(homes, rows.merge, patch)
    except DatabaseUnavailable:
        return (yield from outbox.save(homes, naming, stored, change))
    if version == MISSING:
        yield from try_cache(homes, _end(naming, stored.name))
        return MISSING
    for _ in range(_FOLLOW_ATTEMPTS):
        commands = (
            _follow(stored.name, change, version - patch.step, version),
            *operations.user_commands(naming, stored, change),
        )
        try:
            [followed, *_] = yield from ask_cache(homes, commands)
        except SessionStoreUnavailable:
            yield from _mark_stale(homes, (stored.name,), is_marked=patch.cache_stale)
            return version
        if followed != _DROPPED:
            return MISSING if followed == _ENDED else version
        # Whoever drained the hash meanwhile may have put its older values over these.
        again = yield from ask_database(homes, rows.merge, patch, unless=version)
        if not again:
            break
        version = again
    return version


def rotate(
    naming: Naming, old: StoredSession, name: SessionName, new: NewSession, *, fenced: bool
) -> Operation[int]:
    """See operations.rotate()."""
    homes = get_homes()
    if new.ttl <= 0:
        yield from delete(naming, (old.name,), user_tag=old.user_tag)
        return 1
    try:
        return (yield from _rotate_through(homes, naming, old, name, new, fenced=fenced))
    except DatabaseUnavailable:
        return (yield from outbox.rotate(homes, naming, old, name, new, fenced=fenced))


def _rotate_through(
    homes: Homes,
    naming: Naming,
    old: StoredSession,
    name: SessionName,
    new: NewSession,
    *,
    fenced: bool,
) -> Operation[int]:
    if old.is_pending or get_configuration().is_behind:
        # Somebody may have saved to the hash alone since it was loaded; the fence tells.
        yield from outbox.drain(homes, naming, (old.name,))
    is_stale = homes.cache.is_open
    fence = old.version if fenced else None
    try:
        is_rotated = yield from ask_database(
            homes,
            rows.rotate,
            old.name.digest,
            fence,
            _content(name, new),
            cache_stale=is_stale,
        )
    except CreateError:
        return NAME_TAKEN
    if not is_rotated:
        left = yield from ask_database(homes, rows.load, (old.name.digest,))
        if left:
            return OTHER_VERSION
        yield from try_cache(homes, _end(naming, old.name))
        return MISSING
    commands = [
        *_end(naming, old.name, is_counted=False),
        *_creation(naming, name, new, is_counted=False),
    ]
    if old.user_tag:
        commands.append(operations.forget_user(naming, old.user_tag, old.name))
    try:
        [[_, lacking], *_] = yield from ask_cache(homes, tuple(commands))
    except SessionStoreUnavailable:
        yield from _mark_stale(homes, (old.name,), is_marked=is_stale)
        return 1
    if lacking == LACKS_END:
        # Ended while the database was unavailable, which could not know.
        yield from delete(naming, (name,), user_tag=new.user_tag)
        return MISSING
    return 1


def prune(naming: Naming) -> Operation[int]:
    """See operations.prune(). Deletes expired rows too, in batches along the primary key."""
    homes = get_homes()
    deleted, last = 0, None
    while True:
        swept = yield from ask_database(homes, rows.delete_expired, last, _SWEEP_ROWS)
        deleted += swept.deleted
        last = swept.last
        if last is None:
            break
    return deleted + (yield from operations.prune(naming))


def _bring_over(homes: Homes, cached: StoredSession) -> Operation[None]:
    """Bring into the database what only a hash holds, where that can be said of it."""
    configuration = get_configuration()
    if cached.is_pending:
        yield from outbox.drain(homes, configuration.naming, (cached.name,))
    elif not cached.origin and configuration.is_after_cache_engine:
        ttl = max(1, cached.expires - int(time.time()))
        whole = outbox.as_pending(cached, ttl, 0, cached.fields)
        yield from ask_database(homes, rows.drain, [whole], fenced=False)


def _hand_over(homes: Homes) -> Operation[None]:
    """Bring a few sessions into the database that this process could not save there."""
    names = homes.take_waiting(_HAND_OVER_SESSIONS)
    if not names:
        return
    try:
        yield from outbox.drain(homes, get_configuration().naming, names)
    except SessionStoreUnavailable:
        for name in names:
            homes.note_waiting(name)


def _cached(
    homes: Homes, names: tuple[SessionName, ...]
) -> Operation[tuple[StoredSession | None, bytes]]:
    """Return the session found in the cache, if any, and which primary answers for it."""
    commands = tuple(
        command for name in names for command in (*read_commands(name), ("TIME",), ORIGIN)
    )
    try:
        replies = iter((yield from ask_cache(homes, commands)))
    except ReplyTooLarge as problem:
        for name in names:
            security_logger.warning("Session %s rejected: %s.", name.sid, problem)
        return None, b""
    for name, fields, ttl, time_reply, origin in zip(names, *[replies] * 4, strict=True):
        homes.clock(name.bucket).note(time_reply)
        homes.note_origin(name.bucket, origin)
        try:
            stored = parse_session(name, fields, ttl)
        except InvalidValue as problem:
            security_logger.warning("Session %s rejected: %s.", name.sid, problem)
            continue
        if stored:
            return stored, origin
    return None, b""


def _stored(
    homes: Homes, names: Sequence[SessionName]
) -> Operation[tuple[StoredSession | None, int]]:
    """Return the session found in the database, if any, and the seconds that it has left."""
    found = yield from ask_database(homes, rows.load, tuple(name.digest for name in names))
    by_digest = {row.sid: row for row in found}
    for name in names:
        row = by_digest.get(name.digest)
        if row:
            created, saved, expires, version, user_tag, fields, ttl = row[1:]
            stored = StoredSession(name, created, saved, expires, version, user_tag, fields)
            return stored, ttl
    return None, 0


def _lease(homes: Homes, names: Sequence[SessionName]) -> Operation[dict[SessionName, bytes]]:
    """Announce that rows are about to be read; return the tokens, none for those that ended."""
    token = secrets.token_hex(8)
    words = (token, LEASE_SECONDS)
    replies = yield from ask_cache(
        homes, tuple(run(scripts.LEASE, (name.hash_key,), words) for name in names)
    )
    return {name: token for name, token in zip(names, replies, strict=True) if token}


def _heal(
    homes: Homes, stored: StoredSession | None, ttl: int, lease: Mapping[SessionName, bytes]
) -> Operation[None]:
    """Give the cache what the database holds, or take away what it does not."""
    if stored:
        commands = [_fill(stored, ttl, lease.get(stored.name, b""), ())]
    else:
        commands = [
            run(scripts.DROP, (name.hash_key, name.index_key), (name.sid, 0, "?", token))
            for name, token in lease.items()
        ]
    yield from try_cache(homes, tuple(commands))


def _mark_stale(homes: Homes, names: Sequence[SessionName], *, is_marked: bool) -> Operation[None]:
    """Note in the rows that the cache could not be told."""
    if not is_marked:
        for name in names:
            yield from ask_database(homes, rows.mark_stale, name.digest)
    homes.has_marked = True


def _end(naming: Naming, name: SessionName, *, is_counted: bool = True) -> tuple[Command, ...]:
    return tuple(outbox.end_commands(naming, [[name]], is_counted=is_counted))


def _creation(
    naming: Naming, name: SessionName, new: NewSession, *, is_counted: bool
) -> tuple[Command, ...]:
    now = int(time.time())
    first = StoredSession(name, new.created, now, now + new.ttl, 1, new.user_tag, new.fields)
    fill = _fill(first, new.ttl, b"", (naming.events(name.bucket),) if is_counted else ())
    if not new.user_tag:
        return (fill,)
    return (fill, operations.index_user(naming, new.user_tag, name, new.ttl))


def _fill(stored: StoredSession, ttl: int, token: bytes, events: tuple[str, ...]) -> Command:
    name = stored.name
    numbers = f"{stored.created} {stored.saved} {stored.expires} {stored.version}"
    words = (name.sid, ttl, token, f"{numbers} {stored.user_tag}", *operations.pairs(stored.fields))
    return run(scripts.FILL, (name.hash_key, name.index_key, *events), words)


def _follow(name: SessionName, change: Save, before: int, after: int) -> Command:
    sid, (ttl, user, *rest) = name.sid, change.words()
    words: tuple[Word, ...] = (sid, ttl, user, before, after, *rest)
    return run(scripts.FOLLOW, (name.hash_key, name.index_key), words)


def _content(name: SessionName, new: NewSession) -> rows.Content:
    return rows.Content(name.digest, new.ttl, new.created, new.user_tag, new.fields)


_ENDED = -1
_DROPPED = 0
_FOLLOW_ATTEMPTS = 3
_SWEEP_ROWS = 1000
_HAND_OVER_SESSIONS = 20
