"""What each database makes of the changes of a save: the same as a dict."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from django_elasticache_sessions import row_merge, row_upkeep, rows
from django_elasticache_sessions.rows import Content, Patch

from .servers.databases import VENDORS

KEY, NEW_KEY, TTL, CREATED = "k" * 30, "n" * 30, 1000, 1_700_000_000_000_000
#: What a JSON path, a JSON text or a statement might take for its own.
ODD_NAMES = [
    *("", " ", "a", "A", "a ", " a", "a.b", "a.*", "*", "**", "$", "$.a", "a[0]", "[0]", "#-1"),
    *('"', '"a"', "'", "\\", "\\\\", '\\"', "\\u0061", "`", "%", "%s", "{now}", "{{}}", "@", "?"),
    *(
        "x p",
        "~",
        "~~",
        "~k",
        "~!a",
        "~base64:",
        "~base64:YQ==",
        "null",
        "0",
        "-1",
        "-",
        "a-b",
        "a/b",
        "a~1",
    ),
    *("é", "e\u0301", "ß", "ss", "ключ", "\U0001f511", "\U0001f511\u200d", "ﬁ", "İ", "\u00a0"),
    *("nul\0", "\0", "\ud800", "\udfff\ud800", "\n", "\x7f", "\x85", "\u2028", "a" * 300),
]
names = st.sampled_from(ODD_NAMES) | st.text(st.characters(exclude_categories=()), max_size=4)
values = st.binary(max_size=40) | st.integers(0, 70_000).map(lambda size: b"\xff" * size)


class Change(NamedTuple):
    """A save, as it is tried on a row and on a dict."""

    changed: Mapping[str, bytes]
    removed: Sequence[str] = ()
    replace: bool = False

    def apply(self, fields: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return what a dict has after it."""
        kept = {} if self.replace else {n: v for n, v in fields.items() if n not in self.removed}
        return kept | dict(self.changed)


@st.composite
def changes(draw) -> Change:
    changed = draw(st.dictionaries(names, values, max_size=4))
    removed = draw(st.lists(names, max_size=4, unique=True))
    removed = [name for name in removed if name not in changed]
    return Change(changed, removed, draw(st.booleans()) and draw(st.booleans()))


@pytest.fixture(params=VENDORS)
def alias(request, fallback_database) -> str:
    """The alias of an empty database of each vendor."""
    return fallback_database(request.param)


# One database for all examples: each has a row of its own.
examples = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def in_transaction(alias: str) -> AbstractContextManager[object]:
    """Have the statements of an example be one transaction: commits wait for the disk."""
    return transaction.atomic(using=alias)


def create(alias: str, fields: Mapping[str, bytes] = {}) -> bytes:
    sid = os.urandom(16)
    rows.create(connections[alias], Content(sid, TTL, CREATED, "", KEY, fields, 1))
    return sid


def save(alias: str, sid: bytes, change: Change, stamp: int | None, **options: object) -> int:
    patch = Patch(sid, KEY, stamp, TTL, *change, None, None, False)
    return rows.save(connections[alias], patch._replace(**options)).version


def state(alias: str, sid: bytes) -> rows.State:
    return rows.states(connections[alias], [sid])[sid]


@examples
@given(fields=st.dictionaries(names, values, max_size=6), several=st.lists(changes(), max_size=4))
@example({"cart": b"1", "last": b"1"}, [Change({"last": b"2"}, ["cart"])])
@example({"a": b"1", "b": b"2"}, [Change({"a": b"3"}, ["b"]), Change({"b": b"4"}, ["a"])])
@example(dict.fromkeys(ODD_NAMES, b"1"), [Change({"new": b"2"}, ODD_NAMES)])
@example(dict.fromkeys(ODD_NAMES, b"1"), [Change(dict.fromkeys(ODD_NAMES[::2], b"2"))])
@example(dict.fromkeys(ODD_NAMES, b"1"), [Change({}, ODD_NAMES[::2]), Change({}, ODD_NAMES)])
def test_a_row_has_the_fields_that_a_dict_would_have(alias, fields, several):
    with in_transaction(alias):
        sid = create(alias, fields)
        for number, change in enumerate(several):
            assert save(alias, sid, change, 10 + number) == 2 + number
            fields = change.apply(fields)
            assert state(alias, sid).row.fields == fields
        [row] = rows.load(connections[alias], [sid]).rows
        assert row.fields == fields


