"""The statements of requests on the fallback rows.

Each is one SQL statement, unless it says otherwise. Times are the database's: an application server
whose clock is wrong neither ends nor prolongs a session. What is written inside a transaction is
not committed yet: such rows are marked, in the same statement, as newer than the cache, and stay so
until the cache was told after the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import (
    among,
    dialect_of,
    from_json,
    merged_fields,
    merged_stamps,
    sql,
    stamps_from_json,
    stamps_to_json,
    to_json,
)
from .row_servers import marking
from .statements import writes

#: Seconds that the row of an ended session stays at least.
ENDED_SECONDS = 14 * 86_400
#: A time that does not come, in seconds since the epoch.
NEVER = 2**53
#: In one statement; SQLite may take no more than 32,766 parameters.
_INSERTED_ROWS = 1000
_DUPLICATE = 1062
#: So many seconds late a hand-over may put off a session's expiry: it is repeated.
LATE_SECONDS = 86_400
_COLUMNS = "sid, created, saved, expires, version, user_tag, validator, clock, fields"


class Row(NamedTuple):
    """A session's row; `ttl` in seconds, the rest as in `FallbackSession`."""

    sid: bytes
    created: int
    saved: int
    expires: int
    version: int
    user_tag: str
    key: str
    clock: int
    fields: dict[str, bytes]
    ttl: int


class State(NamedTuple):
    """All of a row, whether its session lives or not."""

    row: Row
    is_ended: bool
    removed: dict[str, int]
    cleared: int


class Content(NamedTuple):
    """What a row is to hold; `ttl` in seconds, `created` in microseconds since the epoch.

    A statement that arrives after `latest`, in seconds since the epoch, gives the session no life.
    """

    sid: bytes
    ttl: int
    created: int
    user_tag: str
    key: str
    fields: Mapping[str, bytes]
    clock: int
    version: int = 1
    removed: Mapping[str, int] = {}
    cleared: int = 0
    latest: int = NEVER


class Patch(NamedTuple):
    """What a save changes in a row; as in `operations.Save`.

    `key` is the KEY that the row must have, and `stamp` that of the values, `None` for a touch.
    """

    sid: bytes
    key: str
    stamp: int | None
    ttl: int
    changed: Mapping[str, bytes]
    removed: Sequence[str]
    replace: bool
    user_tag: str | None
    rotated: tuple[str, int] | None
    cache_stale: bool
    #: The cache server in use; see `row_servers`.
    server: str = ""

    @property
    def step(self) -> int:
        """By how much the version rises: not at all for a touch."""
        return 0 if self.stamp is None else 1


class Written(NamedTuple):
    """What a statement did, by the row's version (0: nothing), and whether that is committed."""

    version: int
    is_committed: bool


class Loaded(NamedTuple):
    """Rows, and whether they are what everybody sees: not inside a transaction."""

    rows: list[Row]
    is_committed: bool


class Conditions(NamedTuple):
    """Which sessions are meant: saved and created no later than that, in seconds since the epoch.

    `user_tag` is that of their user, empty for those without a user, `None` for all.
    """

    saved_until: int = NEVER
    created_until: int = NEVER
    user_tag: str | None = None

    def words(self) -> tuple[int | str, int | str, str]:
        """Return what scripts are told; see is_meant()."""
        whose = "*" if self.user_tag is None else self.user_tag
        if self == _NONE:
            return "", "", whose
        return self.saved_until, self.created_until, whose

    def sql(self) -> tuple[str, list[Any]]:
        """Return SQL that holds for their rows, and its parameters."""
        created_until_microseconds = min(self.created_until * 1_000_000, 2**63 - 1)
        where, parameters = (
            "saved <= %s AND created <= %s",
            [self.saved_until, created_until_microseconds],
        )
        if self.user_tag is None:
            return where, parameters
        return f"{where} AND user_tag = %s", [*parameters, self.user_tag]


_NONE = Conditions()


