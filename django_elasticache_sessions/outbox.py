"""What waits in the cache for the database: saved while it did not serve, or to be saved behind.

A bucket's `pending` set names the sessions; in the hash, "~!field" marks each field that the row
lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from . import operations, rows, scripts
from .exceptions import (
    DatabaseUnavailable,
    InvalidValue,
    ReplyTooLarge,
    SessionStoreUnavailable,
)
from .fields import loaded_name
from .homes import Homes, ask_cache, ask_database, deadline_ms
from .keys import SID_CHARACTERS, Naming, SessionName, portions
from .operations import (
    NAME_TAKEN,
    ORIGIN,
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
from .texts import Text

#: Seconds that an end waits for the database; by then its session has expired in most projects.
KEEP_SECONDS = 14 * 86_400
#: The most sessions that wait when saves are behind; when the database lags more, saves go through.
MOST_PENDING = 100_000
NOT_HERE = -1
TOO_MANY = -2
_DIRTY = b"~!"
_ATTEMPTS = 5
_ALL = rows.Conditions()


def create(homes: Homes, naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """Make a session in the cache alone."""
    keys = (*_keys(naming, name), naming.events(name.bucket))
    commands = [run(scripts.CREATE_PENDING, keys, (name.sid, *new.words()))]
    if new.user_tag:
        commands.append(operations.index_user(naming, new.user_tag, name, new.ttl))
    replies = yield from _ask(homes, tuple(commands))
    homes.note_waiting(name)
    return bool(replies[0] == 1)


def save(homes: Homes, naming: Naming, stored: StoredSession, change: Save) -> Operation[int]:
    """Merge changes into the hash alone. Raises `SessionStoreUnavailable` where there is none."""
    try:
        deadline = yield from deadline_ms(homes, stored.name)
    except SessionStoreUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None
    commands = _save_commands(naming, stored, change, most=0, deadline=deadline)
    [version, *_] = yield from _ask(homes, commands)
    if version == NOT_HERE:
        raise SessionStoreUnavailable(_NEITHER)
    homes.note_waiting(stored.name)
    return int(version)


def save_behind(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int]:
    """Merge changes into the hash, for the database to be told soon.

    Return the version, `MISSING`, or, where nothing was changed, `NOT_HERE` or `TOO_MANY`.
    """
    most = -(-MOST_PENDING // naming.buckets)
    deadline = yield from deadline_ms(homes, stored.name)
    commands = _save_commands(naming, stored, change, most=most, deadline=deadline)
    [version, *_] = yield from ask_cache(homes, commands)
    return int(version)


def rotate(
    homes: Homes,
    naming: Naming,
    old: StoredSession,
    name: SessionName,
    new: NewSession,
    *,
    fenced: bool,
) -> Operation[int]:
    """Replace a session by a new one in the cache alone; returns what operations.rotate() does.

    Raises `SessionStoreUnavailable` where the old one is not there.
    """
    keys = (old.name.hash_key, old.name.index_key, name.hash_key, naming.pending_set(name.bucket))
    fence = old.version if fenced else ""
    try:
        deadline = yield from deadline_ms(homes, old.name)
    except SessionStoreUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None
    words = (old.name.sid, name.sid, fence, deadline, KEEP_SECONDS, *new.words())
    commands = [run(scripts.ROTATE_PENDING, keys, words)]
    if new.user_tag:
        commands.append(operations.index_user(naming, new.user_tag, name, new.ttl))
    if old.user_tag:
        commands.append(operations.forget_user(naming, old.user_tag, old.name))
    [result, *_] = yield from _ask(homes, tuple(commands))
    if result == NOT_HERE:
        raise SessionStoreUnavailable(_NEITHER)
    if result == 1:
        homes.note_waiting(old.name)
        homes.note_waiting(name)
    return NAME_TAKEN if result == _NEW_NAME_TAKEN else int(result)


def end(
    homes: Homes, naming: Naming, names: Sequence[SessionName], forgetting: Iterable[Command]
) -> Operation[None]:
    """End sessions in the cache; the database is told later."""
    commands = end_commands(naming, portions(names), keep_seconds=KEEP_SECONDS)
    yield from _ask(homes, (*commands, *forgetting))
    for name in names:
        homes.note_waiting(name)


def end_commands(
    naming: Naming,
    of_buckets: Iterable[Sequence[SessionName]],
    *,
    keep_seconds: int = 0,
    is_counted: bool = True,
    token: str = "",
    conditions: rows.Conditions = _ALL,
) -> list[Command]:
    """Return the commands that end sessions, one for each portion; see portions().

    `keep_seconds` is 0 where their rows have ended; with a token, whether they end is for their
    rows to tell, after which unmark_commands() must follow. It is not counted as an end where a
    session goes on under another name.
    """
    return [
        run(
            scripts.END,
            (
                portion[0].index_key,
                naming.pending_set(portion[0].bucket),
                naming.events(portion[0].bucket),
                *(name.hash_key for name in portion),
            ),
            (
                keep_seconds,
                int(is_counted),
                token,
                *conditions.words(),
                *(name.sid for name in portion),
            ),
        )
        for portion in of_buckets
    ]


def unmark_commands(naming: Naming, names: Iterable[SessionName], token: str) -> list[Command]:
    """Return the commands that take away marks made with this token."""
    return [
        run(
            scripts.UNMARK,
            (naming.pending_set(portion[0].bucket), *(name.hash_key for name in portion)),
            (token, SID_CHARACTERS),
        )
        for portion in portions(names)
    ]


def drain(homes: Homes, naming: Naming, names: Sequence[SessionName]) -> Operation[int]:
    """Bring sessions that wait into the database; return how many do not wait any more.

    Those that keep changing meanwhile are left. Harmless when repeated, and when cut off at any
    point.
    """
    waiting = sorted(dict.fromkeys(names), key=_bucket)
    for _ in range(_ATTEMPTS):
        if not waiting:
            break
        found = yield from _read(homes, waiting)
        versions = yield from _to_database(homes, found)
        done = yield from ask_cache(
            homes, tuple(_drained(naming, item, versions) for item in found)
        )
        waiting = [name for name, is_done in zip(waiting, done, strict=True) if not is_done]
    return len(set(names)) - len(waiting)


def _bucket(name: SessionName) -> int:
    return name.bucket


def drain_all(homes: Homes, naming: Naming, *, batch_size: int) -> Operation[int]:
    """Bring every session that waits into the database; return how many went."""
    drained = 0
    indexes = range(naming.buckets)
    for begin in range(0, naming.buckets, _BUCKETS):
        buckets = indexes[begin : begin + _BUCKETS]
        while True:
            names = yield from _waiting(homes, naming, buckets, batch_size)
            went = yield from drain(homes, naming, names)
            drained += went
            if went < len(names) or not names:
                break
    return drained


def count_waiting(homes: Homes, naming: Naming) -> Operation[int]:
    """Return how many sessions wait."""
    sets = [naming.pending_set(bucket) for bucket in range(naming.buckets)]
    return sum((yield from ask_cache(homes, tuple(("SCARD", key) for key in sets))))


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read of a session that waits; `pending` is `None` where nothing is lacking.

    What another primary was told may long be in the row, and have been replaced there.
    """

    name: SessionName
    is_end: bool = False
    pending: rows.Pending | None = None
    is_of_another_primary: bool = False

    @classmethod
    def read(cls, name: SessionName, fields: Any, ttl: int, origin: bytes) -> _Found:
        if isinstance(fields, list) and PENDING_END in fields:
            return cls(name, is_end=True)
        try:
            stored = parse_session(name, fields, ttl)
        except InvalidValue:
            return cls(name)
        if stored is None or stored.base is None:
            return cls(name)
        return cls(
            name,
            pending=as_pending(stored, ttl, stored.base, _dirty(fields)),
            is_of_another_primary=stored.origin != origin,
        )


