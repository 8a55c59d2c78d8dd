"""The two homes of a session, cache and database: which is available, and what one was not told."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.signals import setting_changed

from . import occurrences, row_servers, row_upkeep, scripts, transactions
from .breaker import LONGEST_PAUSE_SECONDS, Breaker, Stall, StatementBreaker
from .conf import get_configuration, get_outline
from .drivers.origin import REPLICA
from .drivers.pools import is_cluster
from .exceptions import (
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidValue,
    LimitReached,
    PartUnavailable,
    RowRefused,
    SessionStoreUnavailable,
    SessionTooLarge,
    StoreRefused,
    TransactionBroken,
    TransactionFailed,
)
from .forks import after_fork
from .health import Health
from .identities import UNTOLD, Identities, probe
from .keys import SessionName
from .losses import Losses
from .occurrences import Occurrences
from .operations import (
    ORIGIN,
    Command,
    Dispensable,
    Operation,
    StoredSession,
    run,
)
from .row_servers import UNKNOWN, Standing, name_of
from .statements import Statement, is_write
from .texts import A_MOMENT_AGO, Text, text_of

T = TypeVar("T")

#: How often a process looks for hashes that others could not change.
RECONCILE_SECONDS = 1.0
#: How often it looks whether anything waits in the cache that nobody else hands over any more; each
#: time in some of the buckets.
SEARCH_SECONDS = 15.0
_SEARCHED_BUCKETS = 32
#: After an outage it looks at each access for so long: others may still leave the cache alone.
AFTERMATH_SECONDS = 2 * LONGEST_PAUSE_SECONDS
#: After its outage the database is not believed without the cache for so long: others leave it
#: alone for a pause yet, and then hand over what they saved in the cache meanwhile.
DATABASE_AFTERMATH_SECONDS = LONGEST_PAUSE_SECONDS + 1.0
_BATCH = 200
_BATCHES_PER_REQUEST = 5
#: The sessions a process remembers whose hashes are older than their rows.
_MOST_MARKED = 10_000
#: The sessions a process remembers that wait for the database; `syncsessions` finds the others.
_MOST_WAITING = 10_000


class _Unfinished(SessionStoreUnavailable):
    """There are more hashes to be dropped than one request should wait for."""


class _Superseded(SessionStoreUnavailable):
    """The server in use is the cache no more."""

    def __init__(self) -> None:
        super().__init__(
            Text("Another server has taken the place of the session cache that this process uses.")
        )


def superseded() -> SessionStoreUnavailable:
    """Say that a server is the cache no more."""
    return _Superseded()


class ServerClock:
    """The clock of a server, as this process knows it: never ahead of what it shows there."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._ahead_ms: float | None = None

    def note(self, time_reply: Any) -> None:
        """Take the reply to TIME, seconds and microseconds, which has just come."""
        seconds, microseconds = map(int, time_reply)
        self._ahead_ms = seconds * 1000 + microseconds / 1000 - time.monotonic() * 1000

    @property
    def is_known(self) -> bool:
        """Whether the server was ever asked."""
        return self._ahead_ms is not None

    def deadline_ms(self, seconds: float) -> int:
        """Return when, by that clock, so many seconds from now will be over at the latest."""
        return int((self._ahead_ms or 0) + (time.monotonic() + seconds) * 1000)


@dataclass(frozen=True, slots=True)
class Leave:
    """A step of an operation: have the connections to the cache's server made anew."""

    alias: str

    def run(self) -> None:
        """Leave it."""
        _leavers[-1](self.alias)


def set_leaver(leave: Callable[[str], None]) -> None:
    """Say what leaves a server: a driver, which is above this module."""
    _leavers.append(leave)


_leavers: list[Callable[[str], None]] = []


