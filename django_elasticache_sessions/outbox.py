"""What waits in the cache for the database: saved while it was unavailable, or to be saved later.

A bucket's `pending` set is a hint where to look; in the hash, "~!field" is the stamp of each write
that the row lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from . import operations, scripts
from .exceptions import ForeignType, SessionStoreUnavailable
from .handing_over import hand_over
from .homes import Homes, acquaint, ask_cache, superseded, tell, try_cache
from .keys import Naming, SessionName, portions
from .operations import (
    Command,
    EndOf,
    NewSession,
    Operation,
    Outpaced,
    Save,
    StoredSession,
    run,
)
from .texts import Text

T = TypeVar("T")

#: The most sessions that wait when saves are behind; when the database lags more, saves go through.
MOST_PENDING = 100_000
NOT_HERE = -1
TOO_MANY = -2
#: What `end` replies of a session that it did not end.
NEWER_KEY = 3
#: What it replies of one that had a row, and of one that only the cache had.
WITH_ROW, ONLY_HERE = 0, 1
#: What is said of a session that the database does not have yet.
WAITS = Text("The session waits in the cache for the database.")


def create(homes: Homes, naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """Make a session in the cache alone."""
    yield from _unless_away(acquaint(homes, name))
    keys = (*keys_of(naming, name), naming.events(name.bucket))
    words = (name.sid, homes.mark(name.bucket), *new.words())
    commands = [run(scripts.CREATE_PENDING, keys, words)]
    if new.user_tag:
        commands.insert(0, operations.index_user(naming, new.user_tag, name, new.ttl))
    replies = yield from _ask(homes, tuple(commands), name.bucket)
    homes.note_waiting(name)
    return bool(replies[-1] == 1)


def save(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int | Outpaced]:
    """Merge changes into the hash alone. Raises `SessionStoreUnavailable` where there is none."""
    yield from _unless_away(acquaint(homes, stored.name))
    commands = _save_commands(homes, naming, stored, change, most=0)
    saved = _saved((yield from _ask(homes, commands, stored.name.bucket)))
    if saved == NOT_HERE:
        raise SessionStoreUnavailable(_NEITHER)
    homes.note_waiting(stored.name)
    yield from operations.forget_after(naming, stored, change, saved)
    return saved


def save_behind(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int | Outpaced]:
    """Merge changes into the hash, for the database to be told soon.

    Return the version, `MISSING`, or, where nothing was changed, `NOT_HERE` or `TOO_MANY`.
    """
    most = -(-MOST_PENDING // naming.buckets)
    commands = _save_commands(homes, naming, stored, change, most=most)
    replies = yield from ask_cache(homes, commands, bucket=stored.name.bucket)
    return _saved(replies)


def _saved(replies: Sequence[Any]) -> int | Outpaced:
    reply = replies[-1]
    if isinstance(reply, ForeignType):
        return NOT_HERE
    return Outpaced(int(reply[0])) if isinstance(reply, list) else int(reply)


def end(
    homes: Homes,
    naming: Naming,
    names: Sequence[SessionName],
    *,
    stored: StoredSession | None = None,
    forgetting: tuple[Command, ...] = (),
) -> Operation[bool]:
    """End sessions in the cache; the database is told later.

    Of one session as it was loaded, `False` where it has a newer KEY by now.
    """
    end_of = EndOf.of(stored) if stored else EndOf()
    commands = end_commands(
        naming, portions(names), keep_seconds=operations.TOMBSTONE_SECONDS, end_of=end_of
    )
    replies = yield from _ask(homes, tuple(commands), names[0].bucket)
    codes = [code for reply in replies for code in reply[1::3]]
    for name in names:
        homes.note_waiting(name)
    has_ended = NEWER_KEY not in codes
    if has_ended and forgetting:
        yield from try_cache(homes, forgetting)
    return has_ended


def end_commands(
    naming: Naming,
    of_buckets: Iterable[Sequence[SessionName]],
    *,
    keep_seconds: int = 0,
    end_of: EndOf = EndOf(),  # noqa: B008 - It is a constant.
) -> list[Command]:
    """Return the commands that end sessions, one for each portion; see portions().

    `keep_seconds` is 0 where their rows have ended.
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
            (keep_seconds, *end_of, *(name.sid for name in portion)),
        )
        for portion in of_buckets
    ]


