"""Beside processes of a later release: what is not understood is kept, and costs no session."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

import pytest
import redis

from django_elasticache_sessions import homes, live
from django_elasticache_sessions.backends.base import HashSessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.synchronization import Pass, synchronize

from .pages.visitor import AsyncVisitor, Visitor

LATER_VALUE = b"\x15" + bytes(60)


@pytest.fixture(params=[Visitor, AsyncVisitor], ids=["WSGI", "ASGI"])
def visitor(request, engine) -> Iterator[Visitor]:
    """A visitor with `{"a": 1, "b": 2}` in the session."""
    with request.param() as visitor:
        visitor.take(("set", "a", 1), ("set", "b", 2))
        yield visitor


@pytest.fixture
def hash_key(visitor) -> str:
    return get_configuration().naming.session(visitor.session_key).hash_key


def words(valkey: redis.Redis, hash_key: str) -> list[bytes]:
    return valkey.hget(hash_key, "~").split(b" ")


def add_word(valkey: redis.Redis, hash_key: str) -> None:
    valkey.hset(hash_key, "~", valkey.hget(hash_key, "~") + b" later words")


@pytest.mark.parametrize(
    "steps",
    [[("get", "a")], [("get", "b")], [("set", "b", 3)], [("cycle_key",)], [("keys",)]],
    ids=["read the value", "read another", "write another", "rotate", "list"],
)
def test_a_value_of_a_later_release_is_503_and_keeps_the_cookie_and_the_session(
    visitor, valkey, hash_key, steps
):
    session_key, before = visitor.session_key, valkey.hget(hash_key, "a")
    valkey.hset(hash_key, "a", LATER_VALUE)
    answer = visitor.take(*steps)
    assert answer.status_code == 503
    assert not answer.cookies
    assert visitor.session_key == session_key
    assert valkey.hget(hash_key, "a") == LATER_VALUE
    valkey.hset(hash_key, "a", before)
    assert visitor.read().json() == {"a": 1, "b": 2}


def test_a_session_with_a_value_of_a_later_release_can_be_ended(engine, valkey, visitor, hash_key):
    valkey.hset(hash_key, "a", LATER_VALUE)
    engine().delete(visitor.session_key)
    assert not valkey.exists(hash_key)
    assert not engine().exists(visitor.session_key)


def test_words_of_a_later_release_in_the_metadata_are_kept_by_every_save(
    visitor, valkey, hash_key, settings
):
    settings.SESSION_SAVE_EVERY_REQUEST = True
    add_word(valkey, hash_key)
    assert visitor.read().json() == {"a": 1, "b": 2}
    for steps in ([("set", "a", 3)], [("pop", "b")], [("cycle_key",)], [("get", "a")]):
        assert visitor.take(*steps).status_code == 200
        assert words(valkey, hash_key)[-2:] == [b"later", b"words"]
    assert visitor.read().json() == {"a": 3}


def test_words_of_a_later_release_are_kept_by_a_refresh_from_the_row(
    engine, visitor, valkey, hash_key
):
    if not is_durable(engine):
        pytest.skip("the cache engine has no rows")
    add_word(valkey, hash_key)
    found = words(valkey, hash_key)
    # The hash does not show the second version of its row.
    found[8] = b"2"
    valkey.hset(hash_key, "~", b" ".join(found))
    visitor.take(("set", "a", 3))
    assert visitor.read().json() == {"a": 3, "b": 2}
    assert words(valkey, hash_key)[-2:] == [b"later", b"words"]
    assert words(valkey, hash_key)[8] == b"0"


def test_metadata_fields_of_a_later_release_are_no_fields_of_the_session(visitor, valkey, hash_key):
    valkey.hset(hash_key, "~later", "stays")
    visitor.take(("set", "a", 3))
    assert visitor.read().json() == {"a": 3, "b": 2}
    assert valkey.hget(hash_key, "~later") == b"stays"


@pytest.fixture
def row(engine, visitor):
    """The visitor's row, for an engine that has one."""
    if not is_durable(engine):
        pytest.skip("the cache engine has no rows")
    alias = get_configuration().options.fallback_database
    digest = get_configuration().naming.session(visitor.session_key).digest
    return FallbackSession.objects.using(alias).filter(sid=digest.hex())


def test_a_row_of_a_later_release_is_503_and_keeps_the_cookie(visitor, valkey, row):
    session_key, fields = visitor.session_key, row.get().fields
    row.update(fields=fields | {"a": b64encode(LATER_VALUE).decode()})
    valkey.flushall()
    for steps in ([("get", "a")], [("set", "b", 3)]):
        answer = visitor.take(*steps)
        assert answer.status_code == 503
        assert not answer.cookies
        assert visitor.session_key == session_key
    row.update(fields=fields)
    valkey.flushall()
    assert visitor.read().json() == {"a": 1, "b": 2}


def test_a_value_of_a_later_release_is_handed_over_as_it_is(visitor, valkey, hash_key, row):
    stamp = int(words(valkey, hash_key)[6]) + 1
    later = b"\x15" + bytes(4) + stamp.to_bytes(6) + bytes(60)
    valkey.hset(hash_key, mapping={"a": later, "~!a": stamp})
    name = get_configuration().naming.session(visitor.session_key)
    valkey.sadd(get_configuration().naming.pending_set(name.bucket), name.sid)
    assert synchronize(batch_size=100) == Pass(saved=1, dropped=0, waiting=0)
    assert row.get().fields["a"] == b64encode(later).decode()
    # Neither is it replaced by what is older.
    valkey.hset(hash_key, mapping={"a": b"\x11" + later[1:10] + bytes(61), "~!a": stamp - 1})
    valkey.sadd(get_configuration().naming.pending_set(name.bucket), name.sid)
    assert synchronize(batch_size=100).waiting == 0
    assert row.get().fields["a"] == b64encode(later).decode()


def test_an_end_of_which_a_later_release_tells_more_is_one(visitor, valkey, hash_key, row):
    homes.get_homes().database.failed()
    live.end(get_configuration().naming.session(visitor.session_key).sid)
    homes.get_homes().give_another_chance()
    valkey.hset(hash_key, mapping={f"~later{number}": "stays" for number in range(3)})
    assert visitor.read().json() == {}
    synchronize(batch_size=100)
    assert row.get().is_ended
    assert not valkey.exists(hash_key)


def is_durable(engine: type[HashSessionStore]) -> bool:
    return engine.__module__.endswith("cached_db")
