"""Looking through the sessions that live, by the rows of the fallback database.

The same operations as in `listing`. One statement each, for a page on MySQL two or three; what a
request could only save in the cache is not in the rows until it was brought over.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import dialect_of, from_sized, sized_fields, sql
from .exceptions import InvalidValue
from .homes import ask_database, get_homes
from .keys import SID_BYTES, Naming, SessionName
from .listing import Counts, Described, Kind, Place
from .operations import Operation, StoredSession
from .rows import Conditions

_Found = Sequence[Any]
_COLUMNS = "sid, created, saved, expires, version, user_tag, validator"
# Read once in a statement: PostgreSQL would read the clock for each row, and use no index for that.
_NOW = "(SELECT {now})"
_UNEXPIRED = f"expires > {_NOW}"
_LIVE = f"NOT is_ended AND {_UNEXPIRED}"
# From a place on: the bounds of a range in the index, its order, and those of equal expiries. One
# lower bound, for SQLite takes either of two.
_OLDER = (f"{_UNEXPIRED} AND expires <= %s", "DESC", ">", "ASC")
_NEWER = (f"expires >= {{greatest}}({_NOW} + 1, %s)", "ASC", "<", "DESC")
_OF_KIND = {"all": "", "signed-in": " AND user_tag <> ''", "anonymous": " AND user_tag = ''"}


# Kinds of rows; those of sessions that live are places in `Counts`.
_SIGNED_IN, _ANONYMOUS, _ENDED, _STALE = range(4)


class States(NamedTuple):
    """Numbers of rows: of ended sessions, of those the cache is behind, and of those that live.

    `expiring` and `created` are those of the living that expire, and were created, within each
    number of seconds asked for.
    """

    ended: int
    stale: int
    live: Counts
    expiring: Sequence[Counts]
    created: Sequence[Counts]


def states(connection: BaseDatabaseWrapper, within_seconds: Sequence[int] = ()) -> States:
    """Count the rows by what they are, in indexes alone. The seconds must ascend."""
    seconds = [int(number) for number in within_seconds]
    soon = _first_of(f"expires <= moment + {number}" for number in seconds)
    young = _first_of(f"created > (moment - {number}) * 1000000" for number in seconds)
    # The clock is read once: PostgreSQL would read it for each condition on each row.
    query = (
        f"SELECT {_ENDED}, 0, 0, COUNT(*) FROM {{table}} WHERE is_ended UNION ALL "
        f"SELECT {_STALE}, 0, 0, COUNT(*) FROM {{table}} WHERE cache_stale = TRUE UNION ALL "
        f"SELECT CASE user_tag WHEN '' THEN {_ANONYMOUS} ELSE {_SIGNED_IN} END, "
        f"{soon}, {young}, COUNT(*) FROM {{table}}, (SELECT {{now}} AS moment) AS clock "
        "WHERE NOT is_ended AND expires > moment GROUP BY 1, 2, 3"
    )
    with connection.cursor() as cursor:
        # With parameters, though there are none: only then is "%%" read as one "%".
        cursor.execute(sql(connection, query), ())
        found = cursor.fetchall()
    odd = {kind: number for kind, _, _, number in found if kind in (_ENDED, _STALE)}
    expiring, created = ([[0, 0] for _ in (*seconds, None)] for _ in range(2))
    for kind, first_soon, first_young, number in found:
        if kind not in odd:
            expiring[first_soon][kind] += number
            created[first_young][kind] += number
    *expiring_within, live = _running_totals(expiring)
    return States(odd[_ENDED], odd[_STALE], live, expiring_within, _running_totals(created)[:-1])


def count(naming: Naming) -> Operation[Counts]:
    """See listing.count()."""
    counts: Counts = yield from ask_database(get_homes(), _count)
    return counts


def page(
    naming: Naming,
    *,
    kind: Kind,
    limit: int,
    wanted: Collection[str],
    after: Place | None = None,
    before: Place | None = None,
) -> Operation[tuple[list[Described], bool]]:
    """See listing.page()."""
    at = before or after
    key = (at.expires, naming.from_sid(at.sid).digest.hex()) if at else None
    is_newer = before is not None
    found = yield from ask_database(
        get_homes(), _page, _OF_KIND[kind], key, limit + 1, wanted, is_newer=is_newer
    )
    described = _described(naming, found[:limit])
    return (described[::-1] if is_newer else described), len(found) > limit


def sample(naming: Naming, *, limit: int, wanted: Collection[str]) -> Operation[list[Described]]:
    """See listing.sample()."""
    # Names are keyed hashes, so those that follow any one are as random as it is.
    start = secrets.token_hex(SID_BYTES)
    found = yield from ask_database(get_homes(), _sample, start, limit, wanted)
    return _described(naming, found)


def of_user(
    naming: Naming, user_id: str, *, wanted: Collection[str], limit: int | None = None
) -> Operation[list[Described]]:
    """See listing.of_user()."""
    tags = naming.user_tags(user_id)
    found = yield from ask_database(get_homes(), _of_user, tags, wanted, limit)
    return _described(naming, found)


def count_of_user(naming: Naming, user_id: str) -> Operation[int]:
    """Count a user's sessions."""
    tags = naming.user_tags(user_id)
    number: int = yield from ask_database(get_homes(), _count_of_user, tags)
    return number


