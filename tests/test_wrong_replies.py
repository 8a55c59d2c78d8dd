"""Replies that no Valkey or Redis has for a command: an unavailable store, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_elasticache_sessions import operations, scripts
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.drivers import aio, sync
from django_elasticache_sessions.drivers.shapes import _OF_SCRIPTS
from django_elasticache_sessions.exceptions import (
    InvalidValue,
    SessionStoreError,
    SessionStoreUnavailable,
)
from django_elasticache_sessions.operations import NewSession, Rotated, Save, StoredSession

from .conftest import point_sessions_at
from .servers.babbler import Babbler

KEY, NEW_KEY, STAMP = "k" * 25, "n" * 25, 106_250_000_000_000
#: What operations may raise of an answer of the right shape that makes no sense.
EXPECTED = (SessionStoreError, InvalidValue)


@pytest.fixture
def babbler(settings) -> Iterator[Babbler]:
    """The session cache is a server that says what it likes."""
    with Babbler() as server:
        point_sessions_at(settings, server.url)
        yield server


def make_operations(naming: Any) -> dict[str, Any]:
    """Make each operation of `operations`."""
    name, older = naming.session_everywhere("session-key" * 4)[0], naming.session("x" * 40)
    new = NewSession(100, 5, "tag", KEY, {"a": b"x"}, STAMP)
    stored = StoredSession(name, 5, 5, 5, 0, "tag", KEY, {}, 99)
    change = Save(100, {"a": b"x"}, ("b",), False, "other", "other", STAMP)
    return {
        "load": operations.load(name, lambda: (older,)),
        "create": operations.create(naming, name, new),
        "save": operations.save(naming, stored, change),
        "rotate": operations.save(naming, stored, change._replace(rotated=Rotated(NEW_KEY, 5))),
        "save beside a row": operations.save(naming, stored._replace(origin=b"x"), change),
        "end by a save": operations.save(naming, stored, change._replace(ttl=0)),
        "delete": operations.delete(naming, stored),
        "end_all": operations.end_all(naming, (name, older)),
        "prune": operations.prune(naming),
        "scan": operations.scan(naming, b"0", 10),
    }


NAMES = (
    *("load", "create", "save", "rotate", "save beside a row", "end by a save"),
    *("delete", "end_all", "prune", "scan"),
)


def resp(value: Any) -> bytes:
    """Encode a value of `VALUES`."""
    match value:
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case bool():
            return b"#t\r\n" if value else b"#f\r\n"
        case int():
            return b":%d\r\n" % value
        case float():
            return b",%r\r\n" % value
        case None:
            return b"$-1\r\n"
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
        case dict():
            words = (resp(word) for pair in value.items() for word in pair)
            return b"%%%d\r\n" % len(value) + b"".join(words)
        case str():
            return (
                b"-"
                + value.encode("ascii", "replace").replace(b"\r", b"").replace(b"\n", b"")
                + b"\r\n"
            )
    raise AssertionError(value)


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=12),
    st.sampled_from([b"~", b"~l", b"x p", b"0", b"=", b"session:{1}:x"]),
    st.text(max_size=12),
)
#: Of the right shape for many a command.
WORDS = st.lists(st.binary(max_size=12), max_size=6)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.binary(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def drive(name: str, perform: Any) -> None:
    """Run an operation; nothing but what callers expect may come of it."""
    naming = get_configuration().naming
    made = make_operations(naming)
    for other, operation in made.items():
        if other != name:
            operation.close()
    with suppress(*EXPECTED):
        perform(made[name])


def synchronously(operation: Any) -> None:
    sync.get_driver("sessions").run(operation)


def asynchronously(operation: Any) -> None:
    async def run() -> None:
        await aio.get_driver("sessions").run(operation)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("perform", "examples"), [(synchronously, 100), (asynchronously, 25)], ids=["sync", "async"]
)
@pytest.mark.parametrize("name", NAMES)
def test_no_operation_raises_an_error_of_its_own_whatever_is_answered(
    babbler, name, perform, examples
):
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.lists(st.one_of(VALUES, WORDS, ATOMS), min_size=1, max_size=4))
    def whatever(values: list[Any]) -> None:
        left = list(values)
        babbler.answer = lambda command: resp(left.pop(0) if len(left) > 1 else left[0])
        drive(name, perform)

    whatever()


@pytest.mark.parametrize("perform", [synchronously, asynchronously])
@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("load", b":1\r\n"),
        ("load", b"$-1\r\n"),
        ("load", b"*2\r\n$1\r\n~\r\n:1\r\n"),
        ("load", b"*1\r\n$1\r\n~\r\n"),
        ("create", b"$2\r\nOK\r\n"),
        ("create", b"+OK\r\n"),
        ("save", b"$-1\r\n"),
        ("save", b"*0\r\n"),
        ("rotate", b"*1\r\n$1\r\n1\r\n"),
        ("delete", b":1\r\n"),
        ("delete", b"*1\r\n:1\r\n"),
        ("prune", b"$1\r\n1\r\n"),
        ("scan", b":0\r\n"),
        ("scan", b"*2\r\n:0\r\n*0\r\n"),
        ("scan", b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n"),
    ],
)
def test_a_reply_of_a_wrong_shape_is_an_unavailable_store_by_its_name(
    babbler, name, reply, perform
):
    babbler.answer = lambda command: b"$9\r\nrole:none\r\n" if command[0] == b"INFO" else reply
    naming = get_configuration().naming
    operation = make_operations(naming)[name]
    with pytest.raises(SessionStoreUnavailable) as caught:
        perform(operation)
    text = str(caught.value)
    assert f"{babbler.host}:{babbler.port} answered" in text
    assert "proxies on the way" in text


def test_a_session_is_never_missing_for_a_reply_that_cannot_be_one(babbler):
    babbler.answer = lambda command: b"$-1\r\n"
    store = SessionStore("some-session-key-" * 2)
    with pytest.raises(SessionStoreUnavailable):
        store.load()
    assert store.session_key is not None


def test_a_connection_that_brought_such_a_reply_is_closed(babbler):
    babbler.answer = lambda command: b":1\r\n"
    for expected in (1, 2):
        with pytest.raises(SessionStoreUnavailable):
            SessionStore("some-session-key-" * 2).load()
        assert babbler.connections == expected


async def test_others_who_wait_on_it_are_asked_for_again(babbler):
    wrong = [b":1\r\n"]

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"INFO":
            return b"$9\r\nrole:none\r\n"
        if command[0] == b"TTL":
            return b":-2\r\n"
        return wrong.pop() if wrong else b"*0\r\n"

    babbler.answer = answer
    found = await asyncio.gather(
        *(SessionStore("some-session-key-" * 2).aload() for _ in range(3)), return_exceptions=True
    )
    assert [isinstance(one, SessionStoreUnavailable) for one in found].count(True) == 1


def test_the_reply_of_every_script_has_a_known_shape():
    assert {script.name for script in scripts.BY_SHA.values()} == set(_OF_SCRIPTS)
