"""Looking through the sessions that live, by the indexes in the session cache.

Operations as in `operations`. Each takes one round trip, however many sessions there are, or two
where it must first learn which sessions to look at: a script may only touch keys that it is given.
Entries whose session is gone are taken out of the indexes on the way.
"""

from __future__ import annotations

import math
import random
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, NamedTuple, TypeVar

from . import scripts
from .exceptions import DatabaseUnavailable, ForeignType, InvalidValue
from .fields import loaded_name, stored_name
from .keys import Naming, SessionName, is_sid
from .operations import (
    METADATA_FIELD,
    Command,
    Operation,
    StoredSession,
    index_user,
    parse_session,
    run,
)

T = TypeVar("T")
Kind = Literal["all", "signed-in", "anonymous"]
_MIRROR = bytes(range(255, -1, -1))
_MOST_EXPIRES = 10**12 - 1
_CURSOR = re.compile(r"([sa])(\d{1,12})\.(.{22})", re.ASCII)
#: How often a page is filled up again where entries turn out to be of sessions that are gone.
_REFILLS = 50
#: Sessions described in one round trip.
_MOST_AT_ONCE = 1000


class Counts(NamedTuple):
    """Numbers of live sessions."""

    signed_in: int
    anonymous: int


class Place(NamedTuple):
    """Where a session stands among the others: the later it expires, the earlier."""

    expires: int
    is_signed_in: bool
    sid: str

    @classmethod
    def parse(cls, cursor: str) -> Place:
        """Read what `str` wrote. Raises `ValueError` for anything else."""
        found = _CURSOR.fullmatch(cursor)
        if not found or not is_sid(found[3]):
            raise ValueError("This is not a place in the list of sessions.")
        return cls(int(found[2]), found[1] == "s", found[3])

    def __str__(self) -> str:
        return f"{'s' if self.is_signed_in else 'a'}{self.expires}.{self.sid}"

    def moved(self, *, seconds: int) -> Place:
        """Return a place that is so much earlier in the list, or later where it is negative."""
        return self._replace(expires=min(max(0, self.expires + seconds), _MOST_EXPIRES))

    @property
    def order(self) -> tuple[int, bool, bytes]:
        """The sort key. The server's order of equal scores is the alphabet's, or its reverse."""
        sid = self.sid.encode()
        if self.is_signed_in:
            sid = sid.translate(_MIRROR)
        return (-self.expires, not self.is_signed_in, sid)


class Described(NamedTuple):
    """A session without its values but those asked for; sizes in bytes."""

    stored: StoredSession
    sizes: dict[str, int]


def ask(sources: Sequence[Any], question: Callable[[Any], Operation[T]]) -> Operation[T]:
    """Ask the first source, a module like this one, and the next where its database is away."""
    for source in sources[:-1]:
        try:
            return (yield from question(source))
        except DatabaseUnavailable:
            pass
    return (yield from question(sources[-1]))


def count(naming: Naming) -> Operation[Counts]:
    """Count the live sessions. What was evicted counts until somebody comes across it."""
    counts = yield from _count_buckets(naming)
    return Counts(sum(one.signed_in for one in counts), sum(one.anonymous for one in counts))


def _count_buckets(naming: Naming) -> Operation[list[Counts]]:
    replies = yield tuple(run(scripts.COUNT, (key,), ()) for key in naming.live_indexes())
    return [Counts(0, 0) if isinstance(reply, ForeignType) else Counts(*reply) for reply in replies]


def sample(naming: Naming, *, limit: int, wanted: Collection[str]) -> Operation[list[Described]]:
    """Return up to `limit` sessions drawn at random, or all where there are no more."""
    names = yield from draw(naming, (yield from _count_buckets(naming)), limit)
    return (yield from describe(naming, names, wanted=wanted))


def draw(naming: Naming, counts: Sequence[Counts], limit: int) -> Operation[list[SessionName]]:
    """Return the names of up to `limit` sessions, each as likely as any other.

    Takes how many live in each bucket.
    """
    commands = tuple(_draw_commands(naming, counts, limit))
    replies = (yield commands) if commands else []
    sids = {
        _text(sid) for reply in replies for sid in ([] if isinstance(reply, ForeignType) else reply)
    }
    return [naming.from_sid(sid) for sid in sids if is_sid(sid)]


