"""Ending sessions of the `cached_db` engine, in both of its homes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from . import operations, outbox, rows
from .exceptions import DatabaseUnavailable, PartUnavailable, SessionStoreUnavailable
from .homes import Homes, ask_cache, ask_database, get_homes, try_cache
from .keys import Naming, SessionName, portions
from .operations import Ended, Operation

#: What the database lacks of a session that was to end; or that it is not as asked for.
LACKS_SESSION, LACKS_END, LEFT_ALONE = 1, 2, 3


def delete(naming: Naming, names: Sequence[SessionName], *, user_tag: str) -> Operation[bool]:
    """See operations.delete(). Where nobody can tell whether it lived, it did."""
    homes = get_homes()
    digests = [name.digest for name in names]
    is_stale = homes.cache.is_open
    forgetting = (operations.forget_user(naming, user_tag, names[0]),) if user_tag else ()
    try:
        if is_stale:
            # A session that was never in the database may be in a cache that cannot be asked.
            yield from ask_database(homes, rows.end_unknown, digests, cache_stale=True)
            was_there = True
        else:
            ended = yield from ask_database(homes, rows.end, digests, cache_stale=False)
            was_there = bool(ended)
    except DatabaseUnavailable:
        yield from outbox.end(homes, naming, names, forgetting)
        return True
    of_buckets = portions(names)
    try:
        replies = yield from ask_cache(
            homes, (*outbox.end_commands(naming, of_buckets), *forgetting)
        )
    except SessionStoreUnavailable:
        if not is_stale:
            yield from ask_database(homes, rows.end_unknown, digests, cache_stale=True)
        homes.has_marked = True
        return was_there
    told = _Told.read(of_buckets, replies)
    lacking = [name.digest for name, code in told.odd.items() if code == LACKS_SESSION]
    if lacking:
        yield from ask_database(homes, rows.end_unknown, lacking, cache_stale=False)
    if not forgetting:
        left = operations.forget_users(naming, told.users())
        if left:
            yield from try_cache(homes, tuple(left))
    return was_there or bool(lacking)


def end_all(
    naming: Naming,
    names: Sequence[SessionName],
    *,
    user_tags: Sequence[str] = (),
    conditions: rows.Conditions | None = None,
) -> Operation[Ended]:
    """See operations.end_all(). With conditions, only those end that are as asked for.

    `user_tags` are those of all of them, as their rows have them. They are marked in the cache
    first: whoever lists them by their rows would not find them again, and what is cut off at any
    point may so be repeated. Where nobody can tell whether they lived, all count.
    """
    homes = get_homes()
    token = secrets.token_hex(8)
    of_buckets = portions(names)
    marking = outbox.end_commands(
        naming,
        of_buckets,
        keep_seconds=outbox.KEEP_SECONDS,
        token=token,
        conditions=conditions or rows.Conditions(),
    )
    replies: Sequence[Any] = ()
    try:
        replies = yield from ask_cache(homes, tuple(marking))
    except PartUnavailable as problem:
        replies = problem.replies
    except SessionStoreUnavailable:
        pass
    told = _Told.read(of_buckets, replies)
    marked = told.marked()
    try:
        digests = yield from _end_rows(homes, told, marked, conditions)
    except DatabaseUnavailable:
        if told.untold:
            raise
        yield from outbox.end(homes, naming, marked, ())
        return Ended(marked)
    ended = [name for name in names if name.digest in digests]
    if marked:
        users = zip(names, user_tags, strict=True) if user_tags else told.users()
        unmarking = outbox.unmark_commands(naming, marked, token)
        forgetting = operations.forget_users(
            naming, (user for user in users if user[0].digest in digests)
        )
        yield from try_cache(homes, (*unmarking, *forgetting))
    return Ended(ended)


class _Told(NamedTuple):
    """What the cache told of sessions that it was to end.

    `odd` has those of which the database lacks something, or that are not as asked for; nothing was
    told of the `untold`.
    """

    names: list[SessionName]
    user_tags: list[bytes]
    odd: dict[SessionName, int]
    untold: list[SessionName]

    @classmethod
    def read(cls, of_buckets: Sequence[Sequence[SessionName]], replies: Sequence[Any]) -> _Told:
        told = cls([], [], {}, [])
        for portion, reply in zip_longest(of_buckets, replies[: len(of_buckets)]):
            if not isinstance(reply, list):
                told.untold.extend(portion)
                continue
            told.names.extend(portion)
            told.user_tags.extend(reply[::2])
            codes = reply[1::2]
            if any(codes):
                told.odd.update(item for item in zip(portion, codes, strict=True) if item[1])
        return told

    def marked(self) -> list[SessionName]:
        """Return those that are to end."""
        if not self.odd:
            return self.names
        return [name for name in self.names if self.odd.get(name) != LEFT_ALONE]

    def users(self) -> list[tuple[SessionName, str]]:
        """Return those that had a user, and the user's tag."""
        tags = zip(self.names, self.user_tags, strict=True)
        return [(name, tag.decode()) for name, tag in tags if tag]


def _end_rows(
    homes: Homes,
    told: _Told,
    marked: Sequence[SessionName],
    conditions: rows.Conditions | None,
) -> Operation[set[bytes]]:
    """End sessions, marked in the cache or not, in their rows; return digests of those ended."""
    only_in_cache = {name.digest for name in marked if told.odd.get(name) == LACKS_SESSION}
    in_rows = [name.digest for name in marked if name.digest not in only_in_cache]
    lacking = [name.digest for name in marked if name in told.odd]
    untold = [name.digest for name in told.untold]
    ended: set[bytes] = only_in_cache
    if in_rows:
        ended |= yield from _end_known(homes, in_rows, conditions, cache_stale=False)
    if lacking:
        yield from ask_database(homes, rows.end_unknown, lacking, cache_stale=False)
    if untold:
        if conditions:
            ended |= yield from _end_known(homes, untold, conditions, cache_stale=True)
        else:
            yield from ask_database(homes, rows.end_unknown, untold, cache_stale=True)
            ended.update(untold)
        homes.has_marked = True
    return ended


def _end_known(
    homes: Homes, digests: Sequence[bytes], conditions: rows.Conditions | None, *, cache_stale: bool
) -> Operation[set[bytes]]:
    ended = yield from ask_database(
        homes, rows.end, digests, cache_stale=cache_stale, conditions=conditions
    )
    return set(ended)
