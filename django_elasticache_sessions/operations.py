"""Each operation on stored sessions once, as a generator that does no input or output itself.

An operation yields the commands of one round trip, a tuple of tuples of words, and receives the
list of their replies; or it yields a `Call`, of the database for instance, and receives its result.
The drivers run it, synchronously or not. A reply is `bytes`, an `int`, a list of them, or
`ForeignType` where something else than expected lies at a key.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from . import scripts
from .exceptions import (
    ForeignType,
    InvalidValue,
    PartUnavailable,
    SessionStoreUnavailable,
)
from .fields import MAX_FIELDS, METADATA_PREFIX, loaded_name, stored_name
from .keys import KEY_CHARACTERS, Naming, SessionName, stamp_of_key
from .stamps import new_stamp
from .texts import Text

Word: TypeAlias = bytes | str | int
Command: TypeAlias = tuple[Word, ...]
T = TypeVar("T")


class Dispensable(tuple[Word, ...]):
    """A command that is sent along with others, first among them, and must not keep them back.

    Where its node of a cluster does not serve, its reply is `None`.
    """

    __slots__ = ()


class Ended(NamedTuple):
    """Sessions that were ended; and why others were not, where a node of a cluster is lost.

    `is_pending` where the cache alone knows, and the database is told later.
    """

    names: list[SessionName]
    failure: PartUnavailable | None = None
    is_pending: bool = False


class Call(Protocol):
    """Blocking work that an operation has done for it."""

    def run(self) -> Any:
        """Do it."""


class AsyncCall(ABC):
    """A call that has an async form, which blocks nobody."""

    __slots__ = ()

    @abstractmethod
    def run(self) -> Any:
        """See Call.run()."""

    @abstractmethod
    async def arun(self) -> Any:
        """See Call.run()."""


Step: TypeAlias = tuple[Command, ...] | Call
Operation: TypeAlias = Generator[Step, Any, T]

MISSING = 0
#: Seconds that an end waits for the database; by then its session has expired in most projects.
TOMBSTONE_SECONDS = 14 * 86_400
_HAS_ROW, _TOO_MANY = -1, -2
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
#: Stands for what stays as it is.
SAME = "="
#: After these words an older release finds none that it knows; a later one may.
_METADATA = re.compile(
    rb"(\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18}) ([A-Za-z0-9_-]*) ([A-Za-z0-9_-]{%d}) (\d{1,18})"
    rb"(?: @(\S+) (\d{1,18}))?(?: .*)?" % KEY_CHARACTERS,
    re.DOTALL,
)
_KEY = re.compile(rb"[A-Za-z0-9_-]{%d}" % KEY_CHARACTERS)
_TIMES = re.compile(rb"\d{1,18} \d{1,18} \d{1,18}")
#: Stands in a hash whose session was ended while the database was unavailable.
PENDING_END = b"x p"
#: Before the name of what a row lacks; its value is the stamp of that write.
PENDING = "~!"
#: What may be pending besides fields: the KEY, with the creation time, and the expiry.
PENDING_KEY, PENDING_EXPIRY = "~k", "~e"
#: Stands in a hash, or is all of it, while its session is read from the database.
_LEASE = {"~l"}
_METADATA_FIELDS = 16
_PRUNE_BATCH = 1000
#: TTL's reply for a key that expired between the two commands of a read.
_EXPIRED_SINCE = -2


class StoredSession(NamedTuple):
    """A session as it was read: where it lies, its metadata and its encoded fields.

    `created` in microseconds and `saved`, `expires` in seconds since the epoch. In the `cached_db`
    engine `version` is that of the row, or of the row that the hash shows (0: of none); and of a
    hash, `origin` tells which server it was filled in at (empty in the `cache` engine), `behind`
    which version of the row it is known not to show (0: none), and `pending` what the row lacks, by
    the name in the hash, with the stamp of its write. `clock` is the largest stamp in it.
    """

    name: SessionName
    created: int
    saved: int
    expires: int
    version: int
    user_tag: str
    key: str
    fields: dict[str, bytes]
    clock: int = 0
    origin: bytes = b""
    behind: int = 0
    pending: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a new session is made of; `ttl` in seconds, `created` in microseconds.

    `is_known` where others have its session key already.
    """

    ttl: int
    created: int
    user_tag: str
    key: str
    fields: dict[str, bytes]
    stamp: int
    is_known: bool = False

    def words(self) -> tuple[Word, ...]:
        """Return it as arguments of a script."""
        return (self.ttl, self.created, self.user_tag, self.key, self.stamp, *pairs(self.fields))


class Rotated(NamedTuple):
    """What a rotation replaces: the KEY, and the creation time in microseconds."""

    key: str
    created: int


