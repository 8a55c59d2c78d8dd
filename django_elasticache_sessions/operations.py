"""Each operation on stored sessions once, as a generator that does no input or output itself.

An operation yields the commands of one round trip, a tuple of tuples of words, and receives the
list of their replies; or it yields a `Call`, of the database for instance, and receives its result.
The drivers run it, synchronously or not. A reply is `bytes`, an `int`, a list of them, or
`ForeignType` where something else than expected lies at a key.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from . import scripts
from .exceptions import ForeignType, InvalidValue, PartUnavailable
from .fields import MAX_FIELDS, METADATA_PREFIX, loaded_name, stored_name
from .keys import Naming, SessionName

Word: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Word, ...]
T = TypeVar("T")


class Dispensable(tuple[Word, ...]):
    """A command that is sent along with others, first among them, and must not keep them back.

    Where its node of a cluster does not serve, its reply is `None`.
    """

    __slots__ = ()


class Ended(NamedTuple):
    """Sessions that were ended; and why others were not, where a node of a cluster is lost."""

    names: list[SessionName]
    failure: PartUnavailable | None = None


class Call(Protocol):
    """Blocking work that an operation has done for it."""

    def run(self) -> Any:
        """Do it."""


Step: TypeAlias = tuple[Command, ...] | Call
Operation: TypeAlias = Generator[Step, Any, T]

MISSING = 0
NAME_TAKEN = -1
OTHER_VERSION = -2
METADATA_FIELD = "~"
#: Asks which primary answers the commands before it; stands last among the commands of a round
#: trip, and once more after those of each bucket where there are several. The reply is bytes.
ORIGIN: Command = ("INFO", "replication")
#: Asks for the figures of the server, alone in a round trip. The reply is bytes; of a cluster it is
#: a list of those of each primary.
INFO: Command = ("INFO",)
#: Asks for the time, alone in a round trip. The reply is that to `TIME`; of a cluster it is a list
#: of those of each primary.
CLOCK: Command = ("TIME",)
SAME_USER = "="
_METADATA = re.compile(
    rb"(\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18}) ([A-Za-z0-9_-]*)"
    rb"(?: @([0-9a-f]+)(?: ([pc])(\d{1,18}))?)?"
)
#: Stands in a hash whose session was ended while the database was unavailable.
PENDING_END = b"x p"
#: Stands in a hash, or is all of it, while its session is read from the database.
_LEASE = {"~l"}
_METADATA_FIELDS = 16
_PRUNE_BATCH = 1000
#: TTL's reply for a key that expired between the two commands of a read.
_EXPIRED_SINCE = -2


class StoredSession(NamedTuple):
    """A session as it was read: where it lies, its metadata and its encoded fields.

    `created` in microseconds and `saved`, `expires` in seconds since the epoch. In the `cached_db`
    engine `origin` tells which server a hash was filled in at (empty in the `cache` engine); `base`
    is the version that hash and row shared last, `None` unless the database lacks something; it is
    disputed when the row is known to have been changed since.
    """

    name: SessionName
    created: int
    saved: int
    expires: int
    version: int
    user_tag: str
    fields: dict[str, bytes]
    origin: bytes = b""
    base: int | None = None
    is_disputed: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether the database lacks something of it."""
        return self.base is not None


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a new session is made of; `ttl` in seconds, `created` in microseconds."""

    ttl: int
    created: int
    user_tag: str
    fields: dict[str, bytes]

    def words(self) -> tuple[Word, ...]:
        """Return it as arguments of a script."""
        return (self.ttl, self.created, self.user_tag, *pairs(self.fields))


class Save(NamedTuple):
    """What a save sends; `user_tag` is `None` while the session's user stays the same.

    `indexed_user_tag` names the user whose index is to be renewed, if any.
    """

    ttl: int
    changed: Mapping[str, bytes]
    removed: Sequence[str]
    replace: bool
    user_tag: str | None
    indexed_user_tag: str

    def words(self) -> tuple[Word, ...]:
        """Return it as arguments of the save script."""
        removed = [stored_name(name) for name in self.removed]
        user = SAME_USER if self.user_tag is None else self.user_tag
        return (self.ttl, user, int(self.replace), len(removed), *removed, *pairs(self.changed))


def load(
    name: SessionName, older_names: Callable[[], Sequence[SessionName]]
) -> Operation[StoredSession | None]:
    """Read a session under its name, and only on a miss under its names of older index keys.

    Raises `InvalidValue` when what lies there cannot be a session.
    """
    fields, ttl = yield read_commands(name)
    if fields != []:
        return parse_session(name, fields, ttl)
    names = older_names()
    if not names:
        return None
    replies = yield tuple(command for older in names for command in read_commands(older))
    for older, fields, ttl in zip(names, replies[::2], replies[1::2], strict=True):
        if fields != []:
            return parse_session(older, fields, ttl)
    return None


def exists(names: Sequence[SessionName]) -> Operation[bool]:
    """Tell whether a session is stored under any of its names."""
    replies = yield tuple(("HEXISTS", name.hash_key, METADATA_FIELD) for name in names)
    return any(_number(reply) for reply in replies)


def create(naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """Make a session and enter it in the indexes; `False` when the name is taken."""
    words = (name.sid, *new.words())
    keys = (name.hash_key, name.index_key, naming.events(name.bucket))
    commands = [run(scripts.CREATE, keys, words)]
    if new.user_tag and new.ttl > 0:
        commands.append(index_user(naming, new.user_tag, name, new.ttl))
    return _number((yield tuple(commands))[0]) == 1


def save(naming: Naming, stored: StoredSession, change: Save) -> Operation[int]:
    """Merge changes into a stored session; return its version, `MISSING` when it is gone.

    Users' indexes, where they have to be written, go along in the same round trip.
    """
    name = stored.name
    words = (name.sid, *change.words())
    keys = (name.hash_key, name.index_key, *_events(naming, name, is_end=change.ttl <= 0))
    commands = [run(scripts.SAVE, keys, words)]
    commands += user_commands(naming, stored, change)
    return _number((yield tuple(commands))[0])


def rotate(
    naming: Naming, old: StoredSession, name: SessionName, new: NewSession, *, fenced: bool
) -> Operation[int]:
    """Replace a session by a new one in the same bucket, atomically.

    Return 1, or `MISSING` (the old one is gone), `NAME_TAKEN`, or, when fenced, `OTHER_VERSION`:
    somebody saved to the old session since it was loaded.
    """
    fence = old.version if fenced else ""
    events = _events(naming, name, is_end=new.ttl <= 0)
    keys = (old.name.hash_key, old.name.index_key, name.hash_key, *events)
    words = (old.name.sid, name.sid, fence, *new.words())
    commands = [run(scripts.ROTATE, keys, words)]
    if new.user_tag and new.ttl > 0:
        commands.append(index_user(naming, new.user_tag, name, new.ttl))
    if old.user_tag:
        commands.append(forget_user(naming, old.user_tag, old.name))
    return _number((yield tuple(commands))[0])


def delete(naming: Naming, names: Sequence[SessionName], *, user_tag: str) -> Operation[bool]:
    """End a session under all its names; take it out of its user's index.

    `user_tag`, where it is known, saves a round trip. Return whether there was one.
    """
    if not user_tag:
        ended, failure = yield from end_all(naming, names)
        if failure:
            raise failure
        return bool(ended)
    replies = yield (*_deletions(naming, names), forget_user(naming, user_tag, names[0]))
    return any(reply is not None for reply in replies[: len(names)])


def end_all(naming: Naming, names: Sequence[SessionName]) -> Operation[Ended]:
    """End sessions; take them out of their users' indexes."""
    replies, failure = yield from _in_parts(_deletions(naming, names))
    found = [
        (name, tag.decode())
        for name, tag in zip(names, replies, strict=False)
        if isinstance(tag, bytes)
    ]
    forgetting = forget_users(naming, found)
    if forgetting:
        _, not_forgotten = yield from _in_parts(tuple(forgetting))
        failure = failure or not_forgotten
    return Ended([name for name, _ in found], failure)


