"""The statements on the fallback rows.

Each is one SQL statement, unless it says otherwise. Times are the database's: an application server
whose clock is wrong neither ends nor prolongs a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.contrib.sessions.backends.base import CreateError
from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import among, dialect_of, from_json, sql, to_json
from .exceptions import InvalidValue

#: Seconds that the row of an ended session stays, so that nothing brings the session back.
ENDED_SECONDS = 3600
#: A time that does not come, in seconds since the epoch.
NEVER = 2**53
#: In one statement; SQLite may take no more than 32,766 parameters.
_INSERTED_ROWS = 1000


class Row(NamedTuple):
    """A session's row; `ttl` in seconds, the rest as in `FallbackSession`."""

    sid: bytes
    created: int
    saved: int
    expires: int
    version: int
    user_tag: str
    fields: dict[str, bytes]
    ttl: int


class Stale(NamedTuple):
    """A session whose hash may be older than its row."""

    sid: bytes
    version: int
    is_ended: bool


class Swept(NamedTuple):
    """What a sweep did: the last primary key of its range, `None` at the end, and rows deleted."""

    last: bytes | None
    deleted: int


class Content(NamedTuple):
    """What a row is to hold; `ttl` in seconds, `created` in microseconds since the epoch."""

    sid: bytes
    ttl: int
    created: int
    user_tag: str
    fields: Mapping[str, bytes]


class Patch(NamedTuple):
    """What a save changes in a row; `user_tag` is `None` while the user stays the same."""

    sid: bytes
    ttl: int
    changed: Mapping[str, bytes]
    removed: Sequence[str]
    replace: bool
    user_tag: str | None
    cache_stale: bool

    @property
    def step(self) -> int:
        """By how much the version rises: not at all for a touch."""
        return 1 if self.changed or self.removed or self.replace else 0


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


class Pending(NamedTuple):
    """A session whose hash holds what its row lacks: `dirty` names the fields.

    `base` is the version that the two shared last, 0 for a session that has no row yet.
    """

    whole: Content
    version: int
    base: int
    dirty: Sequence[str]

    def changed(self) -> dict[str, bytes]:
        """Return the values that the row lacks."""
        return {name: self.whole.fields[name] for name in self.dirty if name in self.whole.fields}

    def removed(self) -> list[str]:
        """Return the fields that the row has and the hash has not."""
        return [name for name in self.dirty if name not in self.whole.fields]