class Homes:
    """What this process knows of the two; shared by its threads and tasks."""

    def __init__(self, database_alias: str, *, is_single: bool = False) -> None:
        """Take the alias in `DATABASES`, and whether one server of the cache has all buckets."""
        self.database_alias = database_alias
        self.is_single = is_single
        self.identities = Identities()
        self._before: set[bytes] = set()
        #: By replication id, what the database says of the servers of the cache.
        self.standings: dict[bytes, Standing] = {}
        self.cache = Breaker()
        #: Of all statements, and of those that wait for others' locks.
        self.database = StatementBreaker(2, Health(database_alias, "database"))
        self.writes = StatementBreaker(3, Health(database_alias, "database", part="writes"))
        self._stall = Stall()
        self.occurrences = Occurrences()
        self.losses = Losses(self.occurrences)
        #: Why the database did not serve when last asked.
        self.database_problem: SessionStoreUnavailable = DatabaseUnavailable(
            Text("The fallback database did not serve.")
        )
        #: Whether this process has left hashes older than their rows.
        self.has_marked = False
        # Which ones; `None` where they are too many, or of others.
        self._marked: set[bytes] | None = set()
        self._next_reconciliation = 0.0
        self.is_reconciling = False
        self._aftermath_ends = 0.0
        self._partly_down_until = 0.0
        self._database_behind_until = 0.0
        # By bucket: in a cluster they lie on several servers.
        self._origins: dict[int, bytes] = {}
        self._clocks: dict[int, ServerClock] = {}
        self._waiting: dict[SessionName, None] = {}
        self._refused: set[SessionName] = set()
        self._next_search = time.monotonic() + SEARCH_SECONDS
        self._searched = 0

    @property
    def is_database_left_alone(self) -> bool:
        """Whether nothing can be brought into the database just now.

        Reads close its breaker; of writes what waits may be the only ones.
        """
        return self.database.is_open or self.writes.is_resting

    @property
    def is_partly_down(self) -> bool:
        """Whether a node of the cache did not serve a short while ago, though others may."""
        return time.monotonic() < self._partly_down_until

    def note_part_down(self) -> None:
        """Note that a node did not serve: others' sessions need not suffer."""
        self._partly_down_until = time.monotonic() + AFTERMATH_SECONDS

    @property
    def is_database_behind(self) -> bool:
        """Whether the database came back a short while ago: others may not know it yet.

        Until they do, they save in the cache alone.
        """
        return time.monotonic() < self._database_behind_until

    def note_database_back(self) -> None:
        """Note that the database serves again."""
        self._database_behind_until = time.monotonic() + DATABASE_AFTERMATH_SECONDS

    def admits_to_cache(self) -> bool:
        """Tell whether the cache may be asked now.

        While there is no going by the database, one short stall is no reason to leave it alone.
        """
        is_needed = self.database.is_open or self.is_database_behind
        return self.cache.admits() or (is_needed and not self._stall.lasts)

    def note_cache_failed(self, problem: SessionStoreUnavailable, began: float) -> None:
        """Leave the cache alone for a pause, unless it refuses its callers at once."""
        at_once = isinstance(problem, StoreRefused)
        if not at_once:
            self._stall.note(began)
        if self.cache.failed(at_once=at_once):
            self.occurrences.note("breaker_openings")

    def note_cache_served(self) -> None:
        """Note that the cache has answered."""
        if self.cache.is_open:
            self.begin_aftermath()
        self.cache.served()
        self._stall.end()

    def clock(self, bucket: int) -> ServerClock:
        """Return the clock of the server that a bucket lies on."""
        server = self._server_of(bucket)
        clock = self._clocks.get(server)
        return clock or self._clocks.setdefault(server, ServerClock())

    def _server_of(self, bucket: int) -> int:
        return 0 if self.is_single else bucket

    def note_origin(self, bucket: int, origin: bytes) -> None:
        """Note which primary answers for a bucket."""
        origin = self.identities.known_as(origin)
        known = self.origin(bucket)
        if known and known != origin:
            self.begin_aftermath()
            self._before.add(known)
        self._origins[self._server_of(bucket)] = origin

    def origin(self, bucket: int) -> bytes:
        """Return the primary that answered for a bucket when last asked; empty where none has."""
        return self.identities.known_as(self._origins.get(self._server_of(bucket), b""))

    def origins_before(self, origin: bytes) -> list[bytes]:
        """Return the primaries whose place another one has taken, as it says or this process saw.

        Of a cluster no process can tell: its slots move between primaries.
        """
        if origin == UNTOLD:
            return []
        before = self._before.copy() if self.is_single else set()
        before.add(self.identities.predecessor(origin) or b"")
        return list(before - {origin, UNTOLD} - _NAMELESS)

    def trusts(self, origin: bytes) -> bool:
        """Tell whether a primary is known to be the cache."""
        standing = self.standings.get(self.identities.known_as(origin))
        return standing is not None and not standing.is_superseded

    def origins(self) -> set[bytes]:
        """Return the primaries that answered for any bucket when last asked."""
        return set(map(self.identities.known_as, self._origins.values()))

    def standing(self, bucket: int) -> Standing:
        """Return what is known of that primary."""
        return self.standings.get(self.origin(bucket), UNKNOWN)

    def origin_of(self, stored: StoredSession) -> bytes:
        """Return what a hash would be marked with if it were filled in now."""
        origin = self.origin(stored.name.bucket)
        standing = self.standings.get(origin)
        if standing is not None:
            return b"%s.%d" % (origin, standing.epoch)
        # Without the database nobody can tell of which time at this server the hash is.
        is_of_here = stored.origin.startswith(origin + b".")
        return stored.origin if is_of_here else self.mark(stored.name.bucket)

    def mark(self, bucket: int) -> bytes:
        """Return what hashes that are filled in are marked with: their server and its epoch."""
        return b"%s.%d" % (self.origin(bucket) or b"-", self.standing(bucket).epoch)

    def server(self, bucket: int) -> str:
        """Return the name of that primary in the database, empty where it is not there."""
        origin = self.origin(bucket)
        return name_of(get_outline().place, origin) if origin in self.standings else ""

    def begin_aftermath(self) -> None:
        """Note that the cache serves again, or another one does: others may not know it yet."""
        self._aftermath_ends = time.monotonic() + AFTERMATH_SECONDS

    def note_marked(self, digests: Iterable[bytes]) -> None:
        """Note sessions whose hashes this process has left older than their rows."""
        self.has_marked = True
        if self._marked is not None:
            self._marked.update(digests)
            if len(self._marked) > _MOST_MARKED:
                self._marked = None

    def note_many_marked(self) -> None:
        """Note that more hashes are older than their rows than were brought up to date."""
        self.has_marked, self._marked = True, None

    def note_none_marked(self) -> None:
        """Note that the cache knows of all rows."""
        self.has_marked, self._marked = False, set()

    def has_marked_session(self, digest: bytes) -> bool:
        """Tell whether the hash of a session may be older than its row, as this process knows."""
        return self.has_marked and (self._marked is None or digest in self._marked)

    @property
    def knows_marked(self) -> bool:
        """Whether it is known of each session whether its hash was left older than its row."""
        return self._marked is not None

    def note_waiting(self, name: SessionName) -> None:
        """Remember a session that this process could only save in the cache."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[name] = None

    def take_waiting(self, most: int) -> list[SessionName]:
        """Return and forget some of those, once the database serves again."""
        names: list[SessionName] = []
        while self._waiting and len(names) < most and not self.is_database_left_alone:
            try:
                names.append(self._waiting.popitem()[0])
            except KeyError:
                # Another thread took the last one.
                break
        return names

    def set_aside(self, name: SessionName) -> bool:
        """Remember a session that the database does not take; tell whether that is news."""
        if name in self._refused or len(self._refused) >= _MOST_WAITING:
            return False
        self._refused.add(name)
        return True

    def take_back(self, name: SessionName) -> None:
        """Forget that the database did not take a session."""
        self._refused.discard(name)

    def is_set_aside(self, name: SessionName) -> bool:
        """Tell whether the database did not take a session."""
        return name in self._refused

    def buckets_to_search(self, buckets: int) -> range:
        """Return in which buckets one caller is to look for what waits; mostly in none."""
        now = time.monotonic()
        if now < self._next_search or self.cache.is_open or self.is_database_left_alone:
            return range(0)
        self._next_search = now + SEARCH_SECONDS
        first = self._searched % buckets
        self._searched = first + _SEARCHED_BUCKETS
        return range(first, min(first + _SEARCHED_BUCKETS, buckets))

    def give_another_chance(self) -> None:
        """Ask both again at once, whatever they did before."""
        self.cache = Breaker()
        self.database = StatementBreaker(2, self.database.health)
        self.writes = StatementBreaker(3, self.writes.health)

    @property
    def must_reconcile(self) -> bool:
        """Whether nobody may ask the cache before hashes that are to be dropped were looked for.

        Those of a node that is down cannot be: see `drop_if_stale`.
        """
        is_aftermath = self.has_marked or time.monotonic() < self._aftermath_ends
        return is_aftermath and not self.is_partly_down

    def is_reconciliation_due(self) -> bool:
        """Tell one caller per interval to look for them, unless one still does; all, if they must.

        Who is told so sets `is_reconciling`, and resets it.
        """
        if self.must_reconcile:
            return True
        now = time.monotonic()
        if now < self._next_reconciliation or self.is_reconciling:
            return False
        self._next_reconciliation = now + RECONCILE_SECONDS
        return True


def get_homes() -> Homes:
    """Return the homes of sessions under the settings in force."""
    configuration = get_configuration()
    database = configuration.options.fallback_database
    names = (configuration.alias, database, configuration.place)
    homes = _homes.get(names)
    if homes is None:
        is_single = not is_cluster(configuration.alias)
        homes = _homes.setdefault(names, Homes(database, is_single=is_single))
    return homes


def ask_cache(
    homes: Homes, commands: tuple[Command, ...], *, bucket: int | None = None, marked: int = 0
) -> Operation[list[Any]]:
    """Yield commands, unless the cache is known not to serve. Raises `SessionStoreUnavailable`.

    Before the first commands after an outage, hashes that may be stale are brought up to date. With
    a bucket, nothing is sent to a server of it that is known to be superseded. `marked` is how many
    rows the operation itself has marked, to tell the cache of them by these commands.
    """
    if not homes.admits_to_cache():
        raise SessionStoreUnavailable(A_MOMENT_AGO)
    began = time.monotonic()
    try:
        if homes.is_reconciliation_due():
            yield from _reconcile_first(homes, _BATCHES_PER_REQUEST + -(-marked // _BATCH))
        if bucket is not None and homes.standing(bucket).is_superseded:
            yield Leave(get_outline().alias)
            raise _Superseded
        replies = yield from _ask_and_count(homes, commands)
    except (_Unfinished, _Superseded, DatabaseUnavailable, TransactionBroken, LimitReached):
        # The cache answers, but may not be trusted, or serves others.
        raise
    except PartUnavailable:
        homes.note_part_down()
        raise
    except SessionStoreUnavailable as problem:
        homes.note_cache_failed(problem, began)
        raise
    homes.note_cache_served()
    return replies


def _reconcile_first(homes: Homes, most_batches: int) -> Operation[None]:
    homes.is_reconciling = True
    try:
        yield from reconcile(homes, most_batches=most_batches)
    except TransactionFailed:
        # Another looks a second later, in a transaction that has not failed or in none.
        if homes.must_reconcile:
            raise
    finally:
        homes.is_reconciling = False


def ask_here(homes: Homes, bucket: int, commands: tuple[Command, ...]) -> Operation[list[Any]]:
    """Yield commands that let the cache know of a row; see ask_cache().

    Where another server answers than this process knew of, it is recorded: those who use the one
    before, which was not told, go by the rows from then on.
    """
    *replies, origin = yield from ask_cache(homes, (*commands, ORIGIN))
    if homes.identities.known_as(origin) != homes.origin(bucket):
        homes.note_origin(bucket, origin)
        yield from meet(homes, bucket)
    return replies


def try_cache(homes: Homes, commands: tuple[Command, ...]) -> Operation[list[Any] | None]:
    """Tell the cache what it may as well not know."""
    try:
        return (yield from ask_cache(homes, commands))
    except SessionStoreUnavailable:
        return None


def _ask_and_count(homes: Homes, commands: tuple[Command, ...]) -> Operation[list[Any]]:
    """Yield commands, and with them what this process has counted."""
    counts = homes.occurrences.take()
    replies: list[Any]
    if not counts:
        replies = yield commands
        return replies
    [counting] = occurrences.commands(get_configuration().naming, counts)
    replies = []
    try:
        replies = yield (Dispensable(counting), *commands)
    except PartUnavailable as problem:
        replies = list(problem.replies)
        raise
    finally:
        if not replies or replies[0] is None:
            homes.occurrences.put_back(counts)
    return replies[1:]


def acquaint(homes: Homes, name: SessionName) -> Operation[None]:
    """Find out which server a session's bucket lies on, where this process does not know it.

    Raises `SessionStoreUnavailable`.
    """
    clock = homes.clock(name.bucket)
    if not clock.is_known or homes.standing(name.bucket).is_superseded:
        # The key leads to the server; see Routing in drivers.cluster.
        commands = (("EXISTS", name.hash_key), ("TIME",), ORIGIN)
        _, reply, origin = yield from ask_cache(homes, commands)
        clock.note(reply)
        homes.note_origin(name.bucket, origin)
    yield from meet(homes, name.bucket)


def deadline_ms(homes: Homes, name: SessionName) -> Operation[int]:
    """Return until when, by its server's clock, a command that is sent now will be waited for.

    What a frozen server does later must not go on top of what others saved in the meantime.
    """
    yield from acquaint(homes, name)
    return homes.clock(name.bucket).deadline_ms(get_configuration().patience_seconds)


def ask_database(
    homes: Homes, function: Callable[..., T], *arguments: Any, **options: Any
) -> Operation[T]:
    """Yield a statement, unless the database is known not to serve.

    Raises `DatabaseUnavailable`, and what the function of `rows` raises.
    """
    breakers = [homes.database, homes.writes] if is_write(function) else [homes.database]
    if any(breaker.is_resting for breaker in breakers) or not all(
        breaker.admits() for breaker in breakers
    ):
        yield from _refuse_in_transaction(homes, homes.database_problem)
        raise DatabaseUnavailable(text_of(homes.database_problem))
    most_seconds = get_outline().options.database_timeout
    share = min(breaker.probe_share for breaker in breakers)
    statement: Any = Statement(
        homes.database_alias, function, arguments, options, most_seconds=share * most_seconds
    )
    try:
        result: T = yield statement
    except (RowRefused, InvalidValue, SessionTooLarge):
        _note_answer(homes, breakers)
        raise
    except DatabaseUnavailable as problem:
        _note_failure(homes, breakers, problem, most_seconds)
        yield from _refuse_in_transaction(homes, problem)
        raise
    except TransactionBroken as problem:
        if problem.is_store_away:
            _note_failure(homes, breakers, problem, most_seconds)
        raise
    _note_answer(homes, breakers)
    return result


def _note_answer(homes: Homes, breakers: Sequence[StatementBreaker]) -> None:
    if any(breaker.is_open for breaker in breakers):
        homes.note_database_back()
    for breaker in breakers:
        breaker.served()


def _note_failure(
    homes: Homes,
    breakers: Sequence[StatementBreaker],
    problem: DatabaseUnavailable | TransactionBroken,
    most_seconds: float,
) -> None:
    homes.database_problem = problem
    if isinstance(problem, DatabaseBusy):
        if problem.asker is None:
            for one in breakers:
                one.untried()
            return
        # What only asks waits for no lock of a row: if it takes too long, so does all else.
        breaker = breakers[-1]
        is_news = breaker.stumbled(problem.asker, most_seconds=most_seconds)
    else:
        breaker = breakers[0]
        is_news = breaker.failed()
    if is_news:
        homes.occurrences.note("breaker_openings")
    if breaker.is_open:
        breaker.health.failed(problem)


def _refuse_in_transaction(homes: Homes, problem: SessionStoreUnavailable) -> Operation[None]:
    """Have nothing done in the cache instead: it would outlive the transaction's rollback."""
    if (yield from transactions.is_open(homes.database_alias)):
        raise TransactionBroken(text_of(problem), is_store_away=True) from None


