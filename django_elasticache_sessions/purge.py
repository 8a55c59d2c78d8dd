"""Ending many sessions at once, and keeping the indexes tidy, for `clearsessions_cache`.

Everything is done in batches: the memory is that of a batch, no script ends more than a hundred
sessions, and whatever is cut off may be started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from . import fallback, lost_indexes, operations, row_listing, scripts
from .backends.base import HashSessionStore
from .conf import get_configuration
from .drivers import sync
from .exceptions import ForeignType, SessionStoreUnavailable
from .homes import ask_database, get_homes
from .keys import Naming, SessionName, is_sid, portions
from .live import get_store_class
from .operations import CLOCK, TOMBSTONE_SECONDS, Operation, run
from .rows import NEVER, Conditions
from .signals import announce_ends

#: Sessions looked at in one round trip, where nobody says how many.
BATCH_SIZE = 1000
#: Those of rows, or of a user, lie in all buckets; a script ends those of one: of a thousand, four.
SPREAD_BATCH_SIZE = 5000
# From the script for hashes.
_GONE = -1
_REASON = "purged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which sessions to end: those for which all of it holds.

    `idle_for` and `older_than` count from the last save and from the creation; `user_ids`, where
    there are any, are those of the users whose sessions are meant.
    """

    idle_for: timedelta | None = None
    older_than: timedelta | None = None
    user_ids: tuple[str, ...] = ()
    anonymous: bool = False

    @property
    def goes_by_age(self) -> bool:
        """Whether it matters what time it is."""
        return self.idle_for is not None or self.older_than is not None

    def conditions(self, user_tag: str | None, now: int) -> Conditions:
        """Return what holds for those of one user, of nobody (empty) or of all (`None`).

        `now` is in seconds since the epoch, by a clock of the stores.
        """
        return Conditions(_before(now, self.idle_for), _before(now, self.older_than), user_tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of sessions: looked at, and ended, or to be ended in a dry run."""

    seen: int = 0
    ended: int = 0


Progress = Callable[[Tally], None]


def prune() -> int:
    """Drop what has expired: entries of the indexes, and rows; return how many went.

    Raises `SessionStoreUnavailable`.
    """
    configuration = get_configuration()
    operation = get_store_class()._operations.prune(configuration.naming)
    pruned: int = sync.get_driver(configuration.alias).run(operation)
    return pruned


def purge(
    selection: Selection,
    *,
    batch_size: int | None = None,
    dry_run: bool = False,
    progress: Progress,
) -> Tally:
    """End the selected sessions, `batch_size` at a time; return the counts.

    `progress` is told after each batch. Raises `SessionStoreUnavailable`; what was ended by then
    stays ended.
    """
    configuration = get_configuration()
    sessions = _Purge(get_store_class(), configuration.naming, batch_size, dry_run, progress)
    operation = sessions.of_users(selection) if selection.user_ids else sessions.of_all(selection)
    sync.get_driver(configuration.alias).run(operation)
    return sessions.tally


def reindex(*, batch_size: int | None = None, progress: Progress) -> Tally:
    """Enter every session of the cache in the indexes, and take out entries of those that are gone.

    Returns the counts of sessions entered (`seen`) and of entries dropped (`ended`). Raises
    `SessionStoreUnavailable`.
    """
    configuration = get_configuration()
    driver = sync.get_driver(configuration.alias)
    return driver.run(_reindex(configuration.naming, batch_size or BATCH_SIZE, progress))


class _Purge:
    def __init__(
        self,
        store_class: type[HashSessionStore],
        naming: Naming,
        batch_size: int | None,
        dry_run: bool,
        progress: Progress,
    ) -> None:
        self.store_class = store_class
        self.naming = naming
        self.has_rows = store_class._operations is fallback
        self.batch_size = batch_size or BATCH_SIZE
        self.spread_batch_size = batch_size or SPREAD_BATCH_SIZE
        self.dry_run = dry_run
        self.progress = progress
        self.tally = Tally()

    def of_users(self, selection: Selection) -> Operation[None]:
        now = yield from self._now(selection)
        for user_id in selection.user_ids:
            for user_tag in self.naming.user_tags(user_id):
                conditions = selection.conditions(user_tag, now)
                if self.has_rows:
                    yield from self._of_rows(conditions)
                else:
                    yield from self._of_user(user_id, user_tag, conditions)

    def _of_user(self, user_id: str, user_tag: str, conditions: Conditions) -> Operation[None]:
        """End a user's sessions by the user's index, or where that lacks some by all hashes."""
        index_key = self.naming.user_index(user_tag)
        doubt = yield from lost_indexes.look(self.naming, user_id)
        if doubt.has_evicted:
            yield from self._of_hashes(index_key, conditions)
            return
        seen = self.tally.seen
        yield from self._of_index(index_key, conditions, self.spread_batch_size)
        if self.tally.seen == seen and doubt.may_scan:
            # The index may have been emptied.
            yield from self._of_hashes(index_key, conditions)

    def _of_hashes(self, index_key: str, conditions: Conditions) -> Operation[None]:
        cursor = b"0"
        while True:
            cursor, names = yield from operations.scan(self.naming, cursor, self.batch_size)
            for batch in _batches(names, self.batch_size):
                yield from self._of_names(index_key, conditions, batch)
            if cursor == b"0":
                return

    def of_all(self, selection: Selection) -> Operation[None]:
        now = yield from self._now(selection)
        conditions = selection.conditions("" if selection.anonymous else None, now)
        if self.has_rows:
            yield from self._of_rows(conditions)
            return
        for index_key in self.naming.live_indexes():
            yield from self._of_index(index_key, conditions, self.batch_size)

    def _now(self, selection: Selection) -> Operation[int]:
        """Return the time by the stores; of several clocks that which is behind ends the fewest.

        This machine's own has no say: it may not be one of those that sessions are saved by.
        """
        if not selection.goes_by_age:
            return 0
        if not self.has_rows:
            return min((yield from _cache_clocks()))
        clocks: list[int] = [(yield from ask_database(get_homes(), row_listing.now))]
        # The rows can do without.
        with suppress(SessionStoreUnavailable):
            clocks += yield from _cache_clocks()
        return min(clocks)

    def _of_rows(self, conditions: Conditions) -> Operation[None]:
        last = b""
        while True:
            found = yield from ask_database(
                get_homes(),
                row_listing.following,
                last,
                self.spread_batch_size,
                conditions=conditions,
            )
            if not found:
                return
            names = [self.naming.from_digest(sid) for sid, _ in found]
            ended = names
            if not self.dry_run:
                tags = [tag for _, tag in found]
                done = yield from fallback.end_all(
                    self.naming, names, user_tags=tags, conditions=conditions
                )
                ended = done.names
                yield from self._announce(ended)
            self._note(seen=len(names), ended=len(ended))
            last, _ = found[-1]

    def _of_index(self, index_key: str, conditions: Conditions, batch_size: int) -> Operation[None]:
        cursor = b"0"
        while True:
            [reply] = yield (("ZSCAN", index_key, cursor, "COUNT", batch_size),)
            if isinstance(reply, ForeignType):
                return
            cursor, entries = reply
            yield from self._of_names(index_key, conditions, _named(self.naming, entries))
            if cursor == b"0":
                return

    def _of_names(
        self, index_key: str, conditions: Conditions, names: Sequence[SessionName]
    ) -> Operation[None]:
        found_in = portions(names)
        if not found_in:
            return
        replies = yield tuple(
            run(
                scripts.PURGE,
                (
                    portion[0].index_key,
                    self.naming.events(portion[0].bucket),
                    self.naming.pending_set(portion[0].bucket),
                    *(name.hash_key for name in portion),
                ),
                (
                    int(self.dry_run),
                    *conditions.words(),
                    TOMBSTONE_SECONDS,
                    *(name.sid for name in portion),
                ),
            )
            for portion in found_in
        )
        looked_at = [name for portion in found_in for name in portion]
        tags = [tag for reply in replies for tag in reply]
        found = list(zip(looked_at, tags, strict=True))
        ended = [(name, tag.decode()) for name, tag in found if isinstance(tag, bytes)]
        if not self.dry_run:
            gone = [name.sid for name, tag in found if tag == _GONE]
            if gone:
                yield (("ZREM", index_key, *gone),)
            forgetting = operations.forget_users(self.naming, ended)
            if forgetting:
                yield tuple(forgetting)
            yield from self._announce([name for name, _ in ended])
        self._note(seen=len(names), ended=len(ended))

    def _announce(self, names: Iterable[SessionName]) -> Operation[None]:
        return announce_ends(self.store_class, (name.sid for name in names), _REASON)

    def _note(self, *, seen: int, ended: int) -> None:
        self.tally = Tally(seen=self.tally.seen + seen, ended=self.tally.ended + ended)
        self.progress(self.tally)


def _reindex(naming: Naming, batch_size: int, progress: Progress) -> Operation[Tally]:
    tally = Tally()
    cursor = b"0"
    while True:
        cursor, names = yield from operations.scan(naming, cursor, batch_size)
        for batch in _batches(names, batch_size):
            entered = yield from _enter(naming, batch)
            tally = replace(tally, seen=tally.seen + entered)
            progress(tally)
        if cursor == b"0":
            break
    for index_key in naming.live_indexes():
        cursor = b"0"
        while True:
            [reply] = yield (("ZSCAN", index_key, cursor, "COUNT", batch_size),)
            if isinstance(reply, ForeignType):
                break
            cursor, entries = reply
            dropped = yield from _drop_orphans(naming, index_key, entries[::2])
            tally = replace(tally, ended=tally.ended + dropped)
            if cursor == b"0":
                break
    return tally


def _enter(naming: Naming, names: Sequence[SessionName]) -> Operation[int]:
    if not names:
        return 0
    replies = yield tuple(
        run(scripts.REINDEX, (name.hash_key, name.index_key), (name.sid,)) for name in names
    )
    found = [(name, *reply) for name, reply in zip(names, replies, strict=True) if reply != 0]
    commands = tuple(
        operations.index_user(naming, tag.decode(), name, ttl) for name, ttl, tag in found if tag
    )
    if commands:
        yield commands
    return len(found)


def _drop_orphans(naming: Naming, index_key: str, sids: Sequence[bytes]) -> Operation[int]:
    """Take out what names no session here; one that comes back is entered by its next save."""
    foreign = [sid for sid in sids if not is_sid(sid.decode("ascii", "replace"))]
    names = _named(naming, [word for sid in sids for word in (sid, b"")])
    replies = yield (("TIME",), *(("EXISTS", name.hash_key) for name in names))
    gone = [name.sid for name, there in zip(names, replies[1:], strict=True) if not there]
    if not foreign and not gone:
        return 0
    yield (("ZREM", index_key, *foreign, *gone),)
    return len(foreign) + len(gone)


def _named(naming: Naming, entries: Sequence[bytes]) -> list[SessionName]:
    sids = (sid.decode("ascii", "replace") for sid in entries[::2])
    return [naming.from_sid(sid) for sid in sids if is_sid(sid)]


def _batches(names: Sequence[SessionName], size: int) -> Iterator[Sequence[SessionName]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _cache_clocks() -> Operation[list[int]]:
    [reply] = yield (CLOCK,)
    # Of a cluster, each primary's.
    clocks = reply if isinstance(reply[0], list) else [reply]
    return [int(seconds) for seconds, _ in clocks]


def _before(now: int, age: timedelta | None) -> int:
    return NEVER if age is None else int(now - age.total_seconds())