class Save(NamedTuple):
    """What a save sends; `user_tag` is `None` while the session's user stays the same.

    `stamp` is that of its values. `indexed_user_tag` names the user whose index is to be renewed,
    if any; `rotated` is there in a rotation.
    """

    ttl: int
    changed: Mapping[str, bytes]
    removed: Sequence[str]
    replace: bool
    user_tag: str | None
    indexed_user_tag: str
    stamp: int
    rotated: Rotated | None = None

    @property
    def is_touch(self) -> bool:
        """Whether nothing but the expiry changes."""
        return not (self.changed or self.removed or self.replace or self.rotated) and (
            self.user_tag is None
        )

    def words(self) -> tuple[Word, ...]:
        """Return it as arguments of the scripts that save."""
        removed = [stored_name(name) for name in self.removed]
        user = SAME if self.user_tag is None else self.user_tag
        key, created = self.rotated or (SAME, SAME)
        changes = (int(self.replace), len(removed), *removed, *pairs(self.changed))
        return (self.ttl, user, key, created, *changes)


class EndOf(NamedTuple):
    """What an end that waits for the database belongs to.

    `key` is a KEY, empty for any; `times` has its stamp, that of the end, and the session's
    creation time in microseconds.
    """

    key: str = ""
    times: str = ""

    @classmethod
    def of(cls, stored: StoredSession) -> EndOf:
        """Return that of an end that happens now, by who has loaded the session."""
        ended = new_stamp(stored.clock)
        return cls(stored.key, f"{stamp_of_key(stored.key)} {ended} {stored.created}")

    @classmethod
    def read(cls, fields: Mapping[bytes, bytes]) -> EndOf:
        """Return what a tombstone says; one that is damaged is of any KEY."""
        key, times = fields.get(b"~k", b""), fields.get(b"~e", b"")
        is_whole = _KEY.fullmatch(key) and _TIMES.fullmatch(times)
        return cls(key.decode(), times.decode()) if is_whole else cls()

    @property
    def ended(self) -> int:
        """The stamp of the end."""
        return int(self.times.split(" ")[1])

    @property
    def created(self) -> int:
        """The session's creation time, in microseconds."""
        return int(self.times.split(" ")[2])


class Outpaced(NamedTuple):
    """Why nothing was saved: the session's largest stamp, `clock`, is not before the save's.

    `has_waited` where the save had to wait for others after its stamp was made.
    """

    clock: int
    has_waited: bool = False


def anybody(stored: StoredSession) -> bool:
    """Tell that a session is meant whatever its KEY is."""
    return True


def load(
    name: SessionName,
    older_names: Callable[[], Sequence[SessionName]],
    is_mine: Callable[[StoredSession], bool] = anybody,
) -> Operation[StoredSession | None]:
    """Read a session under its name, and only on a miss under its names of older index keys.

    `None` where there is none, or `is_mine` says that its KEY is not that of the visitor. Raises
    `InvalidValue` when what lies there cannot be a session.
    """
    fields, ttl = yield read_commands(name)
    if fields != []:
        return _mine(parse_session(name, fields, ttl), is_mine)
    names = older_names()
    if not names:
        return None
    replies = yield tuple(command for older in names for command in read_commands(older))
    for older, fields, ttl in zip(names, replies[::2], replies[1::2], strict=True):
        if fields != []:
            return _mine(parse_session(older, fields, ttl), is_mine)
    return None


def _mine(
    stored: StoredSession | None, is_mine: Callable[[StoredSession], bool]
) -> StoredSession | None:
    return stored if stored and is_mine(stored) else None


def create(naming: Naming, name: SessionName, new: NewSession) -> Operation[bool]:
    """Make a session and enter it in the indexes; `False` when the name is taken."""
    words = (name.sid, *new.words())
    keys = (name.hash_key, name.index_key, naming.events(name.bucket))
    commands = [run(scripts.CREATE, keys, words)]
    if new.user_tag and new.ttl > 0:
        commands.insert(0, index_user(naming, new.user_tag, name, new.ttl))
    return _number((yield tuple(commands))[-1]) == 1


def save(naming: Naming, stored: StoredSession, change: Save) -> Operation[int | Outpaced]:
    """Merge changes into a stored session; return its version.

    `MISSING` when it is gone, or has another KEY than when it was loaded. Users' indexes, where
    they have to be written, go along in the same round trip.
    """
    name = stored.name
    if stored.origin and change.ttl > 0:
        return (yield from _save_beside(naming, stored, change))
    stamp = 0 if change.is_touch else change.stamp
    words = (name.sid, stored.key, stamp, *change.words())
    keys = (name.hash_key, name.index_key, *_events(naming, name, is_end=change.ttl <= 0))
    command = run(scripts.SAVE, keys, words)
    replies = yield with_user_commands(naming, stored, change, command)
    saved = _saved(replies[-1])
    if saved != _HAS_ROW:
        yield from forget_after(naming, stored, change, saved)
        return saved
    # A process of the cached_db engine has taken it over since it was loaded.
    fields, ttl = yield read_commands(name)
    taken_over = parse_session(name, fields, ttl)
    if taken_over is None:
        return MISSING
    if change.ttl <= 0:
        has_ended = yield from delete(naming, taken_over._replace(key=stored.key))
        return taken_over.version if has_ended else MISSING
    return (yield from _save_beside(naming, taken_over._replace(key=stored.key), change))