def reconcile(homes: Homes, *, most_batches: int | None = None) -> Operation[int]:
    """Have the cache know of rows that it could not be told of; return how many rows were mended.

    In a request (`most_batches`) only so much is done, and the cache is not used until all is. Then
    an unavailable database is a problem of those sessions alone whose hashes this process has left
    older than their rows, if it knows which. Raises `SessionStoreUnavailable`.
    """
    mended, batches = 0, 0
    while True:
        try:
            # Marks stay where another server has become the cache meanwhile.
            if batches != 1:
                yield from _look_at_servers(homes)
            found = yield from ask_database(homes, row_upkeep.stale, _BATCH)
        except DatabaseUnavailable:
            if most_batches is None or not homes.knows_marked:
                raise
            return mended
        if not found:
            is_certain = not homes.has_marked or not (
                yield from transactions.is_open(homes.database_alias)
            )
            if is_certain:
                homes.note_none_marked()
            return mended
        if batches == most_batches:
            homes.note_many_marked()
            raise _Unfinished(Text("The session store is still being brought up to date."))
        batches += 1
        try:
            is_done = yield from _bring_up_to_date(homes, found)
            if not is_done:
                return mended
        except DatabaseUnavailable:
            if most_batches is None:
                raise
            # The cache knows by now; the marks stay.
            return mended
        except PartUnavailable:
            if most_batches is None:
                raise
            # They stay marked. Until their node serves again, sessions are looked at one by one.
            homes.note_part_down()
            return mended
        mended += len(found)


