"""Handing over what waits in hashes to their rows.

A hash is read, merged into the row as it is at that moment, and told what the row has taken. Each
step may be lost, repeated or late without harm: see `row_merge` and `handed.lua`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import row_merge, rows, scripts, transactions
from .codec import stamp_of
from .exceptions import (
    DatabaseUnavailable,
    InvalidValue,
    ReplyTooLarge,
    RowRefused,
    SessionStoreUnavailable,
    SessionTooLarge,
)
from .fields import stored_name
from .homes import Homes, acquaint, ask_cache, ask_database, try_cache
from .keys import Naming, SessionName, stamp_of_key
from .operations import (
    PENDING_END,
    PENDING_EXPIRY,
    PENDING_KEY,
    Command,
    EndOf,
    Operation,
    StoredSession,
    Word,
    parse_session,
    read_commands,
    run,
)

logger = logging.getLogger("django_elasticache_sessions")

_ATTEMPTS = 5
_STATEMENT_BYTES = 256 * 1024
#: What `handed` replies of a session of which something waited that is gone.
_LOST = 2
_NOT_TAKEN = "the database does not take it"


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read of a session that may wait: a hash, or an end and what it belongs to."""

    name: SessionName
    ttl: int = 0
    stored: StoredSession | None = None
    end_of: EndOf | None = None
    #: As it lies there, to be dropped if it still does.
    tombstone: tuple[bytes, bytes] = (b"", b"")

    @classmethod
    def read(cls, name: SessionName, fields: Any, ttl: int) -> _Found:
        if isinstance(fields, list):
            words = dict(zip(fields[::2], fields[1::2], strict=True))
            if words.get(b"~") == PENDING_END:
                return cls(name, ttl, end_of=EndOf.read(words), tombstone=_words_of(words))
        try:
            return cls(name, ttl, parse_session(name, fields, ttl))
        except InvalidValue:
            return cls(name)

    @property
    def size(self) -> int:
        return sum(map(len, self.stored.fields.values())) if self.stored else 0


def hand_over(
    homes: Homes, naming: Naming, names: Sequence[SessionName]
) -> Operation[list[SessionName]]:
    """Bring what waits of sessions into the database; return those of which something waits yet.

    Those that keep changing meanwhile are left. What the database refuses is set aside, and tried
    once. Harmless when repeated, and when cut off at any point. Inside a transaction the cache is
    told after its end.
    """
    refused: set[SessionName] = set()
    waiting = sorted(dict.fromkeys(names), key=_bucket)
    homes.losses.tell()
    if waiting:
        # What comes of a superseded server is marked: which one it is has to be known.
        yield from acquaint(homes, waiting[0])
    for _ in range(_ATTEMPTS):
        todo = [name for name in waiting if name not in refused]
        if not todo:
            break
        found = yield from _read(homes, todo)
        told: list[Command] = []
        asked: list[SessionName] = []
        for portion in _portions(found):
            for item, command in (yield from _to_database(homes, naming, portion, refused)):
                asked.append(item.name)
                told.append(command)
                homes.take_back(item.name)
        if (yield from transactions.is_open(homes.database_alias)):
            yield from _tell_after_commit(homes, asked, told)
            waiting = [name for name in waiting if name not in asked]
            continue
        try:
            replies = (yield from ask_cache(homes, tuple(told))) if told else []
        except DatabaseUnavailable:
            raise
        except SessionStoreUnavailable:
            # The rows have it; what the hashes still think of as pending is not taken twice.
            return [name for name in waiting if name not in asked]
        homes.losses.note(replies.count(_LOST))
        done = {name for name, reply in zip(asked, replies, strict=True) if reply in (1, _LOST)}
        waiting = [name for name in waiting if name not in done]
    return waiting