def _save_beside(naming: Naming, stored: StoredSession, change: Save) -> Operation[int | Outpaced]:
    """Save to a hash that has a row, which only the cached_db engine reaches: it is handed over."""
    name = stored.name
    words = (name.sid, stored.key, "*", 0, change.stamp, *change.words())
    keys = (name.hash_key, name.index_key, naming.pending_set(name.bucket))
    command = run(scripts.SAVE_PENDING, keys, words)
    replies = yield with_user_commands(naming, stored, change, command)
    saved = _saved(replies[-1])
    if saved in (_HAS_ROW, _TOO_MANY):
        raise SessionStoreUnavailable(
            Text("The session has a row in the database, which the cache engine does not reach.")
        )
    yield from forget_after(naming, stored, change, saved)
    return saved


def delete(naming: Naming, stored: StoredSession) -> Operation[bool]:
    """End a session, unless it has another KEY by now; return whether it ended."""
    is_one_step = stored.user_tag and not naming.is_clustered
    user_index = (naming.user_index(stored.user_tag),) if is_one_step else ()
    replies = yield (_deletion(naming, stored.name, user_index, key=stored.key),)
    has_ended = isinstance(replies[0], bytes)
    if has_ended and stored.user_tag and not is_one_step:
        yield (forget_user(naming, stored.user_tag, stored.name),)
    return has_ended


def end_all(naming: Naming, names: Sequence[SessionName]) -> Operation[Ended]:
    """End sessions; take them out of their users' indexes."""
    replies, failure = yield from _in_parts(tuple(_deletion(naming, name) for name in names))
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


def _deletion(
    naming: Naming, name: SessionName, user_index: tuple[str, ...] = (), *, key: str = ""
) -> Command:
    keys = (
        *(name.hash_key, name.index_key),
        *(naming.events(name.bucket), naming.pending_set(name.bucket), *user_index),
    )
    return run(scripts.DELETE, keys, (name.sid, key, TOMBSTONE_SECONDS))


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
    # A field that is pending has a second one beside it.
    if len(fields) > 2 * (2 * MAX_FIELDS + _METADATA_FIELDS):
        raise InvalidValue("it has more fields than any session that would be saved")
    values = _by_name(fields)
    text = values.pop(METADATA_FIELD, b"")
    metadata = _METADATA.fullmatch(text)
    if metadata is None:
        if text == PENDING_END or values.keys() == _LEASE:
            return None
        raise InvalidValue("its metadata is damaged")
    pending: dict[str, int] = {}
    if METADATA_PREFIX in "".join(values):
        pending = _pending(values)
        values = {loaded_name(name): values[name] for name in values if _is_users(name)}
    if len(values) > MAX_FIELDS:
        raise InvalidValue("it has more fields than any session that would be saved")
    created, saved, expires, version, tag, key, clock, origin, behind = metadata.groups()
    return StoredSession(
        name,
        int(created),
        int(saved),
        int(expires),
        int(version),
        tag.decode(),
        key.decode(),
        values,
        int(clock),
        origin or b"",
        int(behind or 0),
        pending,
    )


def _pending(values: Mapping[str, bytes]) -> dict[str, int]:
    try:
        return {
            name.removeprefix(PENDING): int(values[name])
            for name in values
            if name.startswith(PENDING)
        }
    except ValueError:
        raise InvalidValue("its metadata is damaged") from None


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


def with_user_commands(
    naming: Naming, stored: StoredSession, change: Save, command: Command
) -> tuple[Command, ...]:
    """Return the command of a save, after the one that enters its session in its user's index.

    So it is there before the session can be used as that user's.
    """
    if not change.indexed_user_tag:
        return (command,)
    return index_user(naming, change.indexed_user_tag, stored.name, change.ttl), command


def forget_after(
    naming: Naming, stored: StoredSession, change: Save, saved: int | Outpaced
) -> Operation[None]:
    """Take a session out of the index of a user whose it is no more, once that is certain.

    Sent along with a save that is refused, it would hide a living session.
    """
    is_other = change.user_tag is not None or change.ttl <= 0
    if stored.user_tag and is_other and saved != MISSING and not isinstance(saved, Outpaced):
        yield (forget_user(naming, stored.user_tag, stored.name),)


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


def _saved(reply: Any) -> int | Outpaced:
    return Outpaced(int(reply[0])) if isinstance(reply, list) else _number(reply)


def _number(reply: Any) -> int:
    # A foreign value under a session's name is no session.
    return MISSING if isinstance(reply, ForeignType) else int(reply)


def pairs(fields: Mapping[str, bytes]) -> list[Word]:
    """Return fields as words of a command: field, value, ..."""
    return [word for name, value in fields.items() for word in (stored_name(name), value)]