def meet(homes: Homes, bucket: int) -> Operation[None]:
    """Record the primary that answers for a bucket, where this process has not met it before.

    Raises `SessionStoreUnavailable` where another has taken its place.
    """
    origin = homes.origin(bucket)
    if homes.identities.is_new(origin):
        probed = yield from probe(get_configuration().naming.pending_set(bucket))
        homes.identities.learn(homes._server_of(bucket), origin, probed)
        if probed.id:
            homes.note_origin(bucket, probed.id)
        origin = homes.origin(bucket)
    is_new = origin not in homes.standings and origin not in _NAMELESS
    if is_new and not homes.database.is_open:
        if (yield from transactions.is_open(homes.database_alias)):
            # What is recorded there may be rolled back.
            yield transactions.Defer(homes.database_alias, (), lambda: _meet_later(homes, bucket))
        else:
            yield from _record(homes, origin)
    if homes.standing(bucket).is_superseded:
        yield Leave(get_outline().alias)
        raise _Superseded


def _meet_later(homes: Homes, bucket: int) -> Operation[None]:
    with suppress(SessionStoreUnavailable):
        yield from meet(homes, bucket)


def _record(homes: Homes, origin: bytes) -> Operation[None]:
    try:
        standing = yield from ask_database(
            homes,
            row_servers.meet,
            get_outline().place,
            origin,
            homes.origins_before(origin),
            is_start=not homes.standings,
            is_single=homes.is_single and origin != UNTOLD,
        )
    except DatabaseUnavailable:
        # Its hashes are compared with their rows once the database knows it.
        return
    if standing:
        homes.standings[origin] = standing