def _in_parts(
    commands: tuple[Command, ...],
) -> Operation[tuple[Sequence[Any], PartUnavailable | None]]:
    """Yield commands; return the replies that came, and why others did not."""
    try:
        return (yield commands), None
    except PartUnavailable as problem:
        return problem.replies, problem


def _deletions(naming: Naming, names: Sequence[SessionName]) -> tuple[Command, ...]:
    return tuple(
        run(
            scripts.DELETE,
            (name.hash_key, name.index_key, naming.events(name.bucket)),
            (name.sid,),
        )
        for name in names
    )


def prune(naming: Naming) -> Operation[int]:
    """Drop what has expired from every live index; return how many entries went."""
    pruned = 0
    for index_key in naming.live_indexes():
        dropped = _PRUNE_BATCH
        while dropped == _PRUNE_BATCH:
            reply = yield (run(scripts.PRUNE, (index_key,), (_PRUNE_BATCH,)),)
            dropped = _number(reply[0])
            pruned += dropped
    return pruned


def scan(naming: Naming, cursor: bytes, count: int) -> Operation[tuple[bytes, list[SessionName]]]:
    """Take one step of a SCAN over the hashes of sessions: about `count` keys, maybe many more."""
    pattern = f"{naming.prefix}:{{*}}:*"
    [(cursor, found)] = yield (("SCAN", cursor, "MATCH", pattern, "COUNT", count, "TYPE", "hash"),)
    names = (naming.from_hash_key(key) for key in found)
    return cursor, [name for name in names if name]


