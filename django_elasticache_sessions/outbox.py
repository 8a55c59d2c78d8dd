"""What waits in the cache for the database: sessions saved while it did not serve.

A bucket's `pending` set names them; in the hash, "~!field" marks each field that the row lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import operations, rows, scripts
from .exceptions import DatabaseUnavailable, InvalidValue, SessionStoreUnavailable
from .fields import loaded_name
from .homes import Homes, ask_cache, ask_database
from .keys import Naming, SessionName
from .operations import (
    MISSING,
    PENDING_END,
    Command,
    NewSession,
    Operation,
    Save,
    StoredSession,
    parse_session,
    read_commands,
    run,
)

#: Seconds that an end waits for the database; by then its session has expired in most projects.
KEEP_SECONDS = 14 * 86_400
_DIRTY = b"~!"
_ATTEMPTS = 5


def create(homes: Homes, naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """Make a session in the cache alone."""
    commands = [run(scripts.CREATE_PENDING, _keys(naming, name), (name.sid, *new.words()))]
    if new.user_tag:
        commands.append(operations.index_user(naming, new.user_tag, name, new.ttl))
    replies = yield from _ask(homes, tuple(commands))
    return bool(replies[0] == 1)


def save(homes: Homes, naming: Naming, stored: StoredSession, change: Save) -> Operation[int]:
    """Merge changes into the hash alone. Raises `SessionStoreUnavailable` where there is none."""
    name = stored.name
    command = run(scripts.SAVE_PENDING, _keys(naming, name), (name.sid, *change.words()))
    commands = (command, *operations.user_commands(naming, stored, change))
    [version, *_] = yield from _ask(homes, commands)
    if version == _NOT_HERE:
        raise SessionStoreUnavailable(_NEITHER)
    return int(version)


def end(
    homes: Homes, naming: Naming, names: Sequence[SessionName], *, user_tag: str
) -> Operation[None]:
    """End sessions in the cache; the database is told later."""
    commands = [end_command(naming, name, keep_seconds=KEEP_SECONDS) for name in names]
    if user_tag:
        commands.append(operations.forget_user(naming, user_tag, names[0]))
    yield from _ask(homes, tuple(commands))


def end_command(naming: Naming, name: SessionName, *, keep_seconds: int = 0) -> Command:
    """Return the command that ends a session; `keep_seconds` is 0 where its row has ended."""
    return run(scripts.END, _keys(naming, name), (name.sid, keep_seconds))


def drain(homes: Homes, naming: Naming, name: SessionName) -> Operation[bool]:
    """Bring a session that waits into the database; `False` when it keeps changing meanwhile.

    Harmless when repeated, and when cut off at any point.
    """
    for _ in range(_ATTEMPTS):
        fields, ttl = yield from ask_cache(homes, read_commands(name))
        version, row_version = yield from _to_database(homes, name, fields, ttl)
        words = (name.sid, version, row_version)
        [is_done] = yield from ask_cache(homes, (run(scripts.DRAINED, _keys(naming, name), words),))
        if is_done:
            return True
    return False


def _to_database(
    homes: Homes, name: SessionName, fields: Any, ttl: int
) -> Operation[tuple[int | str, int]]:
    """Return the version that was brought over, "x" for an end, and the version of the row."""
    if PENDING_END in fields:
        yield from ask_database(homes, rows.end, (name.digest,), cache_stale=False, is_known=False)
        return "x", 0
    try:
        stored = parse_session(name, fields, ttl)
    except InvalidValue:
        stored = None
    if stored is None:
        return MISSING, 1
    dirty = [
        loaded_name(field.removeprefix(_DIRTY).decode("utf-8", "surrogatepass"))
        for field in fields[::2]
        if field.startswith(_DIRTY)
    ]
    changed = {field: stored.fields[field] for field in dirty if field in stored.fields}
    removed = [field for field in dirty if field not in stored.fields]
    digest, user_tag = name.digest, stored.user_tag
    row_version = yield from ask_database(
        homes,
        rows.drain,
        rows.Content(digest, ttl, stored.created, user_tag, stored.fields),
        rows.Patch(digest, ttl, changed, removed, False, user_tag, False),
        stored.version,
    )
    return stored.version, row_version


def drain_all(homes: Homes, naming: Naming) -> Operation[int]:
    """Bring every session that waits into the database; return how many went."""
    drained = 0
    for bucket in range(naming.buckets):
        [members] = yield from ask_cache(homes, (("SMEMBERS", naming.pending_set(bucket)),))
        names = (naming.from_hash_key(_hash_key(naming, bucket, sid)) for sid in members)
        for name in filter(None, names):
            drained += yield from drain(homes, naming, name)
    return drained


def _hash_key(naming: Naming, bucket: int, sid: bytes) -> bytes:
    return f"{naming.prefix}:{{{bucket}}}:".encode() + sid


def _ask(homes: Homes, commands: tuple[Command, ...]) -> Operation[list[Any]]:
    try:
        return (yield from ask_cache(homes, commands))
    except DatabaseUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None
    except SessionStoreUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None


def _keys(naming: Naming, name: SessionName) -> tuple[str, str, str]:
    return name.hash_key, name.index_key, naming.pending_set(name.bucket)


_NOT_HERE = -1
_NEITHER = "Neither the session cache nor the fallback database served."