def as_pending(stored: StoredSession, ttl: int, base: int, dirty: Iterable[str]) -> rows.Pending:
    """Return a session, read from a hash, as what is to be brought into its row."""
    created, user_tag, fields = stored.created, stored.user_tag, stored.fields
    whole = rows.Content(stored.name.digest, ttl, created, user_tag, fields)
    return rows.Pending(whole, stored.version, base, tuple(dirty))


def _read(homes: Homes, names: Sequence[SessionName]) -> Operation[list[_Found]]:
    """Read sessions, in the order of buckets; by halves where they are too large."""
    by_bucket = [list(of_bucket) for _, of_bucket in groupby(names, key=_bucket)]
    commands: list[Command] = []
    for of_bucket in by_bucket:
        commands += [command for name in of_bucket for command in read_commands(name)]
        commands.append(ORIGIN)
    try:
        replies = iter((yield from ask_cache(homes, tuple(commands))))
    except ReplyTooLarge:
        if len(names) == 1:
            # Larger than any session that would be saved: it is left where it is.
            return [_Found(names[0])]
        middle = len(names) // 2
        first = yield from _read(homes, names[:middle])
        return first + (yield from _read(homes, names[middle:]))
    found: list[_Found] = []
    for of_bucket in by_bucket:
        read = [(name, next(replies), next(replies)) for name in of_bucket]
        origin = next(replies)
        found += [_Found.read(*one, origin) for one in read]
    return found


