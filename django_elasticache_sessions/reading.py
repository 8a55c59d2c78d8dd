"""Reading a session of the `cached_db` engine, and having its hash show its row.

A hash is used as it is where it was filled in at this server, nothing is pending, it is not known
to be behind its row, and its KEY is the visitor's. Otherwise the row decides.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from . import operations, outbox, rows, scripts
from .conf import get_configuration
from .exceptions import (
    DatabaseUnavailable,
    InvalidValue,
    ReplyTooLarge,
    RowRefused,
    SessionStoreUnavailable,
)
from .handing_over import adopt, hand_over
from .homes import (
    Homes,
    ask_cache,
    ask_database,
    deadline_ms,
    get_homes,
    meet,
    mend_if_stale,
    try_cache,
)
from .keys import Naming, SessionName
from .operations import (
    METADATA_FIELD,
    ORIGIN,
    PENDING_END,
    Command,
    EndOf,
    NewSession,
    Operation,
    StoredSession,
    anybody,
    parse_session,
    read_commands,
    run,
)
from .stamps import age_seconds
from .texts import Text
from .transactions import Defer, IsChanged, is_open, may_be_changed

security_logger = logging.getLogger("django.security.SuspiciousSession")

#: A reader of the database that takes longer leaves the cache alone.
LEASE_SECONDS = 30
#: What waits longer than this is handed over by its reader under write-behind too.
PATIENCE_SECONDS = 60
_ATTEMPTS = 6
_HAND_OVER_SESSIONS = 20

IsMine = Callable[[StoredSession], bool]
_HERE = b"="


def load(
    name: SessionName,
    older_names: Callable[[], Sequence[SessionName]],
    is_mine: IsMine = anybody,
) -> Operation[StoredSession | None]:
    """See operations.load(). Reads the row where the hash is missing or cannot be used."""
    homes = get_homes()
    yield from _hand_over_waiting(homes)
    return (yield from _Reading(homes, name, older_names, is_mine).read())


def cached_now(homes: Homes, name: SessionName) -> Operation[StoredSession | None]:
    """Return a session as its hash is, whatever it lacks. Raises `SessionStoreUnavailable`."""
    seen = yield from _look(homes, (name,))
    return seen.stored


def note_row(homes: Homes, naming: Naming, name: SessionName, version: int) -> Operation[bool]:
    """Have a hash fall behind that does not show a version of its row; `False` where it cannot."""
    command = run(scripts.BEHIND, outbox.keys_of(naming, name), (name.sid, version, 0))
    return (yield from try_cache(homes, (command,))) is not None


def leave_behind(homes: Homes, naming: Naming, name: SessionName, version: int) -> Operation[None]:
    """Have a hash fall behind its row; mark the row where the cache cannot be told."""
    told = yield from note_row(homes, naming, name, version)
    if not told:
        yield from ask_database(homes, rows.mark_stale, name.digest)
        homes.note_marked((name.digest,))


def creation(homes: Homes, naming: Naming, name: SessionName, new: NewSession) -> Operation[None]:
    """Give the cache a session whose row was made just now.

    Until a deadline only: after it others may have changed the row, and this would not show it.
    One that others know of may have changed already, so its next load fills it in.
    """
    if new.is_known:
        if new.user_tag:
            index = operations.index_user(naming, new.user_tag, name, new.ttl)
            yield from try_cache(homes, (index,))
        return
    try:
        deadline = yield from deadline_ms(homes, name)
    except SessionStoreUnavailable:
        return
    now = int(time.time())
    # This process may have stood still since it made the row.
    ttl = new.ttl - max(0, int(age_seconds(new.stamp)))
    if ttl <= 0:
        return
    first = StoredSession(
        name, new.created, now, now + ttl, 1, new.user_tag, new.key, new.fields, new.stamp
    )
    events = (naming.events(name.bucket),)
    commands = [_fill(homes, first, ttl, b"", deadline, events)]
    if new.user_tag:
        commands.insert(0, operations.index_user(naming, new.user_tag, name, ttl))
    yield from try_cache(homes, tuple(commands))


@dataclass(slots=True)
class _Seen:
    """What the cache said of a session; `origin` is the server that answered."""

    stored: StoredSession | None = None
    origin: bytes = b""
    ended: SessionName | None = None
    end_of: EndOf = EndOf()  # noqa: RUF009 - It is a constant.
    is_rejected: bool = False


@dataclass(slots=True)
class _Reading:
    """One read of one session; it may be known by names of older index keys."""

    homes: Homes
    name: SessionName
    older_names: Callable[[], Sequence[SessionName]]
    is_mine: IsMine
    names: tuple[SessionName, ...] = field(init=False)
    has_all_names: bool = False

    def __post_init__(self) -> None:
        self.names = (self.name,)

    def read(self) -> Operation[StoredSession | None]:
        if may_be_changed() and (yield from self._is_changed_in_transaction()):
            return (yield from self._from_row())
        for _ in range(_ATTEMPTS):
            try:
                seen = yield from self._look()
                lease = None if seen.stored or seen.ended else (yield from self._lease(seen))
            except DatabaseUnavailable:
                # Nobody can tell whether what was found is the newest, or has been ended.
                raise
            except SessionStoreUnavailable:
                return (yield from self._without_cache())
            if seen.ended:
                if (yield from self._is_ended(seen.ended, seen.end_of)):
                    return None
                continue
            if seen.stored:
                found = yield from self._examine(seen.stored, seen.origin)
                if found is not None:
                    return found.stored
                continue
            if lease == {}:
                return None
            if lease is not None and _HERE not in lease.values():
                return (yield from self._fill(lease))
        raise SessionStoreUnavailable(Text("The session kept changing while it was read."))

    def _look(self) -> Operation[_Seen]:
        seen = yield from _look(self.homes, self.names)
        if not (seen.stored or seen.ended or self.has_all_names):
            self.has_all_names = True
            older = tuple(self.older_names())
            if older:
                self.names = (self.name, *older)
                seen = yield from _look(self.homes, older)
        if (
            seen.stored
            and self._may_be_stale(seen.stored)
            and (yield from mend_if_stale(self.homes, seen.stored.name))
        ):
            seen = yield from _look(self.homes, (seen.stored.name,))
        return seen

    def _may_be_stale(self, cached: StoredSession) -> bool:
        is_marked = self.homes.has_marked_session(cached.name.digest)
        return is_marked or self.homes.is_partly_down

    def _is_ended(self, name: SessionName, end_of: EndOf) -> Operation[bool]:
        """Tell the database of an end that it was not told; it may be of a KEY before this one."""
        try:
            left = yield from hand_over(self.homes, get_configuration().naming, (name,))
            if left and self.homes.is_set_aside(name):
                raise RowRefused(outbox.WAITS)
        except SessionStoreUnavailable:
            if not end_of.key or self.is_mine(_ended_session(name, end_of)):
                return True
            raise
        found: rows.Loaded = yield from ask_database(self.homes, rows.load, (name.digest,))
        return not found.rows

    def _examine(self, cached: StoredSession, origin: bytes) -> Operation[_Seen | None]:
        """Return what is to be used in the place of a hash; `None` to look at it once more."""
        is_of_here = cached.origin == origin
        if cached.pending:
            is_good = is_of_here and not cached.behind and self.is_mine(cached)
            may_wait = self.homes.writes.is_suspect or (yield from self._may_wait(cached))
            if is_good and may_wait:
                return _Seen(cached)
            try:
                left = yield from hand_over(self.homes, get_configuration().naming, (cached.name,))
            except DatabaseUnavailable:
                if is_good:
                    return _Seen(cached)
                raise
            except SessionStoreUnavailable:
                if is_good:
                    return _Seen(cached)
                row = yield from self._without_cache()
                if row:
                    return _Seen(row)
                # The row may lack the very KEY.
                raise
            if not left and (yield from is_open(self.homes.database_alias)):
                # The cache is told after the commit: until then the row is what is known here.
                return (yield from self._refresh(cached))
            # What the database refuses is served from where it is.
            return _Seen(cached) if is_good and left else None
        if not cached.origin and get_configuration().is_after_cache_engine:
            ttl = max(1, cached.expires - int(time.time()))
            yield from adopt(self.homes, cached, ttl)
        elif is_of_here and not cached.behind:
            if self.is_mine(cached):
                return _Seen(cached)
            return (yield from self._under_another_key(cached))
        return (yield from self._refresh(cached))

    def _may_wait(self, cached: StoredSession) -> Operation[bool]:
        if (yield from is_open(self.homes.database_alias)):
            # Nothing is handed over inside a transaction that need not be.
            return True
        if not (get_configuration().is_behind and cached.version):
            return False
        return age_seconds(min(cached.pending.values())) < PATIENCE_SECONDS

    def _under_another_key(self, cached: StoredSession) -> Operation[_Seen | None]:
        """Ask the row: the cache may not know of a rotation yet."""
        row, _, _ = yield from self._row((cached.name,))
        if row is None or not self.is_mine(row):
            return _Seen(None)
        naming = get_configuration().naming
        yield from note_row(self.homes, naming, cached.name, row.version)
        return _Seen(row)

    def _refresh(self, cached: StoredSession) -> Operation[_Seen | None]:
        """Have a hash show its row; `None` where somebody has changed it meanwhile."""
        row, ttl, is_committed = yield from self._row((cached.name,))
        keys = outbox.keys_of(get_configuration().naming, cached.name)
        if not is_committed:
            return _Seen(row if row and self.is_mine(row) else None)
        if row is None:
            words = (cached.name.sid, cached.version)
            yield from try_cache(self.homes, (run(scripts.DROP, keys, words),))
            return _Seen(None)
        command = run(
            scripts.REFRESH,
            keys[:2],
            (
                row.name.sid,
                ttl,
                row.version,
                cached.version,
                cached.behind,
                _metadata(row),
                self.homes.mark(row.name.bucket),
                *operations.pairs(row.fields),
            ),
        )
        replies = yield from try_cache(self.homes, (command,))
        if replies == [0]:
            return None
        return _Seen(row if self.is_mine(row) else None)

    def _fill(self, lease: Mapping[SessionName, bytes]) -> Operation[StoredSession | None]:
        row, ttl, is_committed = yield from self._row(self.names)
        if row is None:
            # Nothing of unknown session keys stays behind.
            commands = tuple(("HDEL", name.hash_key, "~l") for name in lease)
            yield from try_cache(self.homes, commands)
            return None
        self.homes.occurrences.note("fallback_loads")
        token = lease.get(row.name)
        if token and is_committed:
            yield from try_cache(self.homes, (_fill(self.homes, row, ttl, token, 0, ()),))
        elif token:
            yield Defer(self.homes.database_alias, (), lambda: _fill_later(row.name))
        return row if self.is_mine(row) else None

    def _without_cache(self) -> Operation[StoredSession | None]:
        if not self.has_all_names:
            self.names = (self.name, *self.older_names())
        row, _, _ = yield from self._row(self.names)
        if self.homes.is_database_behind:
            raise SessionStoreUnavailable(
                Text(
                    "The fallback database came back a moment ago, and may not hold all that was "
                    "saved."
                )
            )
        if row and not self.is_mine(row):
            # The visitor's session key may be an old one, or one that only the cache knows of.
            raise SessionStoreUnavailable(
                Text("The session may have been changed in a cache that cannot be reached.")
            )
        return self._found(row)

    def _from_row(self) -> Operation[StoredSession | None]:
        row, _, _ = yield from self._row(self.names)
        return self._found(row)

    def _found(self, row: StoredSession | None) -> StoredSession | None:
        if row:
            self.homes.occurrences.note("fallback_loads")
        return row if row and self.is_mine(row) else None

    def _is_changed_in_transaction(self) -> Operation[bool]:
        self.has_all_names = True
        self.names = (self.name, *self.older_names())
        digests = [name.digest for name in self.names]
        changed: bool = yield IsChanged(self.homes.database_alias, digests)
        return changed

    def _lease(self, seen: _Seen) -> Operation[dict[SessionName, bytes]]:
        """Announce that rows are about to be read; return the tokens, none for those that ended."""
        words = (secrets.token_hex(8), LEASE_SECONDS, int(seen.is_rejected))
        replies = yield from ask_cache(
            self.homes, tuple(run(scripts.LEASE, (name.hash_key,), words) for name in self.names)
        )
        return {name: token for name, token in zip(self.names, replies, strict=True) if token}

    def _row(
        self, names: Sequence[SessionName]
    ) -> Operation[tuple[StoredSession | None, int, bool]]:
        """Return the row, the seconds that it has left, and whether it is committed."""
        loaded: rows.Loaded = yield from ask_database(
            self.homes, rows.load, tuple(name.digest for name in names)
        )
        by_digest = {row.sid: row for row in loaded.rows}
        for name in names:
            row = by_digest.get(name.digest)
            if row:
                created, saved, expires, version, user_tag, key, clock, fields, ttl = row[1:]
                stored = StoredSession(
                    name, created, saved, expires, version, user_tag, key, fields, clock
                )
                return stored, ttl, loaded.is_committed
        return None, 0, loaded.is_committed


def _fill_later(name: SessionName) -> Operation[None]:
    """After a transaction have the cache know of a session that was only read there."""
    with suppress(SessionStoreUnavailable):
        yield from load(name, tuple)


def _hand_over_waiting(homes: Homes) -> Operation[None]:
    """Bring a few sessions into the database that were saved in the cache alone.

    Those that this process remembers, and now and then those of others: who saved them may have
    been killed.
    """
    naming = get_configuration().naming
    names = homes.take_waiting(_HAND_OVER_SESSIONS)
    names += yield from outbox.search(homes, naming, _HAND_OVER_SESSIONS)
    if not names:
        return
    if (yield from is_open(homes.database_alias)):
        left: Sequence[SessionName] = names
    else:
        try:
            left = yield from hand_over(homes, naming, names)
        except SessionStoreUnavailable:
            left = names
    for name in left:
        # What the database refuses costs no other request anything; its own readers try again.
        if not homes.is_set_aside(name):
            homes.note_waiting(name)


def _look(homes: Homes, names: tuple[SessionName, ...]) -> Operation[_Seen]:
    """Return the session found in the cache, if any, and which primary answers for it."""
    commands = tuple(
        command for name in names for command in (*read_commands(name), ("TIME",), ORIGIN)
    )
    try:
        replies = iter((yield from ask_cache(homes, commands)))
    except ReplyTooLarge as problem:
        for name in names:
            security_logger.warning("Session %s rejected: %s.", name.sid, problem)
        return _Seen(is_rejected=True)
    is_rejected = False
    for name, fields, ttl, time_reply, origin in zip(names, *[replies] * 4, strict=True):
        homes.clock(name.bucket).note(time_reply)
        homes.note_origin(name.bucket, origin)
        if not homes.trusts(origin):
            yield from meet(homes, name.bucket)
        end_of = _end_of(fields)
        if end_of is not None:
            return _Seen(ended=name, end_of=end_of)
        try:
            stored = parse_session(name, fields, ttl)
        except InvalidValue as problem:
            security_logger.warning("Session %s rejected: %s.", name.sid, problem)
            is_rejected = True
            continue
        if stored:
            return _Seen(stored, homes.origin_of(stored))
    return _Seen(is_rejected=is_rejected)


def _ended_session(name: SessionName, end_of: EndOf) -> StoredSession:
    return StoredSession(name, end_of.created, 0, 0, 0, "", end_of.key, {})


def _end_of(fields: Any) -> EndOf | None:
    """Return what a tombstone says; `None` for anything else."""
    if not (isinstance(fields, list) and 2 <= len(fields) <= 6):
        return None
    words = dict(zip(fields[::2], fields[1::2], strict=True))
    return EndOf.read(words) if words.get(METADATA_FIELD.encode()) == PENDING_END else None


def _metadata(stored: StoredSession) -> str:
    return (
        f"{stored.created} {stored.saved} {stored.expires} {stored.version} {stored.user_tag} "
        f"{stored.key} {stored.clock}"
    )


def _fill(
    homes: Homes,
    stored: StoredSession,
    ttl: int,
    token: bytes,
    deadline: int,
    events: tuple[str, ...],
) -> Command:
    name = stored.name
    words = (
        name.sid,
        ttl,
        token,
        deadline,
        _metadata(stored),
        homes.mark(name.bucket),
        *operations.pairs(stored.fields),
    )
    return run(scripts.FILL, (name.hash_key, name.index_key, *events), words)
