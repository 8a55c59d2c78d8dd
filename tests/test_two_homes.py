"""The two homes of `cached_db` against a model: any order of steps by several clients, any outage.

Real Valkey, real SQLite. Each client has its own view of the two, as a process has. Operations are
advanced one step at a time, so that any of them may be between any two steps of another.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_elasticache_sessions import breaker, conf, fallback, homes, outbox, rows
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import origin
from django_elasticache_sessions.exceptions import DatabaseUnavailable, SessionStoreUnavailable
from django_elasticache_sessions.homes import Homes
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.operations import MISSING, Ended, NewSession, Save, StoredSession

from .stepping import answer

FIELDS = ("x", "y")
CLIENTS = range(3)
TTL = 1000
#: How long a client waits for the cache; a command that comes later must do no harm.
PATIENCE_SECONDS = 0.03
FIRST_KEYS = ("first session's key", "second session's key")


@dataclass
class Write:
    """What became of one field: a value, or `None` for none; infinite: not known to be done."""

    value: bytes | None
    began: float
    done: float = math.inf
    homes: frozenset[str] = frozenset()

    def replaces(self, other: Write) -> bool:
        """Whether it came after another one that it had a store in common with."""
        return self.began > other.done and bool(self.homes & other.homes)


@dataclass
class Client:
    """A process: its view of the stores, what it is doing, and what does not serve it."""

    homes: Homes
    running: Any = None
    step: Any = None
    finished: Callable[[Any], None] = lambda result: None
    is_cache_down: bool = False
    is_database_down: bool = False
    is_reply_lost: bool = False
    is_held_up: bool = False
    homes_reached: set[str] = field(default_factory=set)


@dataclass
class World:
    """The clients, and what each completed operation has promised."""

    alias: str
    clients: list[Client]
    is_behind: bool
    clock: int = 0
    last_fault: int = 0
    writes: dict[tuple[str, str], list[Write]] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    #: How many ends were begun of which nobody knows what became of them.
    doubts: Counter[str] = field(default_factory=Counter)
    keys: list[str] = field(default_factory=list)
    current: Client | None = None
    snapshot: dict[bytes, bytes] = field(default_factory=dict)
    #: Commands whose clients have given up, and that a frozen server has still to do.
    late: list[Any] = field(default_factory=list)

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def is_whole_since(self, began: int) -> bool:
        """Whether both stores have served everybody since then."""
        return self.last_fault < began and not any(
            client.is_cache_down or client.is_database_down for client in self.clients
        )

    def may_have_ended(self, key: str) -> bool:
        return key in self.ended or self.doubts[key] > 0

    # What a client may begin.

    def load(self, client: Client, key: str) -> None:
        began = self.now()

        def finished(stored: StoredSession | None) -> None:
            if self.is_whole_since(began):
                self.check(key, stored, began)

        self.begin(client, fallback.load(name_of(key), tuple), finished)

    def save(self, client: Client, key: str, changed: str, *, removes: bool) -> None:
        """Load a session and change a field; between the two may be as much as one likes."""
        began = self.now()
        write = Write(None if removes else str(began).encode(), began)
        self.writes[key, changed].append(write)
        values = {} if write.value is None else {changed: write.value}
        change = Save(TTL, values, [changed] if removes else [], False, None, "")

        def operation():
            stored = yield from fallback.load(name_of(key), tuple)
            if stored is None:
                return MISSING
            return (yield from fallback.save(naming(), stored, change))

        def finished(version: int) -> None:
            if version == MISSING:
                assert self.may_have_ended(key) or not self.is_whole_since(began)
                self.writes[key, changed].remove(write)
                return
            write.done = self.now()
            write.homes = frozenset(client.homes_reached)
            if self.is_whole_since(began):
                assert began < self.ended.get(key, math.inf), "a late save was accepted"

        self.begin(client, operation(), finished)

    def delete(self, client: Client, key: str) -> None:
        self.doubts[key] += 1

        def finished(_: None) -> None:
            self.doubts[key] -= 1
            self.ended[key] = min(self.ended.get(key, math.inf), self.now())

        self.begin(client, fallback.delete(naming(), (name_of(key),), user_tag=""), finished)

    def end_all(self, client: Client, *keys: str) -> None:
        """End sessions as staff does, or a purge."""
        self.doubts.update(keys)

        def finished(ended: Ended) -> None:
            self.doubts.subtract(keys)
            done = self.now()
            for key in keys:
                self.ended[key] = min(self.ended.get(key, math.inf), done)

        self.begin(client, fallback.end_all(naming(), [*map(name_of, keys)]), finished)

    def rotate(self, client: Client, key: str) -> None:
        """Load a session and give it a new key, as a login does."""
        began = self.now()
        new_key = naming().neighbour(name_of(key).bucket).session_key
        loaded: list[StoredSession] = []

        def operation():
            old = yield from fallback.load(name_of(key), tuple)
            if old is None:
                return MISSING
            loaded.append(old)
            new = NewSession(TTL, began, "", old.fields)
            name = name_of(new_key)
            return (yield from fallback.rotate(naming(), old, name, new, fenced=True))

        # Until it is known to be done, nobody knows which of the two goes on.
        self.doubts[key] += 1

        def finished(result: int) -> None:
            self.doubts[key] -= 1
            if result != 1:
                return
            if self.is_whole_since(began):
                assert began < self.ended.get(key, math.inf), "an ended session was rotated"
                self.check_fields(key, loaded[0], began)
            done, reached = self.now(), frozenset(client.homes_reached)
            self.ended[key] = min(self.ended.get(key, math.inf), done)
            for name in FIELDS:
                carried = Write(loaded[0].fields.get(name), began, done, reached)
                self.writes[new_key, name] = [carried]
            self.keys.append(new_key)

        self.begin(client, operation(), finished)

    def drain(self, client: Client) -> None:
        operation = outbox.drain_all(client.homes, naming(), batch_size=10)
        self.begin(client, operation, lambda drained: None)

    # How it goes on.

    def begin(self, client: Client, operation: Any, finished: Callable[[Any], None]) -> None:
        self.run_to_end(client)
        client.running, client.finished, client.step = operation, finished, None
        client.homes_reached = set()
        self.advance(client)

    def advance(self, client: Client) -> None:
        """Do one step of what a client is doing."""
        if client.running is None:
            return
        self.current = client
        try:
            if client.step is None:
                client.step = next(client.running)
                return
            step, client.step = client.step, None
            try:
                result = self.answered(client, step)
            except SessionStoreUnavailable as problem:
                client.step = client.running.throw(problem)
            else:
                client.step = client.running.send(result)
        except StopIteration as stop:
            client.running = None
            client.finished(stop.value)
        except SessionStoreUnavailable:
            client.running = None

    def answered(self, client: Client, step: Any) -> Any:
        is_cache = isinstance(step, tuple)
        problem = SessionStoreUnavailable if is_cache else DatabaseUnavailable
        if client.is_cache_down if is_cache else client.is_database_down:
            raise problem("down")
        if is_cache and (client.is_held_up or client.is_reply_lost) and self.is_behind:
            # Who misses the cache reads the row, which what waits has not reached.
            self.last_fault = self.now()
        if is_cache and client.is_held_up:
            client.is_held_up = False
            self.late.append(step)
            raise problem("it did not answer in time")
        result = answer(step)
        if client.is_reply_lost:
            client.is_reply_lost = False
            raise problem("the reply was lost")
        if is_cache or step.function in (rows.create, rows.merge, rows.rotate):
            client.homes_reached.add("cache" if is_cache else "database")
        return result

    def thaw(self) -> None:
        """Have the server do what it was told before it froze."""
        if self.late:
            time.sleep(2 * PATIENCE_SECONDS)
        while self.late:
            answer(self.late.pop(0))

    def run_to_end(self, client: Client) -> None:
        while client.running is not None:
            self.advance(client)

    # What happens to the cache; what waits there for the database would be lost in both homes.

    def nothing_waits(self, valkey) -> bool:
        return not list(valkey.scan_iter("*pending"))

    def lose_cache(self, valkey) -> None:
        if self.nothing_waits(valkey):
            valkey.flushall()

    def take_snapshot(self, valkey) -> None:
        self.snapshot = {key: valkey.dump(key) for key in valkey.scan_iter()}

    def promote(self, valkey) -> None:
        """Have another primary answer, with what there was at the snapshot."""
        if self.nothing_waits(valkey):
            valkey.flushall()
            for key, dumped in self.snapshot.items():
                valkey.restore(key, TTL * 1000, dumped)
            valkey.execute_command("DEBUG", "CHANGE-REPL-ID")

    # What must be so.

    def check(self, key: str, stored: StoredSession | None, began: float) -> None:
        if self.ended.get(key, math.inf) < began:
            assert stored is None, "a session came back"
            return
        if self.may_have_ended(key):
            return
        assert stored is not None, "a session was lost"
        self.check_fields(key, stored, began)

    def check_fields(self, key: str, stored: StoredSession, began: int) -> None:
        for name in FIELDS:
            found = stored.fields.get(name)
            writes = self.writes[key, name]
            assert any(
                write.value == found and not self.is_replaced(write, writes, began)
                for write in writes
            ), f"{name} is {found!r} after {writes}"

    @staticmethod
    def is_replaced(write: Write, writes: list[Write], began: int) -> bool:
        return any(other.replaces(write) and other.done < began for other in writes)


def naming():
    return get_configuration().naming


def name_of(key: str):
    return naming().session(key)


CLIENT, KEY = st.sampled_from(CLIENTS), st.integers(0, 3)
ACTIONS = st.one_of(
    st.tuples(st.just("advance"), CLIENT),
    st.tuples(st.just("advance"), CLIENT),
    st.tuples(st.just("load"), CLIENT, KEY),
    st.tuples(st.just("save"), CLIENT, KEY, st.sampled_from(FIELDS), st.booleans()),
    st.tuples(st.just("save"), CLIENT, KEY, st.sampled_from(FIELDS), st.booleans()),
    st.tuples(st.just("delete"), CLIENT, KEY),
    st.tuples(st.just("end_all"), CLIENT, KEY),
    st.tuples(st.just("end all"), CLIENT),
    st.tuples(st.just("die"), CLIENT),
    st.tuples(st.just("rotate"), CLIENT, KEY),
    st.tuples(st.just("drain"), CLIENT),
    st.tuples(st.just("cache"), CLIENT),
    st.tuples(st.just("database"), CLIENT),
    st.tuples(st.just("lost reply"), CLIENT),
    st.tuples(st.just("held up"), CLIENT),
    st.tuples(st.just("thaw")),
    st.tuples(st.just("heal")),
    st.tuples(st.just("lose cache")),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("promote")),
)


def act(world: World, valkey, kind: str, *arguments: Any) -> None:
    if kind in ("lose cache", "snapshot", "promote"):
        steps = {
            "lose cache": world.lose_cache,
            "snapshot": world.take_snapshot,
            "promote": world.promote,
        }
        steps[kind](valkey)
        return
    if kind in ("heal", "thaw"):
        heal(world) if kind == "heal" else world.thaw()
        return
    client = world.clients[arguments[0]]
    if len(arguments) > 1:
        arguments = (arguments[0], world.keys[arguments[1] % len(world.keys)], *arguments[2:])
    if kind in ("cache", "database"):
        world.last_fault = world.now()
    if kind == "cache":
        client.is_cache_down = not client.is_cache_down
    elif kind == "database":
        client.is_database_down = not client.is_database_down
    elif kind == "lost reply":
        client.is_reply_lost = True
    elif kind == "held up":
        client.is_held_up = True
    elif kind == "die":
        client.running = None
    elif kind == "end all":
        world.end_all(client, *dict.fromkeys(world.keys))
    elif kind == "save":
        world.save(client, *arguments[1:3], removes=arguments[3])
    else:
        getattr(world, kind)(client, *arguments[1:])


def heal(world: World) -> None:
    world.last_fault = world.now()
    for client in world.clients:
        client.is_cache_down = client.is_database_down = False
        client.is_reply_lost = client.is_held_up = False


def start(world: World) -> None:
    world.keys = list(FIRST_KEYS)
    for key in FIRST_KEYS:
        first = dict.fromkeys(FIELDS, b"0")
        for name in FIELDS:
            world.writes[key, name] = [Write(b"0", 0, 0, frozenset({"cache", "database"}))]
        client = world.clients[0]
        new = NewSession(TTL, 1, "", first)
        world.begin(client, fallback.create(naming(), name_of(key), new), lambda result: None)
        world.run_to_end(client)


@pytest.fixture(params=["through", "behind"])
def new_world(request, settings, valkey, fallback_database, monkeypatch):
    """Make an empty world; saves go through, or behind."""
    alias = fallback_database("sqlite")
    settings.ELASTICACHE_SESSIONS = {
        "FALLBACK_DATABASE": alias,
        "FALLBACK_WRITES": request.param,
        "INDEX_BUCKETS": 2,
    }
    connection = connections[alias]
    monkeypatch.setattr(conf, "_patience", lambda alias: PATIENCE_SECONDS)
    monkeypatch.setattr(breaker, "FIRST_PAUSE_SECONDS", 1e-9)
    monkeypatch.setattr(breaker, "LONGEST_PAUSE_SECONDS", 1e-9)
    monkeypatch.setattr(homes, "RECONCILE_SECONDS", 0)
    monkeypatch.setattr(origin, "KNOWN_SECONDS", -1)

    def make() -> World:
        valkey.flushall()
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {FallbackSession._meta.db_table}")
        world = World(alias, [Client(Homes(alias)) for _ in CLIENTS], request.param == "behind")
        monkeypatch.setattr(fallback, "get_homes", lambda: world.current.homes)
        start(world)
        return world

    return make


@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=st.lists(ACTIONS, min_size=10, max_size=60))
def test_no_read_is_older_than_a_completed_write_and_no_end_is_undone(new_world, valkey, actions):
    world = new_world()
    for action in actions:
        act(world, valkey, *action)
    heal(world)
    for client in world.clients:
        world.run_to_end(client)
    world.thaw()
    for _ in range(2):
        for client in world.clients:
            for key in world.keys:
                world.load(client, key)
                world.run_to_end(client)
    world.drain(world.clients[0])
    world.run_to_end(world.clients[0])
    assert world.nothing_waits(valkey)
    valkey.flushall()
    for key in world.keys:
        world.load(world.clients[1], key)
        world.run_to_end(world.clients[1])