def load(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> list[Row]:
    """Return the rows of the sessions that live, of those asked for.

    Raises `InvalidValue` for a row that cannot be a session's.
    """
    places = ", ".join(["%s"] * len(sids))
    query = sql(
        connection,
        "SELECT sid, created, saved, expires, version, user_tag, fields, expires - {now} "
        f"FROM {{table}} WHERE sid IN ({places}) AND NOT is_ended AND expires > {{now}}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex() for sid in sids])
        return [_row(found) for found in cursor.fetchall()]


def create(connection: BaseDatabaseWrapper, new: Content) -> bool:
    """Insert a session's first row; `False` where there is one.

    A repeat after a lost reply finds its own row: creation times are in microseconds.
    """
    query = sql(connection, _insert(connection, ended="FALSE"))
    if connection.vendor != "mysql":
        query += " ON CONFLICT (sid) DO NOTHING"
    try:
        with connection.cursor() as cursor:
            cursor.execute(query, _content(connection, new, version=1))
            if cursor.rowcount == 1:
                return True
    except IntegrityError:
        # MySQL has no way to leave out a row that is there, and nothing else.
        pass
    return any(row.created == new.created for row in load(connection, [new.sid]))


def merge(connection: BaseDatabaseWrapper, patch: Patch, *, unless: int | None = None) -> int:
    """Merge changes into a session; return its version, 0 when it is gone, or at `unless`."""
    dialect = dialect_of(connection)
    sets = [
        "fields = " + (dialect.json if patch.replace else dialect.merged.format(patch="%s")),
        "version = " + dialect.raised.format("{table}.version + %s"),
        "saved = {now}",
        "expires = {now} + %s",
    ]
    removed = () if patch.replace else patch.removed
    parameters: list[Any] = [to_json(patch.changed, removed), patch.step, patch.ttl]
    if patch.user_tag is not None:
        sets.append("user_tag = %s")
        parameters.append(patch.user_tag)
    if patch.cache_stale:
        sets.append("cache_stale = TRUE")
    parameters.append(patch.sid.hex())
    other = ""
    if unless is not None:
        other = " AND version <> %s"
        parameters.append(unless)
    query = sql(
        connection,
        f"UPDATE {{table}} SET {', '.join(sets)} "
        f"WHERE sid = %s AND NOT is_ended AND expires > {{now}}{other}{dialect.returning}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        if not dialect.returning:
            return int(cursor.lastrowid) if cursor.rowcount else 0
        found = cursor.fetchone()
    return found[0] if found else 0


def end(
    connection: BaseDatabaseWrapper,
    sids: Sequence[bytes],
    *,
    cache_stale: bool,
    conditions: Conditions | None = None,
) -> list[bytes]:
    """End those sessions that live, and that are meant, for good; return their `sid`s.

    MySQL takes two statements, in a transaction, for more than one.
    """
    named, parameters = among(connection, sids)
    where = f"WHERE {named} AND NOT is_ended"
    if conditions is not None:
        meant, more = conditions.sql()
        where, parameters = f"{where} AND {meant}", [*parameters, *more]
    update = sql(
        connection,
        f"UPDATE {{table}} SET {_ended_sets(connection, cache_stale=cache_stale)} {where}",
    )
    with connection.cursor() as cursor:
        if len(sids) == 1:
            cursor.execute(update, parameters)
            return list(sids) if cursor.rowcount else []
        if dialect_of(connection).returning:
            cursor.execute(f"{update} RETURNING sid", parameters)
            return [bytes.fromhex(sid) for (sid,) in cursor.fetchall()]
        with transaction.atomic(using=connection.alias):
            cursor.execute(
                sql(connection, f"SELECT sid FROM {{table}} {where} FOR UPDATE"), parameters
            )
            found = [bytes.fromhex(sid) for (sid,) in cursor.fetchall()]
            cursor.execute(update, parameters)
            return found


def end_unknown(
    connection: BaseDatabaseWrapper, sids: Iterable[bytes], *, cache_stale: bool
) -> None:
    """End sessions for good that need not have a row; a statement inserts a thousand."""
    query = sql(
        connection,
        dialect_of(connection).on_conflict + _ended_sets(connection, cache_stale=cache_stale),
    )
    # Everybody locks rows in the same order.
    in_order = sorted(set(sids))
    with connection.cursor() as cursor:
        for start in range(0, len(in_order), _INSERTED_ROWS):
            portion = in_order[start : start + _INSERTED_ROWS]
            insert = sql(connection, _insert(connection, ended="TRUE", rows=len(portion)))
            parameters = [
                word
                for sid in portion
                for word in _content(
                    connection,
                    Content(sid, ENDED_SECONDS, 0, "", {}),
                    version=1,
                    cache_stale=cache_stale,
                )
            ]
            cursor.execute(insert + query, parameters)


def rotate(
    connection: BaseDatabaseWrapper,
    old: bytes,
    version: int | None,
    new: Content,
    *,
    cache_stale: bool,
) -> bool:
    """End a session and begin another, as one; `False` when the old one is not at this version.

    Raises `CreateError` when the new name is taken; the old session then goes on.
    """
    sets = _ended_sets(connection, cache_stale=cache_stale)
    fence = "" if version is None else " AND version = %s"
    query = sql(
        connection,
        f"UPDATE {{table}} SET {sets} WHERE sid = %s AND NOT is_ended AND expires > {{now}}{fence}",
    )
    parameters: list[Any] = [old.hex(), *([] if version is None else [version])]
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute(query, parameters)
            if not cursor.rowcount:
                # A repeat after a lost reply finds what it did.
                return any(row.created == new.created for row in load(connection, [new.sid]))
        if not create(connection, new):
            raise CreateError
        return True


def drain(
    connection: BaseDatabaseWrapper, pending: Sequence[Pending], *, fenced: bool
) -> dict[bytes, int]:
    """Bring what only hashes hold into their rows; return each row's version, 0 for one that ended.

    Two statements, whatever the number. A row may be missing, have expired (the hash lived on), or
    hold what others saved meanwhile: the two are merged, and its version is above the hash's. When
    fenced, such a row is left as it is.
    """
    # Everybody locks rows in the same order.
    pending = sorted(pending, key=lambda item: item.whole.sid)
    sets, parameters = _drained_sets(connection, pending, fenced=fenced)
    query = sql(connection, _insert(connection, ended="FALSE", rows=len(pending)))
    query += sql(connection, dialect_of(connection).on_conflict + sets)
    inserted = [
        word for item in pending for word in _content(connection, item.whole, version=item.version)
    ]
    places = ", ".join(["%s"] * len(pending))
    outcome = sql(
        connection,
        "SELECT sid, CASE WHEN is_ended THEN 0 ELSE version END FROM {table} "
        f"WHERE sid IN ({places})",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [*inserted, *parameters])
        cursor.execute(outcome, [item.whole.sid.hex() for item in pending])
        return {bytes.fromhex(sid): int(version) for sid, version in cursor.fetchall()}


def mark_stale(connection: BaseDatabaseWrapper, sid: bytes) -> None:
    """Note that the hash of a session may be older than its row."""
    query = sql(connection, "UPDATE {table} SET cache_stale = TRUE WHERE sid = %s")
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex()])


def stale(connection: BaseDatabaseWrapper, limit: int) -> list[Stale]:
    """Return up to `limit` sessions whose hash may be older than their row."""
    # As in the index's condition, word for word: SQLite takes no other for the same.
    query = sql(
        connection,
        "SELECT sid, version, is_ended FROM {table} WHERE cache_stale = TRUE LIMIT %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [limit])
        return [Stale(bytes.fromhex(sid), version, bool(ended)) for sid, version, ended in cursor]


def stale_among(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> list[Stale]:
    """Return those of some sessions whose hash may be older than their row."""
    places = ", ".join(["%s"] * len(sids))
    query = sql(
        connection,
        f"SELECT sid, version, is_ended FROM {{table}} WHERE sid IN ({places}) AND cache_stale",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [sid.hex() for sid in sids])
        return [Stale(bytes.fromhex(sid), version, bool(ended)) for sid, version, ended in cursor]


def unmark(connection: BaseDatabaseWrapper, mended: Sequence[Stale]) -> None:
    """Note that hashes were dropped, unless their rows were saved again since."""
    where = " OR ".join(["(sid = %s AND version = %s)"] * len(mended))
    query = sql(
        connection, f"UPDATE {{table}} SET cache_stale = NULL WHERE cache_stale AND ({where})"
    )
    parameters = [word for row in mended for word in (row.sid.hex(), row.version)]
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)


def following(
    connection: BaseDatabaseWrapper, after: bytes | None, limit: int
) -> list[Row | bytes]:
    """Return rows of live sessions in the key's order; of a damaged one its `sid` alone."""
    since = " AND sid > %s" if after else ""
    query = sql(
        connection,
        "SELECT sid, created, saved, expires, version, user_tag, fields, expires - {now} "
        f"FROM {{table}} WHERE NOT is_ended AND expires > {{now}}{since} ORDER BY sid LIMIT %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [*([after.hex()] if after else []), limit])
        return [row_or_sid(found) for found in cursor.fetchall()]


def replace(
    connection: BaseDatabaseWrapper, sid: bytes, version: int, fields: Mapping[str, bytes]
) -> bool:
    """Replace values by the same values, encoded anew; `False` where somebody saved meanwhile."""
    merged = dialect_of(connection).merged.format(patch="%s")
    query = sql(
        connection,
        f"UPDATE {{table}} SET fields = {merged} WHERE sid = %s AND version = %s AND NOT is_ended",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [to_json(fields), sid.hex(), version])
        return bool(cursor.rowcount == 1)


def delete_expired(connection: BaseDatabaseWrapper, after: bytes | None, limit: int) -> Swept:
    """Delete what has expired, ended sessions' rows too, among `limit` rows in the key's order."""
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
        delete = sql(connection, f"DELETE FROM {{table}} WHERE expires <= {{now}}{since}{until}")
        cursor.execute(delete, [*lower, *([last.hex()] if last else [])])
        return Swept(last, cursor.rowcount)


def _insert(connection: BaseDatabaseWrapper, *, ended: str, rows: int = 1) -> str:
    """Return the start of an INSERT, whose parameters are those of `_content`."""
    dialect = dialect_of(connection)
    row = f"(%s, {dialect.json}, %s, %s, %s, {{now}} + %s, %s, {{now}}, {ended})"
    return (
        "INSERT INTO {table} "
        "(sid, fields, user_tag, created, version, expires, cache_stale, saved, is_ended) VALUES "
        + ", ".join([row] * rows)
    )


def _content(
    connection: BaseDatabaseWrapper, new: Content, *, version: int, cache_stale: bool = False
) -> list[Any]:
    return [
        new.sid.hex(),
        to_json(new.fields),
        new.user_tag,
        new.created,
        version,
        new.ttl,
        cache_stale or None,
    ]


def _drained_sets(
    connection: BaseDatabaseWrapper, pending: Sequence[Pending], *, fenced: bool
) -> tuple[str, list[Any]]:
    """Return the assignments of drain(), and their parameters."""
    dialect = dialect_of(connection)
    one = " WHEN %s THEN "
    patch = f"CASE {{table}}.sid{(one + dialect.json) * len(pending)} END"
    patches = [
        word
        for item in pending
        for word in (item.whole.sid.hex(), to_json(item.changed(), item.removed()))
    ]
    base = f"CASE {{table}}.sid{(one + '%s') * len(pending)} END"
    bases = [word for item in pending for word in (item.whole.sid.hex(), item.base)]
    theirs = dialect.excluded.format
    version = (
        f"CASE WHEN {{table}}.version = {base} THEN {theirs('version')} "
        f"ELSE {dialect.greatest}({{table}}.version, {theirs('version')}) + 1 END"
    )
    columns = {
        "fields": (dialect.merged.format(patch=patch), patches),
        **{name: (theirs(name), list[Any]()) for name in ("user_tag", "saved", "expires")},
        # Last: MySQL assigns one column after the other.
        "version": (version, bases),
    }
    # MySQL has no WHERE there.
    left, left_parameters = "{table}.is_ended", list[Any]()
    if fenced:
        left, left_parameters = f"{left} OR {{table}}.version <> {base}", bases
    sets = ", ".join(
        f"{name} = CASE WHEN {left} THEN {{table}}.{name} ELSE {value} END"
        for name, (value, _) in columns.items()
    )
    return sets, [word for _, words in columns.values() for word in (*left_parameters, *words)]


def _ended_sets(connection: BaseDatabaseWrapper, *, cache_stale: bool) -> str:
    dialect = dialect_of(connection)
    stale = "TRUE" if cache_stale else "NULL"
    empty = dialect.json.replace("%s", "'{{}}'")
    return (
        f"fields = {empty}, user_tag = '', saved = {{now}}, is_ended = TRUE, "
        f"expires = {{now}} + {ENDED_SECONDS}, version = {{table}}.version + 1, "
        f"cache_stale = {stale}"
    )


def row_or_sid(found: Sequence[Any]) -> Row | bytes:
    """Make sense of what a statement returned; of a damaged row return its `sid` alone."""
    try:
        return _row(found)
    except InvalidValue:
        return bytes.fromhex(found[0])


def _row(found: Sequence[Any]) -> Row:
    sid, created, saved, expires, version, user_tag, fields, ttl = found
    return Row(
        bytes.fromhex(sid), created, saved, expires, version, user_tag, from_json(fields), ttl
    )