@examples
@given(fields=st.dictionaries(names, values, max_size=3), several=st.lists(changes(), max_size=4))
@example(dict.fromkeys(ODD_NAMES, b"1"), [Change({}, ODD_NAMES), Change({}, ODD_NAMES[1:])])
def test_a_row_remembers_when_fields_were_removed(alias, fields, several):
    with in_transaction(alias):
        sid = create(alias, fields)
        removed: dict[str, int] = {}
        cleared = 0
        for number, change in enumerate(several):
            stamp = 2**47 + number
            save(alias, sid, change, stamp)
            cleared = stamp if change.replace else cleared
            removed = {} if change.replace else removed | dict.fromkeys(change.removed, stamp)
        found = state(alias, sid)
        assert (found.removed, found.cleared) == (removed, cleared)
        assert found.row.clock == (2**47 + len(several) - 1 if several else 1)


@examples
@given(fields=st.dictionaries(names, values, max_size=6), re_encoded=st.data())
def test_re_encoded_values_take_the_place_of_the_others(alias, fields, re_encoded):
    with in_transaction(alias):
        sid = create(alias, fields)
        some = {
            name: value + b"!" for name, value in fields.items() if re_encoded.draw(st.booleans())
        }
        assert row_upkeep.replace(connections[alias], sid, 1, some)
        assert state(alias, sid).row.fields == fields | some


@examples
@given(fields=st.dictionaries(names, values, max_size=6), merged=changes())
def test_a_merged_row_is_written_as_it_was_merged(alias, fields, merged):
    with in_transaction(alias):
        sid = create(alias, fields)
        content = Content(
            sid, TTL, CREATED, "t" * 22, NEW_KEY, merged.changed, 50, 2, {"x p": 2**48 - 1}, 40
        )
        assert row_merge.write(connections[alias], [content]) == {sid}
        found = state(alias, sid)
        assert found.row.fields == dict(merged.changed)
        assert found.row[4:8] == (2, "t" * 22, NEW_KEY, 50)
        assert (found.removed, found.cleared) == ({"x p": 2**48 - 1}, 40)


def test_a_million_bytes_beside_a_removal_are_kept(alias):
    sid = create(alias, {"first": b"1", "large": b"\xff" * 1_000_000, "last": b"1"})
    save(alias, sid, Change({"last": b"2"}, ["first"]), 10)
    assert state(alias, sid).row.fields == {"large": b"\xff" * 1_000_000, "last": b"2"}


def test_thousands_of_fields_are_removed_beside_a_change(alias):
    fields = {f"field-{n}": b"x" for n in range(4000)}
    sid = create(alias, fields)
    save(alias, sid, Change({"field-0": b"y"}, list(fields)[1:]), 10)
    assert state(alias, sid).row.fields == {"field-0": b"y"}
    assert len(state(alias, sid).removed) == 3999


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"key": NEW_KEY}, id="another KEY"),
        pytest.param({"stamp": 10}, id="its own stamp again"),
        pytest.param({"stamp": 9}, id="an older stamp"),
    ],
)
def test_a_save_that_the_row_refuses_changes_nothing(alias, options):
    sid = create(alias, {"a": b"1"})
    assert save(alias, sid, Change({"a": b"2"}), 10) == 2
    before = state(alias, sid).row.fields
    assert save(alias, sid, Change({"a": b"3"}, (), True), **{"stamp": 11, **options}) == 0
    after = state(alias, sid)
    assert (after.row.fields, after.row.version, after.cleared) == (before, 2, 0)


@pytest.mark.parametrize("how", ["ended", "expired"])
def test_a_session_that_is_over_takes_no_save(alias, how):
    sid = create(alias, {"a": b"1"})
    if how == "ended":
        rows.end(connections[alias], [sid], cache_stale=False)
    else:
        save(alias, sid, Change({}), None, ttl=-5)
    for stamp in (None, 10):
        assert save(alias, sid, Change({"a": b"2"}), stamp) == 0
    assert state(alias, sid).is_ended == (how == "ended")
    assert rows.load(connections[alias], [sid]).rows == []


