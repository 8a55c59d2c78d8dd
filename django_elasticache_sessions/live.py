"""The sessions that live, for staff and for code: count them, look at them, end them.

Every function has its `a...` twin for asyncio, and raises `SessionStoreUnavailable` where neither
store can tell. Under the `cached_db` engine the rows are asked, and the session cache while the
database is unavailable; under the `cache` engine the session cache.

Sessions are named by their hashed ids; no session key goes in or comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from operator import index
from typing import Any, Self, TypeVar, get_args

from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model
from django.http import HttpRequest
from django.utils.module_loading import import_string

from . import listing, lost_indexes
from .backends.base import HashSessionStore
from .client import CLIENT_FIELD, Client
from .codec import SessionCodec
from .conf import get_configuration
from .drivers import aio, sync
from .exceptions import (
    InvalidValue,
    PartUnavailable,
    SessionStoreUnavailable,
    UnknownFormat,
)
from .fields import name_size
from .keys import Naming, SessionName, is_sid
from .listing import Counts, Described, Kind, Place
from .operations import Operation
from .serializers import make_serializer
from .signals import announce_ends
from .stats import Stats, collect
from .texts import Text

T = TypeVar("T")

MAX_PAGE = 1000
_WANTED = (USER_ID_FIELD, CLIENT_FIELD)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 500
_PASSES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSession:
    """A session as staff may see it. Sizes are those of the stored, encoded values, in bytes.

    `user_id` is the text that Django keeps in sessions, `None` for an anonymous one; `saved` is
    when it was last written or touched. `values` is only there where it was asked for.
    """

    session_id: str
    created: datetime
    saved: datetime
    expires: datetime
    user_id: str | None
    client: Client
    field_sizes: Mapping[str, int]
    values: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def is_signed_in(self) -> bool:
        """Whether it belongs to a user."""
        return self.user_id is not None

    @property
    def size_bytes(self) -> int:
        """The bytes of its fields' names and stored values."""
        return sum(name_size(name) + size for name, size in self.field_sizes.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some live sessions, those that expire last first; and where to go on, `None` at an end."""

    sessions: Sequence[LiveSession]
    newer: str | None
    older: str | None


class EndedCount(int):
    """How many sessions of a user were ended; never changes.

    `is_complete` is false where a store could not be asked: what only that one has may live on. It
    is false too where the database refused to end them: the cache alone knows, until it is told;
    and where the cache lost keys, and not all of its sessions could be looked through.
    """

    _is_complete: bool

    def __new__(cls, count: int, *, is_complete: bool) -> Self:
        """Count them."""
        counted = super().__new__(cls, count)
        object.__setattr__(counted, "_is_complete", is_complete)
        return counted

    @property
    def is_complete(self) -> bool:
        """Whether none is left."""
        return self._is_complete

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse."""
        raise AttributeError(f"{type(self).__name__} cannot be changed.")

    def __delattr__(self, name: str) -> None:
        """Refuse."""
        raise AttributeError(f"{type(self).__name__} cannot be changed.")

    def __getnewargs_ex__(self) -> tuple[tuple[int], dict[str, bool]]:
        """Return what copies are made of."""
        return (int(self),), {"is_complete": self.is_complete}


def count() -> Counts:
    """Return how many sessions live: with a user and without."""
    return _run(_count())


async def acount() -> Counts:
    """See count()."""
    return await _arun(_count())


def page(
    after: str | None = None, limit: int = 100, *, before: str | None = None, kind: Kind = "all"
) -> Page:
    """Return up to `limit` sessions (at most 1000), by expiry, the last to expire first.

    `after` is a page's `older`, `before` its `newer`; sessions that come and go meanwhile move
    nothing else, and a page without sessions leads back. Raises `ValueError` for any other text or
    kind, and for both at once; `TypeError` for a limit that is no whole number.
    """
    return _run(_page(after, limit, before=before, kind=kind))


async def apage(
    after: str | None = None, limit: int = 100, *, before: str | None = None, kind: Kind = "all"
) -> Page:
    """See page()."""
    return await _arun(_page(after, limit, before=before, kind=kind))


def sample(limit: int = 100) -> list[LiveSession]:
    """Return up to `limit` sessions (at most 1000) drawn at random, or all where there are no more.

    Each is as likely as any other. Raises `ValueError` for another limit, `TypeError` for one that
    is no whole number.
    """
    return _run(_sample(limit))


async def asample(limit: int = 100) -> list[LiveSession]:
    """See sample()."""
    return await _arun(_sample(limit))


def for_user(user: Model | str | int, *, limit: int | None = None) -> list[LiveSession]:
    """Return a user's sessions, the last saved first. Takes a user or a user's primary key.

    With `limit` (at most 1000) only so many, those that expire last. Raises as sample() does.
    """
    return _run(_for_user(user, limit))


async def afor_user(user: Model | str | int, *, limit: int | None = None) -> list[LiveSession]:
    """See for_user()."""
    return await _arun(_for_user(user, limit))


def count_for_user(user: Model | str | int) -> int:
    """Count a user's sessions; some too many by the cache's index, where some expired lately."""
    return _run(_count_for_user(user))


async def acount_for_user(user: Model | str | int) -> int:
    """See count_for_user()."""
    return await _arun(_count_for_user(user))


def get(session_id: str, *, with_values: bool = False) -> LiveSession | None:
    """Return one session; `None` where there is none, or where the text is no session id."""
    return _run(_get(session_id, with_values=with_values))


async def aget(session_id: str, *, with_values: bool = False) -> LiveSession | None:
    """See get()."""
    return await _arun(_get(session_id, with_values=with_values))


def get_all(session_ids: Collection[str]) -> list[LiveSession]:
    """Return those of the sessions that live, in the order of the ids.

    Raises `TypeError` for one text in their place.
    """
    return _run(_get_all(session_ids))


async def aget_all(session_ids: Collection[str]) -> list[LiveSession]:
    """See get_all()."""
    return await _arun(_get_all(session_ids))


def end(session_id: str, *, reason: str = "ended") -> bool:
    """End a session for good; `False` where there was none. `reason` goes to `session_ended`."""
    return _run(_end_all((session_id,), reason)) == 1


async def aend(session_id: str, *, reason: str = "ended") -> bool:
    """See end()."""
    return await _arun(_end_all((session_id,), reason)) == 1


def end_all(session_ids: Collection[str], *, reason: str = "ended") -> int:
    """End sessions for good, many at a time; return how many there were.

    Raises `SessionStoreUnavailable`; where one node of a cluster does not serve, once the sessions
    of all others have ended. Raises `TypeError` for one text in the place of the ids.
    """
    return _run(_end_all(session_ids, reason))


async def aend_all(session_ids: Collection[str], *, reason: str = "ended") -> int:
    """See end_all()."""
    return await _arun(_end_all(session_ids, reason))


def end_for_user(
    user: Model | str | int,
    keep: HashSessionStore | str | None = None,
    *,
    reason: str = "ended",
) -> EndedCount:
    """End all sessions of a user but the one to keep; return how many there were.

    Both stores are asked, and asked again until they have none left; `is_complete` of the number
    tells whether both could be, and have ended them. Where the server of the `cache` engine has
    lost keys, all sessions are looked through that can be in two seconds. `keep` is
    `request.session` or a session id. Call it after a password has changed, for instance. Raises
    `ValueError`, and ends none, where `keep` is another text.
    """
    return _run(_end_for_user(user, keep, reason))


async def aend_for_user(
    user: Model | str | int,
    keep: HashSessionStore | str | None = None,
    *,
    reason: str = "ended",
) -> EndedCount:
    """See end_for_user()."""
    return await _arun(_end_for_user(user, keep, reason))


def stats() -> Stats:
    """Return how the sessions and their stores are; a store that is away is told, not raised."""
    return _run(collect(get_store_class()._operations))


async def astats() -> Stats:
    """See stats()."""
    return await _arun(collect(get_store_class()._operations))


def user_id_of(user: Model | str | int) -> str:
    """Return the text by which Django names a user in sessions."""
    if isinstance(user, Model):
        return str(user._meta.pk.value_to_string(user))
    return str(user)


def session_id_of(request: HttpRequest) -> str | None:
    """Return the hashed id of a request's own session, `None` where it is another engine's."""
    session = request.session
    return session.session_id if isinstance(session, HashSessionStore) else None


def get_store_class() -> type[HashSessionStore]:
    """Return the session engine's class. Raises `ImproperlyConfigured` where it is another's."""
    store: type[Any] = import_module(settings.SESSION_ENGINE).SessionStore
    if not issubclass(store, HashSessionStore):
        raise ImproperlyConfigured(
            f"SESSION_ENGINE is {settings.SESSION_ENGINE!r}, whose sessions cannot be listed. Set "
            'SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db".'
        )
    return store


def _count() -> Operation[Counts]:
    naming = get_configuration().naming
    return _ask(lambda source: source.count(naming))


def _page(after: str | None, limit: int, *, before: str | None, kind: Kind) -> Operation[Page]:
    if after is not None and before is not None:
        raise ValueError("Give after or before, not both.")
    if not 1 <= (limit := index(limit)) <= MAX_PAGE:
        raise ValueError(f"limit is {limit}, expected 1 to {MAX_PAGE}.")
    if kind not in get_args(Kind):
        raise ValueError("This is no kind: expected 'all', 'signed-in' or 'anonymous'.")
    places = {
        "after": None if after is None else Place.parse(after),
        "before": None if before is None else Place.parse(before),
    }
    naming = get_configuration().naming
    found, has_more = yield from _ask(
        lambda source: source.page(naming, kind=kind, limit=limit, wanted=_WANTED, **places)
    )
    newer: str | None
    older: str | None
    if found:
        newer, older = str(_place(found[0])), str(_place(found[-1]))
    else:
        # Back over the place itself: its own session may still be there.
        newer = before or (after and str(Place.parse(after).moved(seconds=-1)))
        older = after or (before and str(Place.parse(before).moved(seconds=1)))
    return Page(
        sessions=tuple(_live(item) for item in found),
        newer=newer if (has_more if before else after) else None,
        older=older if (before or has_more) else None,
    )


def _sample(limit: int) -> Operation[list[LiveSession]]:
    if not 1 <= (limit := index(limit)) <= MAX_PAGE:
        raise ValueError(f"limit is {limit}, expected 1 to {MAX_PAGE}.")
    naming = get_configuration().naming
    found = yield from _ask(lambda source: source.sample(naming, limit=limit, wanted=_WANTED))
    return [_live(item) for item in found]


def _for_user(user: Model | str | int, limit: int | None) -> Operation[list[LiveSession]]:
    if limit is not None and not 1 <= (limit := index(limit)) <= MAX_PAGE:
        raise ValueError(f"limit is {limit}, expected 1 to {MAX_PAGE}.")
    naming, user_id = get_configuration().naming, user_id_of(user)
    found = yield from _ask(
        lambda source: source.of_user(naming, user_id, wanted=_WANTED, limit=limit)
    )
    sessions = (_live(item) for item in found)
    return sorted(sessions, key=lambda session: session.saved, reverse=True)


def _count_for_user(user: Model | str | int) -> Operation[int]:
    naming, user_id = get_configuration().naming, user_id_of(user)
    return _ask(lambda source: source.count_of_user(naming, user_id))


def _get(session_id: str, *, with_values: bool) -> Operation[LiveSession | None]:
    naming = get_configuration().naming
    try:
        name = naming.from_sid(session_id)
    except ValueError:
        return None
    found = yield from _describe(naming, (name,))
    if not found:
        return None
    [described] = found
    if with_values and described.sizes.keys() - described.stored.fields.keys():
        names = tuple(described.sizes)
        found = yield from _ask(lambda source: source.describe(naming, (name,), wanted=names))
    return _live(found[0], with_values=with_values) if found else None


def _get_all(session_ids: Collection[str]) -> Operation[list[LiveSession]]:
    naming, names = get_configuration().naming, _names(session_ids)
    sessions: list[LiveSession] = []
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        found = yield from _describe(naming, batch)
        sessions += map(_live, found)
    return sessions


def _describe(naming: Naming, names: Sequence[SessionName]) -> Operation[list[Described]]:
    return _ask(lambda source: source.describe(naming, names, wanted=_WANTED))


def _end_all(session_ids: Collection[str], reason: str) -> Operation[EndedCount]:
    naming, store_class = get_configuration().naming, get_store_class()
    names, count, is_complete = _names(session_ids), 0, True
    failure: PartUnavailable | None = None
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        ended = yield from store_class._operations.end_all(naming, batch)
        # What other nodes have ended is ended, and is to be told.
        yield from announce_ends(store_class, (name.sid for name in ended.names), reason)
        count += len(ended.names)
        is_complete = is_complete and not ended.is_pending
        failure = ended.failure or failure
    if failure:
        raise failure
    return EndedCount(count, is_complete=is_complete)


def _end_for_user(
    user: Model | str | int, keep: HashSessionStore | str | None, reason: str
) -> Operation[EndedCount]:
    kept = keep.session_id if isinstance(keep, HashSessionStore) else keep
    naming, user_id = get_configuration().naming, user_id_of(user)
    if kept is not None:
        # A session key, say, would keep none.
        naming.from_sid(kept)
    count, is_complete = 0, True
    done = {kept}
    for number in range(_PASSES):
        found, saw_all = yield from _sessions_of_user(naming, user_id)
        if not number and get_store_class()._listings == (listing,):
            beyond = yield from lost_indexes.beyond(naming, user_id, found, kept)
            found = [*dict.fromkeys((*found, *(name.sid for name in beyond.names)))]
            saw_all = saw_all and beyond.is_complete
        is_complete = is_complete and saw_all
        # An end is for good, though the cache may not know of it before a commit.
        left = [sid for sid in found if sid not in done]
        if not left:
            return EndedCount(count, is_complete=is_complete)
        ended = yield from _end_all(left, reason)
        count += ended
        is_complete = is_complete and ended.is_complete
        done.update(left)
    raise SessionStoreUnavailable(
        Text("Sessions of the user kept being created while they were ended.")
    )


def _sessions_of_user(naming: Naming, user_id: str) -> Operation[tuple[list[str], bool]]:
    """Return the ids of a user's sessions in every store, and whether all stores could tell.

    A session may be in one store alone: made while the other was away.
    """
    found: dict[str, None] = {}
    problem: SessionStoreUnavailable | None = None
    sources = get_store_class()._listings
    problems = 0
    for source in sources:
        try:
            sessions = yield from source.of_user(naming, user_id, wanted=())
        except SessionStoreUnavailable as error:
            problem, problems = error, problems + 1
        else:
            found |= dict.fromkeys(item.stored.name.sid for item in sessions)
    if problem and problems == len(sources):
        raise problem
    return list(found), problem is None


def _names(session_ids: Collection[str]) -> list[SessionName]:
    if isinstance(session_ids, str):
        raise TypeError("This is one text, expected several session ids: put it into a list.")
    naming = get_configuration().naming
    return [naming.from_sid(text) for text in dict.fromkeys(session_ids) if is_sid(text)]


def _ask(question: Callable[[Any], Operation[T]]) -> Operation[T]:
    return listing.ask(get_store_class()._listings, question)


def _place(item: Described) -> Place:
    return Place(item.stored.expires, bool(item.stored.user_tag), item.stored.name.sid)


def _live(item: Described, *, with_values: bool = False) -> LiveSession:
    stored = item.stored
    codec = SessionCodec(get_configuration().policy, stored.name.sid)
    serializer = make_serializer(import_string(settings.SESSION_SERIALIZER))

    def value(name: str) -> Any:
        try:
            return serializer.loads(codec.decode(name, stored.fields[name]))
        except (KeyError, InvalidValue, UnknownFormat, ValueError):
            return None

    user_id = value(USER_ID_FIELD) if stored.user_tag else None
    return LiveSession(
        session_id=stored.name.sid,
        created=_EPOCH + timedelta(microseconds=stored.created),
        saved=_EPOCH + timedelta(seconds=stored.saved),
        expires=_EPOCH + timedelta(seconds=stored.expires),
        user_id="" if stored.user_tag and user_id is None else user_id,
        client=Client.parse(value(CLIENT_FIELD)),
        field_sizes=item.sizes,
        values={name: value(name) for name in stored.fields} if with_values else None,
    )


def _run(operation: Operation[T]) -> T:
    return sync.get_driver(get_configuration().alias).run(operation)


async def _arun(operation: Operation[T]) -> T:
    return await aio.get_driver(get_configuration().alias).run(operation)
