"""Which server is the cache: a fact that the database keeps.

A process that meets a primary for the first time records it, and which one it takes the place of. A
process that is still connected to that one, or configured for another place, finds out within a
second; what it writes in the meantime is marked, in the same statement, as unknown to the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import sql
from .statements import writes

#: How often it is noted that a server is in use.
_HEARTBEAT_SECONDS = 20
#: After so long without that, nobody uses the servers of a place any more.
_DESERTED_SECONDS = 60
#: Before the name of a successor that took over in a failover: that is for good.
_FAILOVER = "="


class Standing(NamedTuple):
    """How often a server became the one in use, and whether another has taken its place."""

    epoch: int
    is_superseded: bool


#: Of a server that the database could not be told of.
UNKNOWN = Standing(0, is_superseded=False)


def marking(server: str) -> tuple[str, list[str]]:
    """Return SQL for `cache_stale` after a write by who uses a server, and its parameters."""
    if not server:
        return "{table}.cache_stale", []
    return (
        "CASE WHEN EXISTS (SELECT 1 FROM {servers} WHERE name = %s AND successor <> '') "
        "THEN TRUE ELSE {table}.cache_stale END",
        [server],
    )


def name_of(place: str, origin: bytes) -> str:
    """Return the name of a server, by its place and its replication id."""
    return f"{place}:{origin.decode()}"


@writes
def meet(
    connection: BaseDatabaseWrapper,
    place: str,
    origin: bytes,
    before: Iterable[bytes],
    *,
    is_start: bool,
    is_single: bool,
) -> Standing | None:
    """Record a server that a process has just met; return its standing.

    `before` are those whose place it takes after a failover. `is_start` where it is the first that
    this process has met: then its settings are newer than those of whoever uses another place, or,
    if there is one server only (`is_single`), another server. Nothing is recorded inside a
    transaction, which could be rolled back: `None` if it is not yet. Some statements, the first
    time only.
    """
    name = name_of(place, origin)
    known = _standings(connection, place).get(name)
    if connection.in_atomic_block:
        return Standing(known[0], bool(known[1])) if known else None
    names_before = [name_of(place, one) for one in before]
    if known is None:
        _insert(connection, name, place, _moved_to(connection, names_before))
    elif is_start and _has_moved(known[1]):
        _reclaim(connection, name)
    elif known[1]:
        # What an old primary was before proves nothing.
        return Standing(known[0], is_superseded=True)
    for one in names_before:
        # Who still reaches it may be the first to meet it.
        _insert(connection, one, place, _FAILOVER + name)
        _supersede(connection, "name = %s", one, name, _FAILOVER + name)
    if is_start:
        where = "name <> %s" if is_single else "place <> %s"
        _supersede(connection, where, name if is_single else place, name, name)
    epoch, successor, _ = _standings(connection, place)[name]
    return Standing(epoch, bool(successor))


def standings(
    connection: BaseDatabaseWrapper, place: str, in_use: Iterable[bytes]
) -> Mapping[bytes, Standing]:
    """Return the standing of each server of a place, by its replication id.

    `in_use` are those that the process uses. Where nobody uses what has taken their place any more,
    they are the cache again; that is found out outside of transactions.
    """
    found = _standings(connection, place)
    own = [name for name in (name_of(place, origin) for origin in in_use) if name in found]
    if not connection.in_atomic_block:
        has_moved = bool(own) and all(_has_moved(found[name][1]) for name in own)
        if has_moved and not _is_another_in_use(connection, own):
            _supersede_deserted(connection, place, own, _successors(found, own))
            for name in own:
                _reclaim(connection, name)
            found = _standings(connection, place)
        # A statement that writes nothing would wait all the same: SQLite has one writer at a time.
        for name in own:
            _, successor, is_due = found[name]
            if is_due and not successor:
                _note_use(connection, name)
    return {
        name.rpartition(":")[2].encode(): Standing(epoch, bool(successor))
        for name, (epoch, successor, _) in found.items()
    }


def _has_moved(successor: str) -> bool:
    """Tell whether a server was superseded by other settings, not by a failover."""
    return bool(successor) and not successor.startswith(_FAILOVER)


def _standings(connection: BaseDatabaseWrapper, place: str) -> dict[str, tuple[int, str, bool]]:
    """Return by name the epoch, the successor, and whether it is due to be noted as in use."""
    query = sql(
        connection,
        f"SELECT name, epoch, successor, seen <= {{now}} - {_HEARTBEAT_SECONDS} "
        "FROM {servers} WHERE place = %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [place])
        return {
            name: (epoch, successor, bool(is_due))
            for name, epoch, successor, is_due in cursor.fetchall()
        }


def _moved_to(connection: BaseDatabaseWrapper, names: Sequence[str]) -> str:
    """Return what the cache has moved to from any of some servers; empty if it has not."""
    if not names:
        return ""
    places = ", ".join(["%s"] * len(names))
    query = sql(connection, f"SELECT successor FROM {{servers}} WHERE name IN ({places})")
    with connection.cursor() as cursor:
        cursor.execute(query, names)
        return next((found for (found,) in cursor.fetchall() if _has_moved(found)), "")


def _is_another_in_use(connection: BaseDatabaseWrapper, own: Sequence[str]) -> bool:
    places = ", ".join(["%s"] * len(own))
    query = sql(
        connection,
        f"SELECT 1 FROM {{servers}} WHERE name NOT IN ({places}) AND successor = '' "
        f"AND seen > {{now}} - {_DESERTED_SECONDS} LIMIT 1",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, own)
        return cursor.fetchone() is not None


def _successors(found: Mapping[str, tuple[int, str, bool]], own: Iterable[str]) -> list[str]:
    """Return what has taken the place of some servers, one after the other."""
    successors: list[str] = []
    for name in own:
        while name in found and (name := found[name][1].removeprefix(_FAILOVER)):
            if name in successors:
                break
            successors.append(name)
    return successors


def _supersede_deserted(
    connection: BaseDatabaseWrapper, place: str, own: Sequence[str], successors: Sequence[str]
) -> None:
    """Have those that nobody uses any more be compared with the rows, once they are used again."""
    mine, theirs = (", ".join(["%s"] * len(names)) for names in (own, successors))
    query = sql(
        connection,
        f"UPDATE {{servers}} SET successor = %s WHERE name NOT IN ({mine}) AND successor = '' "
        f"AND (place <> %s OR name IN ({theirs})) AND seen <= {{now}} - {_DESERTED_SECONDS}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [own[0], *own, place, *successors])


def _insert(connection: BaseDatabaseWrapper, name: str, place: str, successor: str) -> None:
    query = sql(
        connection,
        "INSERT INTO {servers} (name, place, epoch, successor, seen) VALUES (%s, %s, 1, %s, {now})",
    )
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(query, [name, place, successor])
    except IntegrityError:
        # Another process was first.
        pass


def _reclaim(connection: BaseDatabaseWrapper, name: str) -> None:
    query = sql(
        connection,
        "UPDATE {servers} SET successor = '', epoch = epoch + 1, seen = {now} "
        "WHERE name = %s AND successor <> ''",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [name])


def _supersede(
    connection: BaseDatabaseWrapper, where: str, word: str, name: str, successor: str
) -> None:
    query = sql(
        connection,
        f"UPDATE {{servers}} SET successor = %s WHERE {where} AND successor = '' AND name <> %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [successor, word, name])


def _note_use(connection: BaseDatabaseWrapper, name: str) -> None:
    query = sql(
        connection,
        "UPDATE {servers} SET seen = {now} WHERE name = %s AND successor = '' "
        f"AND seen <= {{now}} - {_HEARTBEAT_SECONDS}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [name])