def load(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> Loaded:
    """Return the rows of the sessions that live, of those asked for.

    Raises `InvalidValue` for a row that cannot be a session's.
    """
    query = sql(
        connection,
        f"SELECT {_COLUMNS}, expires - {{now}} FROM {{table}} "
        f"WHERE sid IN ({_places(sids)}) AND NOT is_ended AND expires > {{now}}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex() for sid in sids])
        rows = [row_of(found) for found in cursor.fetchall()]
    return Loaded(rows, not connection.in_atomic_block)


def states(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> dict[bytes, State]:
    """Return whatever rows there are, those of ended and expired sessions too.

    Raises `InvalidValue` for a row that cannot be a session's.
    """
    query = sql(
        connection,
        f"SELECT {_COLUMNS}, expires - {{now}}, is_ended, removed, cleared FROM {{table}} "
        f"WHERE sid IN ({_places(sids)})",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex() for sid in sids])
        found = [
            State(row_of(columns), bool(is_ended), stamps_from_json(removed), cleared)
            for *columns, is_ended, removed, cleared in cursor.fetchall()
        ]
    return {state.row.sid: state for state in found}


@writes
def create(connection: BaseDatabaseWrapper, new: Content) -> Written:
    """Insert a session's first row; version 0 where there is one.

    A repeat after a lost reply finds its own row.
    """
    cache_stale = connection.in_atomic_block
    query = sql(connection, insertion(connection, ended="FALSE"))
    if dialect_of(connection).has_conditional_upsert:
        query += " ON CONFLICT (sid) DO NOTHING"
    is_new = False
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, inserted(connection, new, cache_stale=cache_stale))
            is_new = cursor.rowcount == 1
    except IntegrityError as error:
        # MySQL has no way to leave out a row that is there, and nothing else.
        if not is_duplicate(error):
            raise
    if not is_new:
        is_new = any(row.key == new.key for row in load(connection, [new.sid]).rows)
    return Written(int(is_new), not cache_stale)


def is_duplicate(error: IntegrityError) -> bool:
    """Tell whether a row was not inserted for being there, as MySQL says it."""
    return bool(error.args and error.args[0] == _DUPLICATE)


@writes
def save(connection: BaseDatabaseWrapper, patch: Patch) -> Written:
    """Merge changes into a session's row.

    Version 0 where nothing was done: the session is gone, or has another KEY, or a stamp that is
    not older than this save's; states() tells which.
    """
    dialect = dialect_of(connection)
    cache_stale = patch.cache_stale or connection.in_atomic_block
    sets, parameters = _saved_sets(connection, patch)
    if cache_stale:
        sets.append("cache_stale = TRUE")
    elif patch.server:
        marked, words = marking(patch.server)
        sets.append(f"cache_stale = {marked}")
        parameters += words
    where = "sid = %s AND validator = %s AND NOT is_ended AND expires > {now}"
    parameters += [patch.sid.hex(), patch.key]
    if patch.stamp is not None:
        where += " AND clock < %s"
        parameters.append(patch.stamp)
    query = f"UPDATE {{table}} SET {', '.join(sets)} WHERE {where}{dialect.returning}"
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), parameters)
        if not dialect.returning:
            version = int(cursor.lastrowid) if cursor.rowcount else 0
        else:
            found = cursor.fetchone()
            version = found[0] if found else 0
    return Written(version, not connection.in_atomic_block)


def _saved_sets(connection: BaseDatabaseWrapper, patch: Patch) -> tuple[list[str], list[Any]]:
    raised = dialect_of(connection).raised.format("{table}.version + %s")
    sets = [f"version = {raised}", "saved = {now}", "expires = {now} + %s"]
    parameters: list[Any] = [patch.step, patch.ttl]
    if patch.stamp is None:
        return sets, parameters
    sets.append("clock = %s")
    parameters.append(patch.stamp)
    if patch.replace:
        sets += [
            f"fields = {dialect_of(connection).json}",
            f"removed = {dialect_of(connection).json}",
            "cleared = %s",
        ]
        parameters += [to_json(patch.changed), "{}", patch.stamp]
    elif patch.changed or patch.removed:
        expression, words = merged_fields(connection, patch.changed, patch.removed)
        sets.append(f"fields = {expression}")
        parameters += words
    if patch.removed and not patch.replace:
        expression, words = merged_stamps(connection, patch.removed, patch.stamp)
        sets.append(f"removed = {expression}")
        parameters += words
    if patch.user_tag is not None:
        sets.append("user_tag = %s")
        parameters.append(patch.user_tag)
    if patch.rotated is not None:
        sets += ["validator = %s", "created = %s"]
        parameters += patch.rotated
    return sets, parameters


class Ended(NamedTuple):
    """The sessions that a statement ended, by `sid`, and whether that is committed."""

    sids: list[bytes]
    is_committed: bool