def drain_all(homes: Homes, naming: Naming, *, batch_size: int) -> Operation[int]:
    """Hand over every session that waits now to the database; return how many went.

    One pass over all buckets: what comes in meanwhile does not keep it from any of them.
    """
    drained = 0
    indexes = range(naming.buckets)
    for begin in range(0, naming.buckets, _BUCKETS):
        cursors = dict.fromkeys(indexes[begin : begin + _BUCKETS], b"0")
        while cursors:
            names = yield from _waiting(homes, naming, cursors, batch_size)
            for start in range(0, len(names), batch_size):
                left = yield from hand_over(homes, naming, names[start : start + batch_size])
                drained += len(names[start : start + batch_size]) - len(left)
    return drained


def search(homes: Homes, naming: Naming, most: int) -> Operation[list[SessionName]]:
    """Return a few sessions that wait and that nobody may remember, now and then."""
    buckets = homes.buckets_to_search(naming.buckets)
    if not buckets:
        return []
    try:
        found = yield from _waiting(homes, naming, dict.fromkeys(buckets, b"0"), most)
    except SessionStoreUnavailable:
        return []
    return found[:most]


def count_waiting(homes: Homes, naming: Naming) -> Operation[int]:
    """Return how many sessions wait. Raises `SessionStoreUnavailable` of what is no cache."""
    buckets = range(naming.buckets)
    told = yield from tell(
        homes, {bucket: (("SCARD", naming.pending_set(bucket)),) for bucket in buckets}
    )
    if told.in_vain:
        raise superseded()
    counts = [told.replies[bucket][0] for bucket in buckets]
    return sum(count for count in counts if not isinstance(count, ForeignType))


def _waiting(
    homes: Homes, naming: Naming, cursors: dict[int, bytes], most: int
) -> Operation[list[SessionName]]:
    """Return the next sessions that wait in a few buckets; those that are done are left out."""
    each = max(1, most // len(cursors))
    buckets = tuple(cursors)
    replies = yield from ask_cache(
        homes,
        tuple(
            ("SSCAN", naming.pending_set(bucket), cursors[bucket], "COUNT", each)
            for bucket in buckets
        ),
    )
    names: list[SessionName] = []
    for bucket, reply in zip(buckets, replies, strict=True):
        cursor, members = (b"0", []) if isinstance(reply, ForeignType) else reply
        found = (
            naming.from_hash_key(f"{naming.prefix}:{{{bucket}}}:".encode() + sid) for sid in members
        )
        names += [name for name in found if name]
        if cursor == b"0":
            del cursors[bucket]
        else:
            cursors[bucket] = cursor
    return names


def _save_commands(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save, *, most: int
) -> tuple[Command, ...]:
    name = stored.name
    mark = homes.origin_of(stored) if stored.origin else homes.mark(name.bucket)
    words = (name.sid, stored.key, mark, most, change.stamp, *change.words())
    command = run(scripts.SAVE_PENDING, keys_of(naming, name), words)
    return operations.with_user_commands(naming, stored, change, command)


def _ask(homes: Homes, commands: tuple[Command, ...], bucket: int) -> Operation[list[Any]]:
    return _unless_away(ask_cache(homes, commands, bucket=bucket))


def _unless_away(operation: Operation[T]) -> Operation[T]:
    try:
        return (yield from operation)
    except SessionStoreUnavailable:
        raise SessionStoreUnavailable(_NEITHER) from None


def keys_of(naming: Naming, name: SessionName) -> tuple[str, str, str]:
    """Return the keys of a session's hash, its live index and its pending set."""
    return name.hash_key, name.index_key, naming.pending_set(name.bucket)


#: Buckets that are asked in one round trip.
_BUCKETS = 32
_NEITHER = Text("Neither the session cache nor the fallback database served.")