def test_a_rotation_changes_the_key_the_user_and_fields_in_one_statement(alias):
    sid = create(alias, {"a": b"1", "b": b"1"})
    rotated = (NEW_KEY, CREATED + 5)
    change = Change({"a": b"2"}, ["b"])
    assert save(alias, sid, change, 10, rotated=rotated, user_tag="t" * 22) == 2
    row = state(alias, sid).row
    assert (row.key, row.created, row.user_tag) == (NEW_KEY, CREATED + 5, "t" * 22)
    assert row.fields == {"a": b"2"}
    assert save(alias, sid, Change({"a": b"3"}), 11) == 0
    assert save(alias, sid, Change({"a": b"3"}), 11, key=NEW_KEY) == 3


def test_a_merge_is_written_only_over_the_row_that_it_was_made_of(alias):
    sid = create(alias, {"a": b"1"})
    content = Content(sid, TTL, CREATED, "", KEY, {"a": b"merged"}, 20, 2)
    save(alias, sid, Change({"a": b"2"}), 10)
    assert row_merge.write(connections[alias], [content]) == set()
    assert state(alias, sid).row.fields == {"a": b"2"}
    assert row_merge.write(connections[alias], [content._replace(version=3)]) == {sid}
    assert row_merge.write(connections[alias], [content._replace(version=3)]) == set()
    assert state(alias, sid).row.fields == {"a": b"merged"}


def test_a_merge_brings_no_ended_session_back(alias):
    sid, new = create(alias), os.urandom(16)
    rows.end(connections[alias], [sid], cache_stale=False)
    rows.end_unknown(connections[alias], [new], cache_stale=False)
    for version in (1, 2, 3):
        for digest in (sid, new):
            content = Content(digest, TTL, CREATED, "", KEY, {"a": b"1"}, 20, version)
            assert row_merge.write(connections[alias], [content]) == set()
    assert rows.load(connections[alias], [sid, new]).rows == []


def test_of_several_merges_those_that_come_too_late_are_left_out(alias):
    first, second, new = create(alias), create(alias), os.urandom(16)
    save(alias, second, Change({"a": b"2"}), 10)
    contents = [
        Content(sid, TTL, CREATED, "", KEY, {"a": b"merged"}, 20, version)
        for sid, version in ((first, 2), (second, 2), (new, 1))
    ]
    assert row_merge.write(connections[alias], contents) == {first, new}
    assert state(alias, second).row.fields == {"a": b"2"}


def statements(alias: str, action: Callable[[], object]) -> list[str]:
    """Return the statements that an action takes."""
    seen: list[str] = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    with connections[alias].execute_wrapper(note):
        action()
    return seen


def test_a_touch_puts_the_expiry_off_and_leaves_the_rest_as_it_is(alias):
    sid = create(alias, {"a": b"1"})
    before = state(alias, sid).row
    [statement] = statements(alias, lambda: save(alias, sid, Change({}), None, ttl=TTL + 5000))
    for column in ("fields", "clock", "removed", "cleared", "validator =", "user_tag", "created"):
        assert column not in statement.partition(" WHERE ")[0]
    after = state(alias, sid).row
    assert after.ttl > before.ttl + 4000
    assert after._replace(ttl=0, expires=0, saved=0) == before._replace(ttl=0, expires=0, saved=0)


def test_a_touch_of_a_large_session_writes_little(fallback_database):
    """Of 20 KB of values nothing is written again; PostgreSQL tells what it writes."""
    alias = fallback_database("postgresql")
    sid = create(alias, {"a": os.urandom(15_000)})

    def written_by(change: Change, stamp: int | None) -> int:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()")
            [before] = cursor.fetchone()
            save(alias, sid, change, stamp)
            cursor.execute("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", [before])
            return int(cursor.fetchone()[0])

    # A page that is touched first after a checkpoint is written whole.
    touches = min(written_by(Change({}), None) for _ in range(3))
    changes = min(written_by(Change({"b": b"1"}), 10 + number) for number in range(3))
    assert touches < 2000
    assert changes > 15_000