def _look_at_servers(homes: Homes) -> Operation[None]:
    if not (yield from transactions.is_open(homes.database_alias)):
        # Those that were met inside transactions.
        for origin in homes.origins() - homes.standings.keys() - _NAMELESS:
            if homes.identities.is_new(origin):
                continue
            yield from _record(homes, origin)
    if not homes.standings:
        return
    found = yield from ask_database(
        homes, row_servers.standings, get_outline().place, homes.origins() - _NAMELESS
    )
    for origin in homes.standings:
        if found and origin in found:
            homes.standings[origin] = found[origin]


def mend_if_stale(homes: Homes, name: SessionName) -> Operation[bool]:
    """Have the cache know of a session's row if it could not be told; tell whether it could not.

    While some hashes cannot be reached because their node is down, others are trusted only after
    this question. Raises `SessionStoreUnavailable`.
    """
    try:
        found = yield from ask_database(homes, row_upkeep.stale_among, (name.digest,))
    except DatabaseUnavailable:
        if homes.has_marked_session(name.digest):
            raise
        return False
    if found:
        yield from _bring_up_to_date(homes, found)
    return bool(found)


def tell(
    homes: Homes,
    of_buckets: Mapping[int, Sequence[Command]],
    *,
    marked: int = 0,
    is_reconciled: bool = False,
) -> Operation[Told]:
    """Yield commands that let the cache know of rows; find out whether it is the cache in use.

    What a superseded server was told, the others do not know. Raises `SessionStoreUnavailable`, and
    `PartUnavailable` as ask_cache() does; see there for `marked`. `is_reconciled` where that is
    what reconciles.
    """
    commands: list[Command] = []
    for of_bucket in of_buckets.values():
        commands += (*of_bucket, ORIGIN)
    if is_reconciled:
        replies: Sequence[Any] = yield tuple(commands)
    else:
        replies = yield from ask_cache(homes, tuple(commands), marked=marked)
    told = Told.read(of_buckets, replies)
    for bucket, origin in told.origins.items():
        homes.note_origin(bucket, origin)
        try:
            yield from meet(homes, bucket)
        except SessionStoreUnavailable:
            told.in_vain.add(bucket)
    return told