def run(script: scripts.Script, keys: Sequence[str], words: Iterable[Word]) -> Command:
    """Return the command that runs a script; `keys` all lie in one slot."""
    return (b"EVALSHA", script.sha, len(keys), *keys, *words)


def read_commands(name: SessionName) -> tuple[Command, Command]:
    """Return the commands that read a session; their replies go to `parse_session`."""
    return ("HGETALL", name.hash_key), ("TTL", name.hash_key)


def parse_session(name: SessionName, fields: Any, ttl: int) -> StoredSession | None:
    """Make sense of the replies that read a session; `None` when there is none.

    Raises `InvalidValue` when what lies there cannot be a session that this package has saved.
    """
    if isinstance(fields, ForeignType):
        raise InvalidValue("what lies there is not a hash")
    if not fields or ttl == _EXPIRED_SINCE:
        return None
    if ttl < 0:
        raise InvalidValue("it has no expiry")
    if len(fields) > 2 * (MAX_FIELDS + _METADATA_FIELDS):
        raise InvalidValue("it has more fields than any session that would be saved")
    values = _by_name(fields)
    text = values.pop(METADATA_FIELD, b"")
    metadata = _METADATA.fullmatch(text)
    if metadata is None:
        if text == PENDING_END or values.keys() == _LEASE:
            return None
        raise InvalidValue("its metadata is damaged")
    if METADATA_PREFIX in "".join(values):
        values = {loaded_name(name): values[name] for name in values if _is_users(name)}
    created, saved, expires, version, tag, origin, state, base = metadata.groups()
    return StoredSession(
        name,
        int(created),
        int(saved),
        int(expires),
        int(version),
        tag.decode(),
        values,
        origin or b"",
        None if base is None else int(base),
        state == b"c",
    )


def _by_name(words: Sequence[bytes]) -> dict[str, bytes]:
    pairs = iter(words)
    try:
        return {name.decode(): value for name, value in zip(pairs, pairs, strict=True)}
    except UnicodeDecodeError:
        pass
    try:
        names = [name.decode("utf-8", "surrogatepass") for name in words[::2]]
    except UnicodeDecodeError:
        raise InvalidValue("a field's name is not text") from None
    return dict(zip(names, words[1::2], strict=True))


def _is_users(name: str) -> bool:
    # One "~" before another character is metadata, of a later release maybe.
    return name[:1] != METADATA_PREFIX or name[1:2] == METADATA_PREFIX


def user_commands(naming: Naming, stored: StoredSession, change: Save) -> list[Command]:
    """Return the commands that keep the users' indexes right after a save."""
    commands = []
    if change.indexed_user_tag:
        commands.append(index_user(naming, change.indexed_user_tag, stored.name, change.ttl))
    if stored.user_tag and (change.user_tag is not None or change.ttl <= 0):
        commands.append(forget_user(naming, stored.user_tag, stored.name))
    return commands


def index_user(naming: Naming, tag: str, name: SessionName, ttl: int) -> Command:
    """Return the command that enters a session into its user's index."""
    # An entry outlives its session by an eighth of its life: see is_user_index_due().
    return run(scripts.INDEX_USER, (naming.user_index(tag),), (name.sid, ttl + ttl // 8 + 1))


def forget_user(naming: Naming, tag: str, name: SessionName) -> Command:
    """Return the command that takes a session out of a user's index."""
    return ("ZREM", naming.user_index(tag), name.sid)


def forget_users(naming: Naming, found: Iterable[tuple[SessionName, str]]) -> list[Command]:
    """Return the commands that take sessions out of the indexes of their users, where they have."""
    sids: dict[str, list[str]] = defaultdict(list)
    for name, tag in found:
        if tag:
            sids[tag].append(name.sid)
    return [("ZREM", naming.user_index(tag), *of_user) for tag, of_user in sids.items()]


def _events(naming: Naming, name: SessionName, *, is_end: bool) -> tuple[str, ...]:
    return (naming.events(name.bucket),) if is_end else ()


def _number(reply: Any) -> int:
    # A foreign value under a session's name is no session.
    return MISSING if isinstance(reply, ForeignType) else int(reply)


def pairs(fields: Mapping[str, bytes]) -> list[Word]:
    """Return fields as words of a command: field, value, ..."""
    return [word for name, value in fields.items() for word in (stored_name(name), value)]
