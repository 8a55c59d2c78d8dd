"""The statements that look after the fallback rows: what the cache is to be told, what goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import dialect_of, merged_fields, sql, stamps_to_json
from .exceptions import InvalidValue
from .row_merge import bounded
from .rows import _COLUMNS, Row, row_of, states
from .statements import writes
from .transactions import changed_in

#: An expired row stays so long: its session may live on in a cache that waits for the database.
GRACE_SECONDS = 86_400


class Stale(NamedTuple):
    """A session whose hash may be older than its row."""

    sid: bytes
    version: int
    is_ended: bool


class Swept(NamedTuple):
    """What a sweep did: the last primary key of its range, `None` at the end, and rows deleted."""

    last: bytes | None
    deleted: int


def stale(connection: BaseDatabaseWrapper, limit: int) -> list[Stale]:
    """Return up to `limit` sessions whose hash may be older than their row.

    Without those that the open transaction has changed itself: nobody is to know of that yet.
    """
    own = changed_in(connection)
    # As in the index's condition, word for word: SQLite takes no other for the same.
    query = sql(
        connection,
        "SELECT sid, version, is_ended FROM {table} WHERE cache_stale = TRUE LIMIT %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [limit + len(own)])
        found = [Stale(bytes.fromhex(sid), version, bool(ended)) for sid, version, ended in cursor]
    return [row for row in found if row.sid not in own]


def stale_among(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> list[Stale]:
    """Return those of some sessions whose hash may be older than their row."""
    own = changed_in(connection)
    if own.issuperset(sids):
        return []
    places = ", ".join(["%s"] * len({*sids} - own))
    query = sql(
        connection,
        f"SELECT sid, version, is_ended FROM {{table}} WHERE sid IN ({places}) AND cache_stale",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex() for sid in {*sids} - own])
        return [Stale(bytes.fromhex(sid), version, bool(ended)) for sid, version, ended in cursor]


@writes
def unmark(connection: BaseDatabaseWrapper, mended: Sequence[Stale], server: str) -> bool:
    """Note that the cache knows of rows, unless they were saved again since.

    Nor where `server`, which was told, is the cache no more. `False` inside a transaction, which is
    not to hold others' rows: the marks stay.
    """
    if connection.in_atomic_block:
        return False
    where = " OR ".join(["(sid = %s AND version = %s)"] * len(mended))
    parameters = [word for row in mended for word in (row.sid.hex(), row.version)]
    _unmark(connection, where, parameters, server)
    return True


@writes
def unmark_ended(connection: BaseDatabaseWrapper, sids: Sequence[bytes], server: str) -> bool:
    """Note that the cache knows that sessions have ended: nothing comes after that.

    See unmark().
    """
    if connection.in_atomic_block:
        return False
    places = ", ".join(["%s"] * len(sids))
    where = f"is_ended AND sid IN ({places})"
    _unmark(connection, where, [sid.hex() for sid in sids], server)
    return True


def _unmark(
    connection: BaseDatabaseWrapper, where: str, parameters: Sequence[Any], server: str
) -> None:
    query = (
        f"UPDATE {{table}} SET cache_stale = NULL WHERE cache_stale AND ({where}) AND NOT EXISTS "
        "(SELECT 1 FROM {servers} WHERE name = %s AND successor <> '')"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), [*parameters, server])


def following(
    connection: BaseDatabaseWrapper, after: bytes | None, limit: int
) -> list[Row | bytes]:
    """Return rows of live sessions in the key's order; of a damaged one its `sid` alone."""
    since = " AND sid > %s" if after else ""
    query = sql(
        connection,
        f"SELECT {_COLUMNS}, expires - {{now}} FROM {{table}} "
        f"WHERE NOT is_ended AND expires > {{now}}{since} ORDER BY sid LIMIT %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [*([after.hex()] if after else []), limit])
        return [row_or_sid(found) for found in cursor.fetchall()]


@writes
def replace(
    connection: BaseDatabaseWrapper, sid: bytes, version: int, fields: Mapping[str, bytes]
) -> bool:
    """Replace values by the same values, encoded anew; `False` where somebody saved meanwhile."""
    merged, parameters = merged_fields(connection, fields, ())
    query = sql(
        connection,
        f"UPDATE {{table}} SET fields = {merged} WHERE sid = %s AND version = %s AND NOT is_ended",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [*parameters, sid.hex(), version])
        return bool(cursor.rowcount == 1)


@writes
def bound_removed(connection: BaseDatabaseWrapper, sid: bytes) -> None:
    """Have a row keep the stamps of the newest removed fields by themselves alone."""
    state = states(connection, [sid]).get(sid)
    if state is None:
        return
    removed, cleared = bounded(state.removed, state.cleared)
    if len(removed) == len(state.removed):
        return
    json = dialect_of(connection).json
    query = sql(
        connection,
        f"UPDATE {{table}} SET removed = {json}, cleared = %s WHERE sid = %s AND version = %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [stamps_to_json(removed), cleared, sid.hex(), state.row.version])


@writes
def delete_expired(connection: BaseDatabaseWrapper, after: bytes | None, limit: int) -> Swept:
    """Delete what has expired among `limit` rows in the key's order.

    The rows of ended sessions too, unless the cache is still to be told.
    """
    since = " AND sid > %s" if after else ""
    lower = [after.hex()] if after else []
    last_of_range = sql(
        connection,
        f"SELECT sid FROM {{table}} WHERE TRUE{since} ORDER BY sid LIMIT 1 OFFSET %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(last_of_range, [*lower, limit - 1])
        found = cursor.fetchone()
        last = bytes.fromhex(found[0]) if found else None
        until = " AND sid <= %s" if last else ""
        delete = sql(
            connection,
            "DELETE FROM {table} WHERE expires <= {now} AND "
            f"(is_ended OR expires <= {{now}} - {GRACE_SECONDS}) AND cache_stale IS NULL"
            f"{since}{until}",
        )
        cursor.execute(delete, [*lower, *([last.hex()] if last else [])])
        return Swept(last, cursor.rowcount)


def row_or_sid(found: Sequence[Any]) -> Row | bytes:
    """Make sense of what a statement returned; of a damaged row return its `sid` alone."""
    try:
        return row_of(found)
    except InvalidValue:
        return bytes.fromhex(found[0])