def adopt(homes: Homes, stored: StoredSession, ttl: int) -> Operation[None]:
    """Make the row of a hash that the `cache` engine has made, all of which is pending."""
    pending = {
        stored_name(name).decode("utf-8", "surrogatepass"): stamp_of(value)
        for name, value in stored.fields.items()
    }
    pending |= {PENDING_KEY: stamp_of_key(stored.key), PENDING_EXPIRY: 0}
    clock = max(pending.values())
    whole = stored._replace(version=0, clock=clock, pending=pending)
    states = yield from ask_database(homes, rows.states, (stored.name.digest,))
    state: rows.State | None = states.get(stored.name.digest)
    if state and state.is_ended:
        return
    merged = row_merge.merge(state, whole, ttl)
    if merged.content:
        yield from ask_database(homes, row_merge.write, [merged.content])


def _bucket(name: SessionName) -> int:
    return name.bucket


def _tell_after_commit(
    homes: Homes, names: Sequence[SessionName], commands: Sequence[Command]
) -> Operation[None]:
    def tell() -> Operation[None]:
        # What the hashes still think of as pending is not taken twice.
        replies = yield from try_cache(homes, tuple(commands))
        homes.losses.note((replies or []).count(_LOST))

    if commands:
        digests = [name.digest for name in names]
        yield transactions.Defer(homes.database_alias, digests, tell)


def _read(homes: Homes, names: Sequence[SessionName]) -> Operation[list[_Found]]:
    """Read sessions, in the order of buckets; by halves where they are too large."""
    commands = tuple(command for name in names for command in read_commands(name))
    try:
        replies = yield from ask_cache(homes, commands)
    except ReplyTooLarge:
        if len(names) == 1:
            # Larger than any session that would be saved: it is left where it is.
            return [_Found(names[0])]
        middle = len(names) // 2
        first = yield from _read(homes, names[:middle])
        return first + (yield from _read(homes, names[middle:]))
    return [
        _Found.read(name, fields, ttl)
        for name, fields, ttl in zip(names, replies[::2], replies[1::2], strict=True)
    ]


def _to_database(
    homes: Homes, naming: Naming, found: Sequence[_Found], refused: set[SessionName]
) -> Operation[list[tuple[_Found, Command]]]:
    """Merge into the rows; return what the cache is to be told of the sessions that are done.

    Those that the database does not take are added to `refused`.
    """
    states = yield from _states(homes, [item.name.digest for item in found])
    told: list[tuple[_Found, Command]] = []
    merges: list[tuple[_Found, row_merge.Merged]] = []
    for item in found:
        state = states.get(item.name.digest)
        if item.end_of is not None:
            try:
                has_ended = yield from _end(homes, item, item.end_of, state)
            except RowRefused:
                _set_aside(homes, refused, item, _NOT_TAKEN)
                continue
            if has_ended:
                told.append((item, _drop(naming, item.name, 0, *item.tombstone)))
        elif item.stored is None or not item.stored.pending:
            told.append((item, _nothing(naming, item.name, state)))
        elif isinstance(state, InvalidValue):
            _set_aside(homes, refused, item, "its row is damaged")
        elif (state is None and item.stored.version) or (state and state.is_ended):
            told.append((item, _dropped(naming, item.name, item.stored.version, state)))
        else:
            merges.append((item, row_merge.merge(state, item.stored, item.ttl)))
    written = yield from _write(homes, merges, refused)
    return told + [
        (item, _handed_of(naming, item, merged))
        for item, merged in merges
        if merged.content is None or merged.sid in written
    ]


def _states(
    homes: Homes, digests: Sequence[bytes]
) -> Operation[dict[bytes, rows.State | InvalidValue]]:
    """Return rows; one by one where one is damaged."""
    states: dict[bytes, rows.State | InvalidValue] = {}
    try:
        states |= yield from ask_database(homes, rows.states, digests)
        return states
    except InvalidValue as problem:
        if len(digests) == 1:
            return {digests[0]: problem}
    for digest in digests:
        states |= yield from _states(homes, [digest])
    return states