@writes
def end(
    connection: BaseDatabaseWrapper,
    sids: Sequence[bytes],
    *,
    cache_stale: bool,
    key: str | None = None,
    conditions: Conditions | None = None,
    server: str = "",
) -> Ended:
    """End those sessions that live, and that are meant, for good.

    With `key`, only those with this KEY. MySQL takes two statements, in a transaction, for more
    than one.
    """
    cache_stale = cache_stale or connection.in_atomic_block
    stale, of_stale = ("TRUE", []) if cache_stale else marking(server)
    named, parameters = among(connection, sids)
    where = f"WHERE {named} AND NOT is_ended"
    if key is not None:
        where, parameters = f"{where} AND validator = %s", [*parameters, key]
    if conditions is not None:
        meant, more = conditions.sql()
        where, parameters = f"{where} AND {meant}", [*parameters, *more]
    update = sql(connection, f"UPDATE {{table}} SET {_ended_sets(connection, stale)} {where}")
    with_stale = [*of_stale, *parameters]
    is_committed = not connection.in_atomic_block
    with connection.cursor() as cursor:
        if len(sids) == 1:
            cursor.execute(update, with_stale)
            return Ended(list(sids) if cursor.rowcount else [], is_committed)
        if dialect_of(connection).returning:
            cursor.execute(f"{update} RETURNING sid", with_stale)
            return Ended([bytes.fromhex(sid) for (sid,) in cursor.fetchall()], is_committed)
        with transaction.atomic(using=connection.alias):
            cursor.execute(
                sql(connection, f"SELECT sid FROM {{table}} {where} FOR UPDATE"), parameters
            )
            found = [bytes.fromhex(sid) for (sid,) in cursor.fetchall()]
            cursor.execute(update, with_stale)
            return Ended(found, is_committed)


@writes
def end_unknown(
    connection: BaseDatabaseWrapper, sids: Iterable[bytes], *, cache_stale: bool, seconds: int = 0
) -> None:
    """End sessions for good that need not have a row; a statement inserts a thousand.

    `seconds` is how long a copy of any of them could live, where that is known.
    """
    cache_stale = cache_stale or connection.in_atomic_block
    query = sql(
        connection,
        dialect_of(connection).on_conflict
        + _ended_sets(connection, "TRUE" if cache_stale else "NULL"),
    )
    # Everybody locks rows in the same order.
    in_order = sorted(set(sids))
    with connection.cursor() as cursor:
        for start in range(0, len(in_order), _INSERTED_ROWS):
            portion = in_order[start : start + _INSERTED_ROWS]
            insert = sql(connection, insertion(connection, ended="TRUE", rows=len(portion)))
            parameters = [
                word
                for sid in portion
                for word in inserted(
                    connection,
                    Content(sid, max(seconds, ended_seconds()), 0, "", "", {}, 0),
                    cache_stale=cache_stale,
                )
            ]
            cursor.execute(insert + query, parameters)


@writes
def mark_stale(connection: BaseDatabaseWrapper, sid: bytes) -> None:
    """Note that the hash of a session may be older than its row."""
    query = sql(connection, "UPDATE {table} SET cache_stale = TRUE WHERE sid = %s")
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex()])


def ended_seconds() -> int:
    """Return how long the row of an ended session stays: longer than any copy of it could live."""
    return max(ENDED_SECONDS, int(settings.SESSION_COOKIE_AGE))


def insertion(connection: BaseDatabaseWrapper, *, ended: str, rows: int = 1) -> str:
    """Return the start of an INSERT, whose parameters are those of `inserted`.

    One that arrives a day late may find no tombstone any more: what it makes has expired.
    """
    json = dialect_of(connection).json
    expires = "CASE WHEN {now} < %s THEN {now} + %s ELSE 0 END"
    row = f"(%s, {json}, {json}, %s, %s, %s, %s, %s, %s, {expires}, %s, {{now}}, {ended})"
    return (
        "INSERT INTO {table} (sid, fields, removed, cleared, user_tag, created, validator, clock, "
        "version, expires, cache_stale, saved, is_ended) VALUES " + ", ".join([row] * rows)
    )


def inserted(
    connection: BaseDatabaseWrapper,
    new: Content,
    *,
    cache_stale: bool = False,
) -> list[Any]:
    """Return the parameters of one row of an INSERT."""
    return [
        new.sid.hex(),
        to_json(new.fields),
        stamps_to_json(new.removed),
        new.cleared,
        new.user_tag,
        new.created,
        new.key,
        new.clock,
        new.version,
        new.latest,
        new.ttl,
        cache_stale or None,
    ]


def row_of(found: Sequence[Any]) -> Row:
    """Make sense of what a statement returned. Raises `InvalidValue`."""
    sid, created, saved, expires, version, user_tag, key, clock, fields, ttl = found
    return Row(
        bytes.fromhex(sid),
        created,
        saved,
        expires,
        version,
        user_tag,
        key,
        clock,
        from_json(fields),
        ttl,
    )


def _ended_sets(connection: BaseDatabaseWrapper, stale: str) -> str:
    dialect = dialect_of(connection)
    empty = dialect.json.replace("%s", "'{{}}'")
    # Not before what lives longer, by a set_expiry() of its own.
    expires = f"{dialect.greatest}({{table}}.expires, {{now}} + {ended_seconds()})"
    return (
        f"fields = {empty}, removed = {empty}, user_tag = '', saved = {{now}}, is_ended = TRUE, "
        f"expires = {expires}, version = {{table}}.version + 1, cache_stale = {stale}"
    )


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))
