"""Handing over what waits in a hash: merging it into the row, field by field.

A field is taken where its stamp is newer than the row's. The stamps of a row's fields only rise, so
handing over twice, late or in another order changes nothing that a newer write decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper

from .codec import stamp_of
from .dialects import dialect_of, sql
from .fields import loaded_name
from .keys import stamp_of_key
from .operations import PENDING_EXPIRY, PENDING_KEY, StoredSession
from .row_servers import marking
from .rows import LATE_SECONDS, Content, State, inserted, insertion, is_duplicate
from .statements import writes

#: Stamps of removed fields that a row keeps; older ones become one.
_MOST_REMOVED = 64


class Merged(NamedTuple):
    """A row after a hand-over: `content` is `None` where nothing changes.

    `before` and `after` are its versions; `has_newer` where the row had something newer.
    """

    sid: bytes
    before: int
    after: int
    has_newer: bool
    content: Content | None


def merge(state: State | None, cached: StoredSession, ttl: int) -> Merged:
    """Merge what is pending in a hash into its row; `ttl` in seconds is that of the hash."""
    sid = cached.name.digest
    # When the hash was read, and a day.
    latest = cached.expires - ttl + LATE_SECONDS
    if state is None:
        first = Content(
            sid,
            ttl,
            cached.created,
            cached.user_tag,
            cached.key,
            cached.fields,
            cached.clock,
            latest=latest,
        )
        return Merged(sid, 0, 1, has_newer=False, content=first)
    merging = _Merging(state, cached)
    for name, stamp in cached.pending.items():
        merging.take(name, stamp)
    return merging.result(ttl, latest)


class _Merging:
    def __init__(self, state: State, cached: StoredSession) -> None:
        self.state, self.cached = state, cached
        self.key, self.created = state.row.key, state.row.created
        self.user_tag = state.row.user_tag
        self.fields = dict(state.row.fields)
        self.removed = dict(state.removed)
        self.has_newer = self.has_taken = False
        # A row without life was written too late; see `insertion`.
        self.keeps_longer = state.row.expires == 0

    def take(self, name: str, stamp: int) -> None:
        if name == PENDING_KEY:
            self._take_key(stamp)
        elif name == PENDING_EXPIRY:
            self.keeps_longer |= self.cached.saved > self.state.row.saved
        else:
            self._take_field(loaded_name(name), stamp)

    def _take_key(self, stamp: int) -> None:
        if stamp > stamp_of_key(self.key):
            self.key, self.created = self.cached.key, self.cached.created
            self.has_taken = True
        elif self.key != self.cached.key:
            self.has_newer = True

    def _take_field(self, name: str, stamp: int) -> None:
        value = self.cached.fields.get(name)
        if stamp <= self._stamp(name):
            self.has_newer = self.has_newer or self.fields.get(name) != value
            return
        if value is None:
            self.fields.pop(name, None)
            self.removed[name] = stamp
        else:
            self.fields[name] = value
        if name == USER_ID_FIELD:
            self.user_tag = self.cached.user_tag
        self.has_taken = True

    def _stamp(self, name: str) -> int:
        removed = max(self.removed.get(name, 0), self.state.cleared)
        return max(removed, stamp_of(self.fields[name])) if name in self.fields else removed

    def result(self, ttl: int, latest: int) -> Merged:
        row, sid = self.state.row, self.state.row.sid
        if not self.has_taken and not self.keeps_longer:
            return Merged(sid, row.version, row.version, self.has_newer, None)
        content = Content(
            sid,
            ttl if self.keeps_longer else row.ttl,
            self.created,
            self.user_tag,
            self.key,
            self.fields,
            max(row.clock, self.cached.clock),
            row.version + 1,
            *bounded(self.removed, self.state.cleared),
            latest,
        )
        return Merged(sid, row.version, row.version + 1, self.has_newer, content)


def bounded(removed: dict[str, int], cleared: int) -> tuple[dict[str, int], int]:
    """Return `removed` with the newest stamps, and `cleared` with the newest of the others."""
    if len(removed) <= _MOST_REMOVED:
        return removed, cleared
    newest = sorted(removed, key=lambda name: removed[name], reverse=True)[:_MOST_REMOVED]
    dropped = max(stamp for name, stamp in removed.items() if name not in newest)
    return {name: removed[name] for name in newest}, max(cleared, dropped)


@writes
def write(
    connection: BaseDatabaseWrapper, merged: Sequence[Content], server: str = ""
) -> set[bytes]:
    """Replace rows that are still as they were when they were merged; return their `sid`s.

    `server` is the one that they come from; see `row_servers`.
    """
    # Everybody locks rows in the same order.
    in_order = sorted(merged, key=lambda content: content.sid)
    if dialect_of(connection).has_conditional_upsert:
        return _write_all(connection, in_order, server)
    return {content.sid for content in in_order if _write_one(connection, content, server)}


def _write_all(
    connection: BaseDatabaseWrapper, merged: Sequence[Content], server: str
) -> set[bytes]:
    theirs = dialect_of(connection).excluded.format
    columns = (*_REPLACED, "expires", "version")
    sets = ", ".join(f"{name} = {theirs(name)}" for name in columns)
    marked, of_marked = marking(server)
    query = (
        f"{insertion(connection, ended='FALSE', rows=len(merged))}"
        f"{dialect_of(connection).on_conflict}{sets}, saved = {theirs('saved')}, "
        f"cache_stale = {marked} "
        f"WHERE NOT {{table}}.is_ended AND {{table}}.version = {theirs('version')} - 1 "
        f"AND {theirs('expires')} > 0 RETURNING sid, expires"
    )
    parameters = [word for content in merged for word in inserted(connection, content)]
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), [*parameters, *of_marked])
        # One that came too late has made a row without life, which the next one replaces.
        return {bytes.fromhex(sid) for sid, expires in cursor.fetchall() if expires}


def _write_one(connection: BaseDatabaseWrapper, content: Content, server: str) -> bool:
    if content.version == 1:
        return _insert(connection, content)
    json = dialect_of(connection).json
    sets = ", ".join(
        f"{name} = {json if name in ('fields', 'removed') else '%s'}" for name in _REPLACED
    )
    marked, of_marked = marking(server)
    query = (
        f"UPDATE {{table}} SET {sets}, cache_stale = {marked}, saved = {{now}}, "
        "expires = {now} + %s, version = %s "
        "WHERE sid = %s AND NOT is_ended AND version = %s AND {now} < %s"
    )
    sid, fields, removed, cleared, tag, created, key, clock, version, latest, ttl, _ = inserted(
        connection, content
    )
    replaced: list[Any] = [fields, removed, cleared, tag, created, key, clock]
    with connection.cursor() as cursor:
        cursor.execute(
            sql(connection, query),
            [*replaced, *of_marked, ttl, version, sid, content.version - 1, latest],
        )
        return bool(cursor.rowcount == 1)


def _insert(connection: BaseDatabaseWrapper, content: Content) -> bool:
    query = sql(connection, insertion(connection, ended="FALSE"))
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, inserted(connection, content))
            return True
    except IntegrityError as error:
        if not is_duplicate(error):
            raise
        return False


_REPLACED = ("fields", "removed", "cleared", "user_tag", "created", "validator", "clock")