def describe(
    naming: Naming, names: Sequence[SessionName], *, wanted: Collection[str]
) -> Operation[list[Described]]:
    """See listing.describe()."""
    if not names:
        return []
    found = yield from ask_database(get_homes(), _named, names, wanted)
    described = {item.stored.name: item for item in _described(naming, found)}
    return [described[name] for name in names if name in described]


def now(connection: BaseDatabaseWrapper) -> int:
    """Return the time by the database, in seconds since the epoch."""
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, "SELECT {now}"), ())
        return int(cursor.fetchone()[0])


def following(
    connection: BaseDatabaseWrapper,
    after: bytes,
    limit: int,
    conditions: Conditions,
) -> list[tuple[bytes, str]]:
    """Return live sessions that are meant: `sid`, in their order, and the tag of the user."""
    meant, parameters = conditions.sql()
    query = (
        f"SELECT sid, user_tag FROM {{table}} WHERE {_LIVE} AND sid > %s "
        f"AND {meant} ORDER BY sid LIMIT %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), [after.hex(), *parameters, limit])
        return [(bytes.fromhex(sid), tag) for sid, tag in cursor.fetchall()]


def _count(connection: BaseDatabaseWrapper) -> Counts:
    query = f"SELECT COUNT(*), COUNT(NULLIF(user_tag, '')) FROM {{table}} WHERE {_LIVE}"
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), ())
        every, signed_in = cursor.fetchone()
    return Counts(signed_in, every - signed_in)


def _page(
    connection: BaseDatabaseWrapper,
    of_kind: str,
    at: tuple[int, str] | None,
    limit: int,
    wanted: Collection[str],
    *,
    is_newer: bool,
) -> list[_Found]:
    beyond, order, sid_beyond, sid_order = _NEWER if is_newer else _OLDER
    dialect = dialect_of(connection)
    place = f"{beyond} AND (expires <> %s OR sid {sid_beyond} %s)" if at else _UNEXPIRED
    place = place.replace("{greatest}", dialect.greatest)
    those = f"FROM {{table}} WHERE NOT is_ended AND {place}{of_kind}"
    by_place = f"ORDER BY expires {order}, sid {sid_order} LIMIT %s"
    parameters = [at[0], at[0], at[1]] if at else []
    if not dialect.sorts_ties_alone:
        bound = _expiry_of_last(connection, f"{those} ORDER BY expires {order}", parameters, limit)
        if bound is not None:
            bounded = f"{those} AND expires {'<=' if is_newer else '>='} %s {by_place}"
            found = _read(connection, bounded, [*parameters, bound, limit], wanted)
            # Fewer where some have ended since.
            if len(found) == limit:
                return found
    return _read(connection, f"{those} {by_place}", [*parameters, limit], wanted)


