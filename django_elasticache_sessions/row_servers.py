"""Which server is the cache: a fact that the database keeps.

A process that meets a primary for the first time records it, and which one it takes the place of. A
process that is still connected to that one, or configured for another place, finds out within a
second; what it writes in the meantime is marked, in the same statement, as unknown to the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .dialects import sql

#: How often it is noted that a server is in use.
_HEARTBEAT_SECONDS = 20
#: After so long without that, nobody uses the servers of a place any more.
_DESERTED_SECONDS = 60


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


def meet(
    connection: BaseDatabaseWrapper,
    place: str,
    origin: bytes,
    predecessors: Iterable[bytes],
    *,
    is_start: bool,
) -> Standing | None:
    """Record a server that a process has just met; return its standing.

    `is_start` where it is the first that this process has met: then its settings are newer than
    those of whoever uses another place. Nothing is recorded inside a transaction, which could be
    rolled back: `None` if it is not yet. Some statements, the first time only.
    """
    name = name_of(place, origin)
    known = _standings(connection, place).get(name)
    if connection.in_atomic_block:
        return Standing(known[0], bool(known[1])) if known else None
    elsewhere = _in_use_elsewhere(connection, place)
    if known is None:
        _insert(connection, name, place, "" if is_start or not elsewhere else elsewhere)
    elif is_start and known[1] and not known[1].startswith(f"{place}:"):
        _reclaim(connection, name)
    for predecessor in predecessors:
        _supersede(connection, "name = %s", name_of(place, predecessor), name)
    if is_start:
        _supersede(connection, "place <> %s", place, name)
    epoch, successor, _ = _standings(connection, place)[name]
    return Standing(epoch, bool(successor))


def standings(connection: BaseDatabaseWrapper, place: str) -> Mapping[bytes, Standing]:
    """Return the standing of each server of a place, by its replication id.

    Where all users of the place that took over are gone, the servers of this one are in use again;
    that is found out outside of transactions.
    """
    found = _standings(connection, place)
    is_committed = not connection.in_atomic_block
    if is_committed and found and all(successor for _, successor, _ in found.values()):
        for name, (_, successor, _) in found.items():
            if not successor.startswith(f"{place}:") and not _in_use_elsewhere(connection, place):
                _reclaim(connection, name)
        found = _standings(connection, place)
    # A statement that writes nothing would wait all the same: SQLite has one writer at a time.
    if is_committed and any(is_due and not successor for _, successor, is_due in found.values()):
        _note_use(connection, place)
    return {
        name.rpartition(":")[2].encode(): Standing(epoch, bool(successor))
        for name, (epoch, successor, _) in found.items()
    }


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


def _in_use_elsewhere(connection: BaseDatabaseWrapper, place: str) -> str | None:
    query = sql(
        connection,
        "SELECT name FROM {servers} WHERE place <> %s AND successor = '' "
        f"AND seen > {{now}} - {_DESERTED_SECONDS} LIMIT 1",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [place])
        found = cursor.fetchone()
    return found[0] if found else None


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


def _supersede(connection: BaseDatabaseWrapper, where: str, word: str, successor: str) -> None:
    query = sql(
        connection,
        f"UPDATE {{servers}} SET successor = %s WHERE {where} AND successor = '' AND name <> %s",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [successor, word, successor])


def _note_use(connection: BaseDatabaseWrapper, place: str) -> None:
    query = sql(
        connection,
        "UPDATE {servers} SET seen = {now} WHERE place = %s AND successor = '' "
        f"AND seen <= {{now}} - {_HEARTBEAT_SECONDS}",
    )
    with connection.cursor() as cursor:
        cursor.execute(query, [place])