def _to_database(homes: Homes, found: Sequence[_Found]) -> Operation[Mapping[bytes, int]]:
    ended = tuple(item.name.digest for item in found if item.is_end)
    if ended:
        yield from ask_database(homes, rows.end_unknown, ended, cache_stale=False)
    versions: dict[bytes, int] = {}
    for is_fenced in (False, True):
        pending = [
            item.pending
            for item in found
            if item.pending and item.is_of_another_primary == is_fenced
        ]
        for portion in _portions(pending):
            versions |= yield from ask_database(homes, rows.drain, portion, fenced=is_fenced)
    return versions


def _portions(pending: Sequence[rows.Pending]) -> Iterator[list[rows.Pending]]:
    """Divide sessions so that no statement is much larger than its largest session's needs."""
    portion: list[rows.Pending] = []
    size = 0
    for item in pending:
        own = sum(map(len, item.whole.fields.values()))
        if portion and size + own > _STATEMENT_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += own
    if portion:
        yield portion


def _drained(naming: Naming, item: _Found, versions: Mapping[bytes, int]) -> Command:
    version: int | str = "x" if item.is_end else 0
    row_version = 1
    if item.pending:
        version = item.pending.version
        row_version = versions.get(item.name.digest, 0)
    words = (item.name.sid, version, row_version)
    return run(scripts.DRAINED, _keys(naming, item.name), words)


def _dirty(fields: Sequence[bytes]) -> Iterator[str]:
    for field in fields[::2]:
        if field.startswith(_DIRTY):
            yield loaded_name(field.removeprefix(_DIRTY).decode("utf-8", "surrogatepass"))


def _waiting(
    homes: Homes, naming: Naming, buckets: Sequence[int], most: int
) -> Operation[list[SessionName]]:
    """Return some sessions that wait in a few buckets."""
    each = max(1, most // len(buckets))
    replies = yield from ask_cache(
        homes,
        tuple(("SRANDMEMBER", naming.pending_set(bucket), each) for bucket in buckets),
    )
    names = (
        naming.from_hash_key(f"{naming.prefix}:{{{bucket}}}:".encode() + sid)
        for bucket, members in zip(buckets, replies, strict=True)
        for sid in members
    )
    return [name for name in names if name]


def _save_commands(
    naming: Naming, stored: StoredSession, change: Save, *, most: int, deadline: int
) -> tuple[Command, ...]:
    name = stored.name
    words = (name.sid, most, deadline, *change.words())
    command = run(scripts.SAVE_PENDING, _keys(naming, name), words)
    return (command, *operations.user_commands(naming, stored, change))


def _ask(homes: Homes, commands: tuple[Command, ...]) -> Operation[list[Any]]:
    try:
        return (yield from ask_cache(homes, commands))
    except DatabaseUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None
    except SessionStoreUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None


def _keys(naming: Naming, name: SessionName) -> tuple[str, str, str]:
    return name.hash_key, name.index_key, naming.pending_set(name.bucket)


#: Buckets that are asked in one round trip.
_BUCKETS = 32
_STATEMENT_BYTES = 256 * 1024
_NEW_NAME_TAKEN = -3
_NEITHER = Text("Neither the session cache nor the fallback database served.")