def _expiry_of_last(
    connection: BaseDatabaseWrapper, query: str, parameters: Sequence[Any], limit: int
) -> int | None:
    """Return when the last of `limit` rows expires, `None` where there are not so many."""
    with connection.cursor() as cursor:
        cursor.execute(
            sql(connection, f"SELECT expires {query} LIMIT 1 OFFSET %s"), [*parameters, limit - 1]
        )
        found = cursor.fetchone()
    return int(found[0]) if found else None


def _sample(
    connection: BaseDatabaseWrapper, start: str, limit: int, wanted: Collection[str]
) -> list[_Found]:
    found: list[_Found] = []
    for side in (">=", "<"):
        if len(found) < limit:
            query = f"FROM {{table}} WHERE sid {side} %s AND {_LIVE} ORDER BY sid LIMIT %s"
            found += _read(connection, query, [start, limit - len(found)], wanted)
    return found


def _of_user(
    connection: BaseDatabaseWrapper,
    tags: Sequence[str],
    wanted: Collection[str],
    limit: int | None,
) -> list[_Found]:
    query = f"FROM {{table}} WHERE user_tag IN ({_places(tags)}) AND {_LIVE}"
    if limit is None:
        return _read(connection, query, tags, wanted)
    return _read(connection, f"{query} ORDER BY expires DESC LIMIT %s", [*tags, limit], wanted)


def _count_of_user(connection: BaseDatabaseWrapper, tags: Sequence[str]) -> int:
    query = f"SELECT COUNT(*) FROM {{table}} WHERE user_tag IN ({_places(tags)}) AND {_LIVE}"
    with connection.cursor() as cursor:
        cursor.execute(sql(connection, query), tags)
        return int(cursor.fetchone()[0])


def _places(values: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(values))


def _named(
    connection: BaseDatabaseWrapper, names: Sequence[SessionName], wanted: Collection[str]
) -> list[_Found]:
    query = f"FROM {{table}} WHERE sid IN ({_places(names)}) AND {_LIVE}"
    return _read(connection, query, [name.digest.hex() for name in names], wanted)


def _first_of(conditions: Iterable[str]) -> str:
    """Return SQL that tells which condition is the first to hold, or how many there are."""
    cases = [f"WHEN {condition} THEN {number}" for number, condition in enumerate(conditions)]
    return f"CASE {' '.join(cases)} ELSE {len(cases)} END" if cases else "0"


def _running_totals(numbers: Iterable[Sequence[int]]) -> list[Counts]:
    columns = zip(*numbers, strict=True)
    return [Counts(*both) for both in zip(*map(accumulate, columns), strict=True)]


def _read(
    connection: BaseDatabaseWrapper,
    query: str,
    parameters: Sequence[Any],
    wanted: Collection[str],
) -> list[_Found]:
    fields, members = sized_fields(connection, wanted) if wanted else ("'{{}}'", ())
    with connection.cursor() as cursor:
        cursor.execute(
            sql(connection, f"SELECT {_COLUMNS}, {fields} {query}"), [*members, *parameters]
        )
        return list(cursor.fetchall())


def _described(naming: Naming, found: Iterable[_Found]) -> list[Described]:
    """Make sense of rows; what is damaged is left out."""
    described = []
    for sid, created, saved, expires, version, user_tag, key, fields in found:
        try:
            values, sizes = from_sized(fields)
        except InvalidValue:
            continue
        name = naming.from_digest(bytes.fromhex(sid))
        stored = StoredSession(name, created, saved, expires, version, user_tag, key, values)
        described.append(Described(stored, sizes))
    return described