def _draw_commands(naming: Naming, counts: Sequence[Counts], limit: int) -> Iterator[Command]:
    keys = list(naming.live_indexes())
    ends = list(accumulate(map(sum, counts)))
    # Which sessions are drawn protects nothing.
    drawn = random.sample(range(ends[-1]), min(ends[-1], limit))
    for number in sorted(drawn):
        bucket = bisect_right(ends, number)
        rank = number - ends[bucket]
        # Those without a user are at the head of an index, those with one at its end; what has
        # expired lies between them.
        if rank < -counts[bucket].signed_in:
            rank += sum(counts[bucket])
        yield ("ZRANGE", keys[bucket], rank, rank)


def page(
    naming: Naming,
    *,
    kind: Kind,
    limit: int,
    wanted: Collection[str],
    after: Place | None = None,
    before: Place | None = None,
) -> Operation[tuple[list[Described], bool]]:
    """Return up to `limit` sessions next to a place, and whether there are more beyond them."""
    found: list[Described] = []
    is_newer = before is not None
    at, size = before or after, limit
    for _ in range(_REFILLS):
        places = yield from _walk(naming, kind, size + 1, at, is_newer=is_newer)
        has_more = len(places) > size
        names = [naming.from_sid(place.sid) for place in places[:size]]
        found += yield from describe(naming, names, wanted=wanted)
        if not has_more or len(found) >= limit:
            break
        at, size = places[size - 1], min(2 * size, _MOST_AT_ONCE)
    has_more = has_more or len(found) > limit
    found = found[:limit]
    return (found[::-1] if is_newer else found), has_more


def of_user(
    naming: Naming, user_id: str, *, wanted: Collection[str], limit: int | None = None
) -> Operation[list[Described]]:
    """Return a user's sessions, or up to `limit` of those that expire last."""
    reach = limit
    for _ in range(_REFILLS):
        found, others = yield from _of_user(naming, user_id, wanted, reach)
        if limit is None or reach is None or len(found) >= limit or not others:
            break
        reach += max(limit, others)
    found.sort(key=lambda item: item.stored.expires, reverse=True)
    return found[:limit]


def count_of_user(naming: Naming, user_id: str) -> Operation[int]:
    """Count a user's sessions. What expired lately, or was evicted, counts until it is dropped."""
    tags = naming.user_tags(user_id)
    replies = yield tuple(("ZCARD", naming.user_index(tag)) for tag in tags)
    return sum(reply for reply in replies if not isinstance(reply, ForeignType))


def _of_user(
    naming: Naming, user_id: str, wanted: Collection[str], limit: int | None
) -> Operation[tuple[list[Described], int]]:
    """Return sessions, and how many entries were of none that is the user's now."""
    tags, last = naming.user_tags(user_id), -1 if limit is None else limit - 1
    replies = yield tuple(("ZRANGE", naming.user_index(tag), 0, last, "REV") for tag in tags)
    found: list[Described] = []
    others = 0
    for tag, sids in zip(tags, replies, strict=True):
        if isinstance(sids, ForeignType):
            continue
        names = [naming.from_sid(sid) for sid in map(_text, sids) if is_sid(sid)]
        for batch in _batches(names):
            there = yield from describe(naming, batch, wanted=wanted)
            of_tag = [item for item in there if item.stored.user_tag == tag]
            # One that is there may be becoming this user's just now: its entry stays.
            alive = {item.stored.name for item in there}
            left = [name for name in batch if name not in alive]
            if left:
                of_tag += yield from _drop(naming, tag, left, wanted)
            others += len(batch) - len(of_tag)
            found += of_tag
    return found, others


def _of_tag(
    naming: Naming, tag: str, names: Sequence[SessionName], wanted: Collection[str]
) -> Operation[list[Described]]:
    described = yield from describe(naming, names, wanted=wanted)
    return [item for item in described if item.stored.user_tag == tag]


def _drop(
    naming: Naming, tag: str, names: Sequence[SessionName], wanted: Collection[str]
) -> Operation[list[Described]]:
    """Take sessions out of a user's index; enter and return those that have come meanwhile.

    A session enters its user's index before it is there, or is that user's.
    """
    yield (("ZREM", naming.user_index(tag), *sorted(name.sid for name in names)),)
    found = yield from _of_tag(naming, tag, names, wanted)
    if found:
        yield tuple(
            index_user(
                naming, tag, item.stored.name, max(1, item.stored.expires - int(time.time()))
            )
            for item in found
        )
    return found


def describe(
    naming: Naming, names: Sequence[SessionName], *, wanted: Collection[str]
) -> Operation[list[Described]]:
    """Return those of the sessions that live, in the same order."""
    if not names:
        return []
    words = (METADATA_FIELD.encode(), *map(stored_name, wanted))
    replies = yield tuple(run(scripts.DESCRIBE, (name.hash_key,), words) for name in names)
    found, gone = [], []
    for name, reply in zip(names, replies, strict=True):
        described = _described(name, words, reply)
        if described:
            found.append(described)
        elif reply == 0:
            gone.append(name)
    if gone:
        yield tuple(("ZREM", name.index_key, name.sid) for name in gone)
    return found