@dataclass(frozen=True, slots=True)
class Told:
    """What the cache replied to tell(), by bucket; and the buckets whose server is superseded."""

    replies: dict[int, Sequence[Any]]
    origins: dict[int, bytes]
    in_vain: set[int]

    @classmethod
    def read(cls, of_buckets: Mapping[int, Sequence[Command]], replies: Sequence[Any]) -> Told:
        """Divide replies; those of a node that did not answer are `None`."""
        told, at = cls({}, {}, set()), 0
        for bucket, commands in of_buckets.items():
            end = at + len(commands)
            told.replies[bucket] = replies[at:end]
            origin = replies[end] if end < len(replies) else None
            if isinstance(origin, bytes):
                told.origins[bucket] = origin
            else:
                told.in_vain.add(bucket)
            at = end + 1
        return told


def _bring_up_to_date(homes: Homes, found: Sequence[row_upkeep.Stale]) -> Operation[bool]:
    """Have the cache know of rows; tell whether their marks went, as inside no transaction."""
    naming = get_configuration().naming
    of_buckets: dict[int, list[Command]] = defaultdict(list)
    rows_of: dict[int, list[row_upkeep.Stale]] = defaultdict(list)
    for row in found:
        name = naming.from_digest(row.sid)
        keys = (name.hash_key, name.index_key, naming.pending_set(name.bucket))
        words = (name.sid, row.version, int(row.is_ended))
        of_buckets[name.bucket].append(run(scripts.BEHIND, keys, words))
        rows_of[name.bucket].append(row)
    told = yield from tell(homes, of_buckets, is_reconciled=True)
    if told.in_vain:
        raise _Superseded
    is_done = True
    for bucket, of_bucket in rows_of.items():
        is_done = yield from ask_database(homes, row_upkeep.unmark, of_bucket, homes.server(bucket))
    return is_done


#: Of servers that were not asked, and of replicas: no hash is of them.
_NAMELESS = frozenset((b"", REPLICA))
_homes: dict[tuple[str, str, str], Homes] = {}


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in ("CACHES", "DATABASES"):
        _homes.clear()


@after_fork
def _begin_anew() -> None:
    # What is marked or waits is the parent's to finish.
    _homes.clear()


setting_changed.connect(_forget, dispatch_uid="django_elasticache_sessions.homes")