def _end(
    homes: Homes, item: _Found, end_of: EndOf, state: rows.State | InvalidValue | None
) -> Operation[bool]:
    """End a session in its row; `False` where it was rotated while this was asked.

    An end under a KEY that had been replaced before is none. One that came before the rotation,
    which then did not know of it, is: whoever has the newer session key is signed out.
    """
    digest = item.name.digest
    if not isinstance(state, rows.State):
        # Marked: if the server that it was read from is superseded, the cache in use does not know.
        yield from ask_database(
            homes, rows.end_unknown, [digest], cache_stale=True, seconds=item.ttl
        )
        return True
    if state.is_ended:
        return True
    key = state.row.key
    if end_of.key and stamp_of_key(end_of.key) < stamp_of_key(key) < end_of.ended:
        return True
    ended: rows.Ended = yield from ask_database(
        homes, rows.end, [digest], cache_stale=True, key=key
    )
    return bool(ended.sids)


def _write(
    homes: Homes, merges: Sequence[tuple[_Found, row_merge.Merged]], refused: set[SessionName]
) -> Operation[set[bytes]]:
    """Write merged rows; return the `sid`s of those written. What is refused is set aside."""
    todo = [(item, merged.content) for item, merged in merges if merged.content]
    if not todo:
        return set()
    contents = [content for _, content in todo]
    try:
        # Of whichever server: while one of them is superseded, rows may be marked for nothing.
        server = homes.server(todo[0][0].name.bucket)
        written: set[bytes] = yield from ask_database(homes, row_merge.write, contents, server)
        return written
    except (SessionTooLarge, RowRefused):
        if len(todo) == 1:
            _set_aside(homes, refused, todo[0][0], _NOT_TAKEN)
            return set()
    written = set()
    for pair in merges:
        written |= yield from _write(homes, [pair], refused)
    return written


def _set_aside(homes: Homes, refused: set[SessionName], item: _Found, problem: str) -> None:
    refused.add(item.name)
    if homes.set_aside(item.name):
        logger.error(
            "Session %s stays in the cache alone: %s. It is not lost while the cache keeps it.",
            item.name.sid,
            problem,
        )


def _portions(found: Sequence[_Found]) -> Iterable[list[_Found]]:
    """Divide sessions so that no statement is much larger than its largest session's needs."""
    portion: list[_Found] = []
    size = 0
    for item in found:
        if portion and size + item.size > _STATEMENT_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += item.size
    if portion:
        yield portion


def _handed_of(naming: Naming, item: _Found, merged: row_merge.Merged) -> Command:
    assert item.stored
    return _handed(
        naming,
        item.name,
        merged.before,
        merged.after,
        has_newer=merged.has_newer,
        pending=item.stored.pending,
    )


def _handed(
    naming: Naming, name: SessionName, before: int, after: int, *, has_newer: bool, pending: Any
) -> Command:
    entries = [word for entry in pending.items() for word in entry]
    words: tuple[Word, ...] = (name.sid, before, after, int(has_newer), *entries)
    return run(scripts.HANDED, (*_keys(naming, name), naming.events(name.bucket)), words)


def _nothing(naming: Naming, name: SessionName, state: rows.State | InvalidValue | None) -> Command:
    """Return what tells whether something waited of a session of which nothing was found."""
    row = 0
    if isinstance(state, rows.State):
        row = -1 if state.is_ended else int(state.row.ttl > 0)
    keys = (*_keys(naming, name), naming.events(name.bucket))
    return run(scripts.HANDED, keys, (name.sid, 0, 0, row))


def _dropped(naming: Naming, name: SessionName, version: int, state: Any) -> Command:
    if state is None:
        return _drop(naming, name, version)
    words = (name.sid, state.row.version, 1)
    return run(scripts.BEHIND, _keys(naming, name), words)


def _drop(naming: Naming, name: SessionName, version: int, *tombstone: bytes) -> Command:
    return run(scripts.DROP, _keys(naming, name), (name.sid, version, *tombstone))


def _words_of(fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    return fields.get(b"~k", b""), fields.get(b"~e", b"")


def _keys(naming: Naming, name: SessionName) -> tuple[str, str, str]:
    return name.hash_key, name.index_key, naming.pending_set(name.bucket)