def _described(name: SessionName, wanted: Sequence[bytes], reply: Any) -> Described | None:
    if reply == 0:
        return None
    ttl, values, sizes = reply
    words = [
        word for pair in zip(wanted, values, strict=True) if pair[1] is not None for word in pair
    ]
    try:
        stored = parse_session(name, words, ttl)
        if stored is None:
            return None
        by_name = iter(sizes)
        names = [(field.decode("utf-8", "surrogatepass"), size) for field, size in _pairs(by_name)]
    except (InvalidValue, UnicodeDecodeError):
        return None
    return Described(stored, {loaded_name(name): size for name, size in names if _is(name)})


def _is(name: str) -> bool:
    return name[:1] != "~" or name[1:2] == "~"


def _pairs(words: Iterator[Any]) -> Iterable[tuple[bytes, int]]:
    return zip(words, words, strict=True)


@dataclass(slots=True)
class _Range:
    """One kind of one bucket's sessions, read a piece at a time in the order of `Place`."""

    index_key: str
    is_signed_in: bool
    at: Place | None
    is_newer: bool
    offset: int = 0
    is_exhausted: bool = False
    places: list[Place] = field(default_factory=list)

    def command(self, quota: int) -> Command:
        """Return the command that reads the next piece."""
        sign = 1 if self.is_signed_in else -1
        begin: float = math.inf if self.at is None else self.at.expires
        end: float = math.inf if self.is_newer else 0
        rev = ("REV",) if self.is_signed_in != self.is_newer else ()
        bounds = [_score(sign * begin), _score(sign * end)]
        limit = ("LIMIT", self.offset, quota)
        return ("ZRANGE", self.index_key, *bounds, "BYSCORE", *rev, *limit, "WITHSCORES")

    def take(self, reply: Any, quota: int, now: int) -> None:
        """Take the reply to it."""
        if isinstance(reply, ForeignType):
            self.is_exhausted = True
            return
        entries = [
            Place(abs(int(float(score))), self.is_signed_in, _text(sid))
            for sid, score in zip(reply[::2], reply[1::2], strict=True)
        ]
        self.offset += quota
        self.is_exhausted = len(entries) < quota or (
            not self.is_newer and entries[-1].expires <= now
        )
        self.places += [place for place in entries if place.expires > now and self._takes(place)]

    def _takes(self, place: Place) -> bool:
        if not is_sid(place.sid):
            return False
        if self.at is None:
            return True
        return place.order < self.at.order if self.is_newer else place.order > self.at.order


def _walk(
    naming: Naming, kind: Kind, wanted: int, at: Place | None, *, is_newer: bool
) -> Operation[list[Place]]:
    """Return the next `wanted` places of all buckets together."""
    kinds = {"all": (True, False), "signed-in": (True,), "anonymous": (False,)}[kind]
    ranges = [_Range(key, kind, at, is_newer) for key in naming.live_indexes() for kind in kinds]
    # Sessions are spread by hashes: few buckets hold more of a page than this.
    share = wanted / naming.buckets
    quota = min(wanted + 1, math.ceil(share + 3 * math.sqrt(share)) + 2)
    todo = ranges
    while True:
        [seconds, _], *replies = yield (("TIME",), *(part.command(quota) for part in todo))
        for part, reply in zip(todo, replies, strict=True):
            part.take(reply, quota, int(seconds))
        places = [place for part in ranges for place in part.places]
        places = sorted(places, key=lambda place: place.order, reverse=is_newer)[:wanted]
        todo = [part for part in ranges if _may_have_more(part, places, wanted)]
        if not todo:
            return places
        quota *= 2


def _may_have_more(part: _Range, places: Sequence[Place], wanted: int) -> bool:
    if part.is_exhausted:
        return False
    if len(places) < wanted or not part.places:
        return True
    return part.places[-1] in places


def _score(score: float) -> str:
    return str(int(score)) if math.isfinite(score) else ("+inf" if score > 0 else "-inf")


def _text(sid: bytes) -> str:
    return sid.decode("ascii", "replace")


def _batches(names: Sequence[SessionName]) -> Iterator[Sequence[SessionName]]:
    return (names[start : start + _MOST_AT_ONCE] for start in range(0, len(names), _MOST_AT_ONCE))
