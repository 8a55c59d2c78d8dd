"""The operations of the `cached_db` engine: the row is the truth, the hash its cache.

The same operations as in `operations`, each a generator as there. A write goes to the row first.
The hash follows where it shows the row as it was before; else it falls behind, and its next reader
brings it up to date (see `reading`). What cannot reach the cache marks its row, what cannot reach
the database waits in the hash (see `outbox`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from . import operations, outbox, row_upkeep, rows, scripts
from .conf import get_configuration
from .ending import delete as delete
from .ending import end_all as end_all
from .ending import tell_known_end
from .exceptions import DatabaseUnavailable, RowRefused, SessionStoreUnavailable
from .handing_over import hand_over
from .homes import Homes, ask_database, ask_here, get_homes, tell
from .keys import Naming, SessionName, stamp_of_key
from .operations import (
    MISSING,
    Command,
    NewSession,
    Operation,
    Outpaced,
    Save,
    StoredSession,
    Word,
    run,
)
from .reading import cached_now, creation, leave_behind
from .reading import load as load
from .texts import Text
from .transactions import Defer, is_open


def create(naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """See operations.create()."""
    homes = get_homes()
    if new.ttl <= 0:
        return True
    content = rows.Content(
        name.digest, new.ttl, new.created, new.user_tag, new.key, new.fields, new.stamp
    )
    try:
        written: rows.Written = yield from ask_database(homes, rows.create, content)
    except DatabaseUnavailable:
        return (yield from outbox.create(homes, naming, name, new))
    if not written.version:
        return False
    if written.is_committed:
        yield from creation(homes, naming, name, new)
    else:
        yield Defer(
            homes.database_alias,
            (name.digest,),
            lambda: creation(homes, naming, name, new),
        )
    return True


def save(naming: Naming, stored: StoredSession, change: Save) -> Operation[int | Outpaced]:
    """See operations.save()."""
    homes = get_homes()
    if change.ttl <= 0:
        yield from delete(naming, stored)
        return stored.version
    if _may_wait(change) and not (yield from is_open(homes.database_alias)):
        try:
            saved = yield from outbox.save_behind(homes, naming, stored, change)
            if saved not in (outbox.NOT_HERE, outbox.TOO_MANY):
                return saved
        except DatabaseUnavailable:
            raise
        except SessionStoreUnavailable:
            pass
    try:
        return (yield from _save_through(homes, naming, stored, change))
    except DatabaseUnavailable:
        return (yield from outbox.save(homes, naming, stored, change))


def _may_wait(change: Save) -> bool:
    """Tell whether a save may be written behind, outside a transaction.

    Whose a session is, and its KEY, go through: the rows are asked for a user's sessions. So does
    what Django checks of a user: it ends a session whose row lacks a new password's hash.
    """
    if not get_configuration().is_behind or change.user_tag is not None or change.rotated:
        return False
    return not change.replace and _AUTH_FIELDS.isdisjoint((*change.changed, *change.removed))


def _save_through(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int | Outpaced]:
    if stored.pending:
        yield from _hand_over_first(homes, naming, stored)
    for _ in range(_ATTEMPTS):
        patch = _patch(homes, stored, change)
        written: rows.Written = yield from ask_database(homes, rows.save, patch)
        if written.version:
            if change.removed and written.version % _BOUND_EVERY == 0:
                yield from ask_database(homes, row_upkeep.bound_removed, stored.name.digest)
            return (yield from _follow(homes, naming, stored, change, patch, written))
        refused = yield from _refused(homes, naming, stored, change)
        if refused is not None:
            return refused
    raise SessionStoreUnavailable(Text("The session kept changing while it was saved."))


def _hand_over_first(homes: Homes, naming: Naming, stored: StoredSession) -> Operation[None]:
    try:
        yield from hand_over(homes, naming, (stored.name,))
    except DatabaseUnavailable:
        raise
    except SessionStoreUnavailable:
        # The cache is away by now; what waits there is merged by stamps later.
        pass


def _patch(homes: Homes, stored: StoredSession, change: Save) -> rows.Patch:
    return rows.Patch(
        stored.name.digest,
        stored.key,
        None if change.is_touch else change.stamp,
        change.ttl,
        change.changed,
        change.removed,
        change.replace,
        change.user_tag,
        change.rotated,
        homes.cache.is_open,
        homes.server(stored.name.bucket),
    )


def _refused(
    homes: Homes, naming: Naming, stored: StoredSession, change: Save
) -> Operation[int | Outpaced | None]:
    """Return what a save comes to that the row did not take; `None` where it may take it now."""
    state = yield from _state(homes, stored.name)
    if state and state.is_ended:
        yield from tell_known_end(homes, naming, stored.name)
        return MISSING
    if state and state.row.ttl > 0:
        is_rotated = change.rotated and state.row.key == change.rotated.key
        if is_rotated or (state.row.key == stored.key and _is_done(state.row, change)):
            # Its reply was lost, and with it the version that the hash has to follow from.
            yield from leave_behind(homes, naming, stored.name, state.row.version)
            return state.row.version
        if state.row.key == stored.key:
            if state.row.clock < change.stamp:
                return None
            return Outpaced(state.row.clock, has_waited=True)
        if stamp_of_key(state.row.key) > stamp_of_key(stored.key):
            yield from leave_behind(homes, naming, stored.name, state.row.version)
            return MISSING
    # What the row lacks may wait in the cache: a session made or rotated there alone.
    cached = yield from cached_now(homes, stored.name)
    if cached and cached.key == stored.key and cached.pending:
        left = yield from hand_over(homes, naming, (stored.name,))
        if left:
            is_refused = homes.is_set_aside(stored.name)
            raise (RowRefused if is_refused else SessionStoreUnavailable)(outbox.WAITS)
        return None
    # Others may have handed it over since the row was asked.
    state = yield from _state(homes, stored.name)
    is_here = state and not state.is_ended and state.row.ttl > 0 and state.row.key == stored.key
    return None if is_here else MISSING


def _state(homes: Homes, name: SessionName) -> Operation[rows.State | None]:
    states = yield from ask_database(homes, rows.states, (name.digest,))
    return states.get(name.digest)


def _is_done(row: rows.Row, change: Save) -> bool:
    """Tell whether a row has this very save: its reply was lost. No two values are alike."""
    if row.clock != change.stamp or not change.changed or change.rotated:
        # Without a value nothing tells it from another save that has the same stamp.
        return False
    return row.fields.keys().isdisjoint(change.removed) and all(
        row.fields.get(name) == value for name, value in change.changed.items()
    )


def _follow(
    homes: Homes,
    naming: Naming,
    stored: StoredSession,
    change: Save,
    patch: rows.Patch,
    written: rows.Written,
) -> Operation[int]:
    version: int = written.version
    following = _following(stored.name, change, written.version - patch.step, version)
    # Last, for it has to be known which server it was that followed.
    commands = operations.with_user_commands(naming, stored, change, following)
    if stored.user_tag and change.user_tag is not None:
        # The row is another user's by now.
        commands = (operations.forget_user(naming, stored.user_tag, stored.name), *commands)
    if not written.is_committed:
        yield Defer(
            homes.database_alias,
            (stored.name.digest,),
            lambda: _tell(homes, stored.name, version, commands),
        )
        return version
    try:
        replies = yield from ask_here(homes, stored.name.bucket, commands)
    except SessionStoreUnavailable:
        if not patch.cache_stale:
            yield from ask_database(homes, rows.mark_stale, stored.name.digest)
        homes.note_marked((stored.name.digest,))
        return version
    if replies[-1] != _ENDED:
        return version
    # An end that waits for the database: whether it is one for this KEY, the row tells.
    left = yield from hand_over(homes, naming, (stored.name,))
    if left:
        raise SessionStoreUnavailable(Text("The session kept changing while it was saved."))
    state = yield from _state(homes, stored.name)
    return MISSING if state is None or state.is_ended else version


def _tell(
    homes: Homes, name: SessionName, version: int, commands: tuple[Command, ...]
) -> Operation[None]:
    """After a commit have the cache follow; until it has, the row is marked."""
    known = row_upkeep.Stale(name.digest, version, is_ended=False)
    try:
        told = yield from tell(homes, {name.bucket: commands})
    except SessionStoreUnavailable:
        homes.note_marked((name.digest,))
        return
    if not told.in_vain:
        # A mark that stays does no harm, and is found by others.
        with suppress(SessionStoreUnavailable):
            server = homes.server(name.bucket)
            yield from ask_database(homes, row_upkeep.unmark, (known,), server)


def _following(name: SessionName, change: Save, before: int, after: int) -> Command:
    words: tuple[Word, ...] = (name.sid, before, after, change.stamp, *change.words())
    return run(scripts.FOLLOW, (name.hash_key, name.index_key), words)


def prune(naming: Naming) -> Operation[int]:
    """See operations.prune(). Deletes expired rows too, in batches along the primary key."""
    homes = get_homes()
    deleted, last = 0, None
    while True:
        swept: Any = yield from ask_database(homes, row_upkeep.delete_expired, last, _SWEEP_ROWS)
        deleted += swept.deleted
        last = swept.last
        if last is None:
            break
    dropped = yield from operations.prune(naming)
    return int(deleted + dropped)


_AUTH_FIELDS = frozenset((SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY))
_ENDED = -1
_ATTEMPTS = 3
#: A save that removes fields looks that often whether the row remembers too many of them.
_BOUND_EVERY = 64
_SWEEP_ROWS = 1000
