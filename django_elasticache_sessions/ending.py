"""Ending sessions of the `cached_db` engine, in both of its homes.

The row first, where an end is for good; then the hash. Whatever lies between the two, that row is
marked, so that a process that is cut off there leaves nothing that can be used for long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, NamedTuple

from . import operations, outbox, row_upkeep, rows
from .exceptions import DatabaseUnavailable, PartUnavailable, SessionStoreUnavailable
from .handing_over import hand_over
from .homes import Homes, Told, ask_database, ask_here, get_homes, tell, try_cache
from .keys import Naming, SessionName, portions, stamp_of_key
from .operations import Command, Ended, Operation, StoredSession
from .reading import cached_now, leave_behind
from .texts import Text
from .transactions import Defer, is_open

_ATTEMPTS = 3


def delete(naming: Naming, stored: StoredSession) -> Operation[bool]:
    """See operations.delete(). Where nobody can tell whether it lived, it did."""
    homes = get_homes()
    forgetting: tuple[Command, ...] = ()
    if stored.user_tag:
        forgetting = (operations.forget_user(naming, stored.user_tag, stored.name),)
    name = stored.name
    try:
        for _ in range(_ATTEMPTS):
            is_stale = homes.cache.is_open
            ended: rows.Ended = yield from ask_database(
                homes,
                rows.end,
                [name.digest],
                cache_stale=is_stale,
                key=stored.key,
                server=homes.server(name.bucket),
            )
            if ended.sids:
                telling = _tell_end(homes, naming, name, forgetting, is_marked=is_stale)
                if ended.is_committed:
                    yield from telling
                else:
                    yield Defer(
                        homes.database_alias,
                        ended.sids,
                        lambda: _tell_end(homes, naming, name, forgetting, is_marked=True),
                    )
                return True
            outcome = yield from _end_without_row(homes, naming, stored, forgetting)
            if outcome is not None:
                return outcome
    except DatabaseUnavailable:
        return (yield from outbox.end(homes, naming, (name,), stored=stored, forgetting=forgetting))
    raise SessionStoreUnavailable(Text("The session kept changing while it was ended."))


def _tell_end(
    homes: Homes,
    naming: Naming,
    name: SessionName,
    forgetting: tuple[Command, ...],
    *,
    is_marked: bool,
) -> Operation[None]:
    """Have the cache know of an end."""
    # Last, for it has to be known which server it was that was told.
    commands = (*forgetting, *outbox.end_commands(naming, [[name]]))
    try:
        if not is_marked:
            yield from ask_here(homes, name.bucket, commands)
            return
        told = yield from tell(homes, {name.bucket: commands})
    except SessionStoreUnavailable:
        if not is_marked:
            yield from ask_database(homes, rows.mark_stale, name.digest)
        homes.note_marked((name.digest,))
        return
    if not told.in_vain:
        yield from _unmark(homes, (name,))


def tell_known_end(
    homes: Homes, naming: Naming, name: SessionName, forgetting: tuple[Command, ...] = ()
) -> Operation[None]:
    """Have the cache know of an end that the row has already, maybe by this very transaction."""
    if (yield from is_open(homes.database_alias)):
        yield Defer(
            homes.database_alias,
            (name.digest,),
            lambda: _tell_end(homes, naming, name, forgetting, is_marked=True),
        )
    else:
        yield from _tell_end(homes, naming, name, forgetting, is_marked=False)


def _unmark(homes: Homes, names: Iterable[SessionName]) -> Operation[None]:
    """Take the marks of ended rows away; those that stay do no harm, and are found by others."""
    of_servers: dict[str, list[bytes]] = defaultdict(list)
    for name in names:
        of_servers[homes.server(name.bucket)].append(name.digest)
    with suppress(SessionStoreUnavailable):
        for server, digests in of_servers.items():
            yield from ask_database(homes, row_upkeep.unmark_ended, digests, server)


def _end_without_row(
    homes: Homes, naming: Naming, stored: StoredSession, forgetting: tuple[Command, ...]
) -> Operation[bool | None]:
    """End a session whose row was not there, or has another KEY; `None` where it may end now."""
    name = stored.name
    states = yield from ask_database(homes, rows.states, (name.digest,))
    state: rows.State | None = states.get(name.digest)
    if state and state.is_ended:
        yield from tell_known_end(homes, naming, name, forgetting)
        return False
    if state and stamp_of_key(state.row.key) > stamp_of_key(stored.key):
        yield from leave_behind(homes, naming, name, state.row.version)
        return False
    try:
        cached = yield from cached_now(homes, name)
    except DatabaseUnavailable:
        raise
    except SessionStoreUnavailable:
        if state:
            # It was rotated in a cache that cannot be asked.
            raise
        # It may be in a cache that cannot be asked.
        yield from ask_database(homes, rows.end_unknown, [name.digest], cache_stale=True)
        homes.note_marked((name.digest,))
        return True
    if cached and cached.key == stored.key:
        if cached.pending:
            yield from hand_over(homes, naming, (name,))
            return None
        if state:
            # Others have handed it over since the row was asked.
            return None
        if cached.version:
            # They did so since, or the row is gone.
            yield from ask_database(homes, rows.end_unknown, [name.digest], cache_stale=False)
        yield from try_cache(homes, (*outbox.end_commands(naming, [[name]]), *forgetting))
        return True
    return False


def end_all(
    naming: Naming,
    names: Sequence[SessionName],
    *,
    user_tags: Sequence[str] = (),
    conditions: rows.Conditions | None = None,
) -> Operation[Ended]:
    """See operations.end_all(). With conditions, only those end that are as asked for.

    `user_tags` are those of all of them, as their rows have them. The rows are marked until the
    cache knows: what is cut off at any point is finished by others. Where nobody can tell whether
    they lived, all count.
    """
    homes = get_homes()
    digests = [name.digest for name in names]
    try:
        ended: rows.Ended = yield from ask_database(
            homes, rows.end, digests, cache_stale=True, conditions=conditions
        )
    except DatabaseUnavailable:
        if conditions:
            raise
        yield from outbox.end(homes, naming, names)
        return Ended(list(names), is_pending=True)
    in_rows = set(ended.sids)
    meant = [name for name in names if name.digest in in_rows] if conditions else list(names)
    users = dict(zip(names, user_tags, strict=True)) if user_tags else {}
    telling = _tell_ends(homes, naming, meant, in_rows, users)
    if not ended.is_committed:
        if meant:
            # Those too that others have ended, of which the cache may not know yet.
            digests = [name.digest for name in meant]
            yield Defer(homes.database_alias, digests, lambda: telling)
        return Ended([name for name in names if name.digest in in_rows])
    only_here = (yield from telling) if meant else set()
    return Ended([name for name in names if name.digest in in_rows or name in only_here])


def _tell_ends(
    homes: Homes,
    naming: Naming,
    names: Sequence[SessionName],
    in_rows: set[bytes],
    users: dict[SessionName, str],
) -> Operation[set[SessionName]]:
    """Have the cache know of ends; return those sessions that it alone had, or may have."""
    told = yield from _ask_to_end(homes, naming, names)
    lacking = {name for name in told.only_here if name.digest not in in_rows}
    unknown = {name for name in told.untold if name.digest not in in_rows}
    longest = max((told.only_here[name] for name in lacking), default=0)
    for these, seconds in ((lacking, longest), (unknown, 0)):
        if these:
            yield from ask_database(
                homes,
                rows.end_unknown,
                [name.digest for name in these],
                cache_stale=these is unknown,
                seconds=seconds,
            )
    since = [name for name in told.with_row if name.digest not in in_rows]
    if since:
        # Others have handed them over since the rows were asked, or ended them.
        digests = [name.digest for name in since]
        ended: rows.Ended = yield from ask_database(homes, rows.end, digests, cache_stale=False)
        lacking |= {name for name in since if name.digest in ended.sids}
    if told.untold:
        homes.note_marked(name.digest for name in told.untold)
    known = [name for name in told.names if name.digest in in_rows]
    if known:
        yield from _unmark(homes, known)
    tags = users.items() if users else told.users
    forgetting = operations.forget_users(naming, tags)
    if forgetting:
        yield from try_cache(homes, tuple(forgetting))
    return lacking | unknown


def _ask_to_end(homes: Homes, naming: Naming, names: Sequence[SessionName]) -> Operation[_Told]:
    of_buckets: dict[int, list[Sequence[SessionName]]] = defaultdict(list)
    for portion in portions(names):
        of_buckets[portion[0].bucket].append(portion)
    commands = {bucket: outbox.end_commands(naming, found) for bucket, found in of_buckets.items()}
    try:
        told = yield from tell(homes, commands, marked=len(names))
    except PartUnavailable as problem:
        told = Told.read(commands, problem.replies)
    except SessionStoreUnavailable:
        told = Told.read(commands, ())
    known = _Told([], [], {}, [], [])
    for bucket, found in of_buckets.items():
        replies = () if bucket in told.in_vain else told.replies[bucket]
        known.add(found, replies)
    return known


class _Told(NamedTuple):
    """What the cache said of sessions that it was told to end; nothing was heard of `untold`."""

    names: list[SessionName]
    users: list[tuple[SessionName, str]]
    #: With the seconds that they would have lived.
    only_here: dict[SessionName, int]
    #: Whose hashes said that they had a row.
    with_row: list[SessionName]
    untold: list[SessionName]

    def add(self, portions: Sequence[Sequence[SessionName]], replies: Sequence[Any]) -> None:
        """Take the replies of a bucket, one for each portion; none where it is to be told yet."""
        for portion, reply in zip_longest(portions, replies):
            if not isinstance(reply, list):
                self.untold.extend(portion)
                continue
            self.names.extend(portion)
            for name, tag, code, ttl in zip(portion, *(reply[n::3] for n in range(3)), strict=True):
                if tag:
                    self.users.append((name, tag.decode()))
                if code == outbox.ONLY_HERE:
                    self.only_here[name] = ttl
                elif code == outbox.WITH_ROW and ttl:
                    self.with_row.append(name)
