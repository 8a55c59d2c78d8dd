"""Merging what waits in a hash into its row: for each field the newest write stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions.codec import stamp_of
from django_elasticache_sessions.fields import stored_name
from django_elasticache_sessions.keys import Naming, stamp_of_key
from django_elasticache_sessions.operations import PENDING_EXPIRY, PENDING_KEY, StoredSession
from django_elasticache_sessions.row_merge import Merged, merge
from django_elasticache_sessions.rows import LATE_SECONDS, Content, Row, State

NAMING = Naming("session", 16, (b"n" * 32,))
SESSION_KEY = "0123456789abcdefghijklmnopqrstuvwxyz0123"
NAME = NAMING.session(SESSION_KEY)
CREATED, SAVED, TTL = 1_700_000_000_000_000, 1_700_000_000, 1000
NAMES = ("a", "b", "~", "x p", USER_ID_FIELD)
MOST_REMOVED = 64


def value(stamp: int, data: bytes = b"x") -> bytes:
    """Return a stored value of a write, unencrypted."""
    return b"\x10" + stamp.to_bytes(6) + data


def key(stamp: int) -> str:
    """Return the KEY of a rotation."""
    return NAMING.key(SESSION_KEY, CREATED, stamp)


def state(fields: Mapping[str, int] = {}, **options: object) -> State:
    """Return a row whose fields were written at the given stamps."""
    values = {name: value(stamp) for name, stamp in fields.items()}
    clock = max([1, *fields.values()])
    of_state = {"is_ended": False, "removed": {}, "cleared": 0}
    of_state |= {name: options.pop(name) for name in of_state.keys() & options.keys()}
    row = Row(NAME.digest, CREATED, SAVED, SAVED + TTL, 5, "", key(1), clock, values, TTL)
    return State(row._replace(**options), **of_state)


def cached(
    written: Mapping[str, int] = {}, removed: Mapping[str, int] = {}, **options: object
) -> StoredSession:
    """Return a hash in which these writes are pending."""
    values = {name: value(stamp) for name, stamp in written.items()}
    pending = {stored(name): stamp for name, stamp in {**written, **removed}.items()}
    clock = max([1, *pending.values()])
    found = StoredSession(
        NAME, CREATED, SAVED, SAVED + TTL, 5, "", key(1), values, clock, b"a.1", 0, pending
    )
    return found._replace(**options)


def stored(name: str) -> str:
    return stored_name(name).decode()


def row_after(before: State | None, merged: Merged) -> State | None:
    """Return the row once a hand-over was written."""
    content = merged.content
    if content is None:
        return before
    row = Row(
        content.sid,
        content.created,
        SAVED + 1000 if before is None else before.row.saved + 1000,
        SAVED + 1000 + content.ttl,
        content.version,
        content.user_tag,
        content.key,
        content.clock,
        dict(content.fields),
        content.ttl,
    )
    return State(row, False, dict(content.removed), content.cleared)


def handed_over(before: State | None, found: StoredSession) -> State | None:
    return row_after(before, merge(before, found, TTL))


def content_of(found: State) -> dict[str, int]:
    """Return the stamp of the write that each field is of."""
    return {name: stamp_of(stored_value) for name, stored_value in found.row.fields.items()}


def stamp_in(found: State, name: str) -> int:
    """Return the newest stamp that a row knows of a field, there or removed."""
    return max(content_of(found).get(name, 0), found.removed.get(name, 0), found.cleared)


class Write(NamedTuple):
    """A write of some fields, `None` for a removal; `replaces` removes all the others."""

    stamp: int
    fields: Mapping[str, bool]
    replaces: bool = False


def saved(before: State, write: Write) -> State:
    """Do to a row what a direct save does, which its statement refuses an older stamp."""
    assert before.row.clock < write.stamp
    fields = {} if write.replaces else dict(before.row.fields)
    removed = {} if write.replaces else dict(before.removed)
    for name, is_there in write.fields.items():
        if is_there:
            fields[name] = value(write.stamp)
        elif not write.replaces:
            fields.pop(name, None)
            removed[name] = write.stamp
    cleared = write.stamp if write.replaces else before.cleared
    row = before.row._replace(
        fields=fields, clock=write.stamp, version=before.row.version + 1, saved=before.row.saved + 1
    )
    return State(row, False, removed, cleared)


def hashes(initial: State, writes: Sequence[Write]) -> list[StoredSession]:
    """Return what a hash was after each of some writes to it, all of them pending."""
    fields = dict(initial.row.fields)
    pending: dict[str, int] = {}
    snapshots = []
    for write in writes:
        gone = set(fields) - write.fields.keys() if write.replaces else set()
        for name, is_there in {**dict.fromkeys(gone, False), **write.fields}.items():
            fields.pop(name, None)
            if is_there:
                fields[name] = value(write.stamp)
            pending[stored(name)] = write.stamp
        snapshots.append(cached(clock=write.stamp, fields=dict(fields), pending=dict(pending)))
    return snapshots


def newest(initial: State, writes: Sequence[Write]) -> dict[str, int]:
    """Return the stamp of each field that is there once the newest write of each stands."""
    stands: dict[str, tuple[int, bool]] = {
        name: (stamp, True) for name, stamp in content_of(initial).items()
    }
    for write in sorted(writes):
        if write.replaces:
            stands = dict.fromkeys(NAMES, (write.stamp, False))
        stands |= {name: (write.stamp, there) for name, there in write.fields.items()}
    return {name: stamp for name, (stamp, is_there) in stands.items() if is_there}


changes = st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1, max_size=3)
initial_rows = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), max_size=4).map(state)


@dataclass
class Schedule:
    """Writes to a hash, and what happens to its row: hand-overs in any order, and direct saves."""

    hash_writes: list[Write]
    #: Of each step the snapshot that is handed over, or a direct save and how far it is ahead.
    steps: list[int | tuple[dict[str, bool], int, bool]] = field(default_factory=list)


@st.composite
def schedules(draw) -> Schedule:
    """Draw a schedule; a hash never removes all, as what it did not know then is not in it."""
    # Even stamps in the hash, odd ones in the row: no two writes share one.
    stamps = sorted(draw(st.sets(st.integers(5, 60), min_size=1, max_size=5)))
    writes = [Write(2 * stamp, draw(changes)) for stamp in stamps]
    direct = st.tuples(changes, st.integers(0, 40), st.booleans())
    steps = draw(st.lists(st.integers(0, len(writes) - 1) | direct, max_size=10))
    # The last snapshot is handed over at least once, anywhere.
    steps.insert(draw(st.integers(0, len(steps))), len(writes) - 1)
    return Schedule(writes, steps)


def run(initial: State, schedule: Schedule) -> tuple[State, list[Write]]:
    """Run a schedule; return the row, and the direct saves with their stamps."""
    snapshots = hashes(initial, schedule.hash_writes)
    row, direct = initial, []
    for step in schedule.steps:
        before = row
        if isinstance(step, int):
            row = handed_over(row, snapshots[step])
        else:
            fields, ahead, replaces = step
            stamp = (row.row.clock + 1 + ahead) | 1
            direct.append(Write(stamp, fields, replaces))
            row = saved(row, direct[-1])
        for name in NAMES:
            assert stamp_in(row, name) >= stamp_in(before, name)
        assert row.row.clock >= before.row.clock
        assert row.row.version >= before.row.version
    return row, direct


@given(initial_rows, schedules())
def test_whatever_the_order_and_repetition_the_newest_write_of_each_field_stands(initial, schedule):
    row, direct = run(initial, schedule)
    assert content_of(row) == newest(initial, [*schedule.hash_writes, *direct])


@given(initial_rows, schedules())
def test_once_handed_over_a_hash_has_nothing_more_to_say(initial, schedule):
    row, _ = run(initial, schedule)
    for snapshot in hashes(initial, schedule.hash_writes):
        merged = merge(row, snapshot, TTL)
        assert merged.content is None
        assert merged.before == merged.after == row.row.version


@given(initial_rows, schedules(), st.randoms(use_true_random=False))
def test_hand_overs_commute(initial, schedule, random):
    snapshots = hashes(initial, schedule.hash_writes)
    one = other = initial
    shuffled = [*snapshots, *snapshots]
    random.shuffle(shuffled)
    for snapshot in snapshots:
        one = handed_over(one, snapshot)
    for snapshot in shuffled:
        other = handed_over(other, snapshot)
    assert content_of(one) == content_of(other)
    assert one.row.clock == other.row.clock
    assert {name: stamp_in(one, name) for name in NAMES} == {
        name: stamp_in(other, name) for name in NAMES
    }


def test_the_first_hand_over_makes_the_row_of_all_that_is_in_the_hash():
    found = cached({"a": 8, "b": 9}, version=0, user_tag="tag", key=key(7))
    merged = merge(None, found, 77)
    assert merged == Merged(
        NAME.digest,
        0,
        1,
        has_newer=False,
        content=Content(
            NAME.digest,
            77,
            CREATED,
            "tag",
            key(7),
            found.fields,
            9,
            latest=SAVED + TTL - 77 + LATE_SECONDS,
        ),
    )


def test_an_older_value_does_not_come_back_over_a_newer_one():
    merged = merge(state({"a": 9}), cached({"a": 8}), TTL)
    assert merged.content is None
    assert merged.has_newer


def test_a_value_that_the_row_has_is_not_newer():
    assert not merge(state({"a": 9}), cached({"a": 9}), TTL).has_newer


def test_a_removed_field_stays_removed_against_older_stamps():
    row = handed_over(state({"a": 5, "b": 5}), cached(removed={"a": 7}))
    assert content_of(row) == {"b": 5}
    assert row.removed == {"a": 7}
    merged = merge(row, cached({"a": 6}), TTL)
    assert merged.content is None
    assert merged.has_newer
    assert content_of(handed_over(row, cached({"a": 8}))) == {"a": 8, "b": 5}


def test_what_a_replacement_took_away_stays_away_against_older_stamps():
    row = saved(state({"a": 5, "b": 5}), Write(9, {"b": True}, replaces=True))
    row = handed_over(row, cached({"a": 8, "b": 7, "x p": 6}))
    assert content_of(row) == {"b": 9}
    assert content_of(handed_over(row, cached({"a": 10}))) == {"a": 10, "b": 9}


def test_what_is_not_pending_is_not_handed_over():
    found = cached({"a": 8})._replace(fields={"a": value(8), "b": value(8), "c": value(8)})
    assert content_of(handed_over(state({"b": 5}), found)) == {"a": 8, "b": 5}


@pytest.mark.parametrize("name", ["~", "~~", "~k", "~e", "~!a", "x p", ""])
def test_a_field_named_like_metadata_is_a_field(name):
    row = handed_over(state({name: 5}), cached({name: 8}))
    assert content_of(row) == {name: 8}
    assert content_of(handed_over(row, cached(removed={name: 9}))) == {}
    assert (row.row.key, row.row.ttl) == (key(1), TTL)


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_newest_key_stands_with_its_creation_time(of_row, of_hash):
    before = state(key=key(of_row), created=CREATED + of_row)
    found = cached(key=key(of_hash), created=CREATED + of_hash, pending={PENDING_KEY: of_hash})
    merged = merge(before, found, TTL)
    row = row_after(before, merged)
    assert stamp_of_key(row.row.key) == max(of_row, of_hash)
    assert row.row.created == CREATED + max(of_row, of_hash)
    assert merged.has_newer == (of_row > of_hash)
    assert (merged.content is None) == (of_row >= of_hash)


def test_a_key_that_is_not_pending_is_not_handed_over():
    assert handed_over(state(), cached({"a": 8}, key=key(9))).row.key == key(1)


def test_the_user_comes_with_the_field_that_names_him():
    before = state({USER_ID_FIELD: 5}, user_tag="before")
    assert handed_over(before, cached({"a": 8}, user_tag="hash")).row.user_tag == "before"
    assert handed_over(before, cached({USER_ID_FIELD: 4}, user_tag="hash")) == before
    login = handed_over(before, cached({USER_ID_FIELD: 8}, user_tag="hash"))
    assert login.row.user_tag == "hash"
    logout = handed_over(before, cached(removed={USER_ID_FIELD: 8}, user_tag=""))
    assert (logout.row.user_tag, content_of(logout)) == ("", {})


@pytest.mark.parametrize(("saved_later", "ttl"), [(1, 77), (0, TTL), (-1, TTL)])
def test_the_expiry_of_the_later_save_stands(saved_later, ttl):
    found = cached({"a": 8})
    pending = {**found.pending, PENDING_EXPIRY: 8}
    found = found._replace(saved=SAVED + saved_later, pending=pending)
    assert merge(state(), found, 77).content.ttl == ttl


def test_an_expiry_that_is_not_pending_is_not_handed_over():
    assert merge(state(), cached({"a": 8}, saved=SAVED + 9), 77).content.ttl == TTL


def test_a_touch_is_handed_over_alone_and_once():
    touched = cached(saved=SAVED + 9, pending={PENDING_EXPIRY: 8})
    merged = merge(state({"a": 5}), touched, 77)
    assert (merged.content.ttl, merged.content.fields) == (77, {"a": value(5)})
    assert merge(row_after(state({"a": 5}), merged), touched, 77).content is None


def test_a_row_has_the_largest_stamp_of_both_for_its_clock():
    assert handed_over(state({"b": 20}), cached({"a": 8})).row.clock == 20
    assert handed_over(state({"b": 5}), cached({"a": 8})).row.clock == 8


def test_of_removed_fields_a_bounded_number_is_kept_and_none_comes_back():
    many = {f"field-{n}": n + 10 for n in range(MOST_REMOVED + 36)}
    before = state(dict.fromkeys([*many, "kept"], 5))
    row = handed_over(before, cached(removed=many))
    assert content_of(row) == {"kept": 5}
    assert len(row.removed) == MOST_REMOVED
    assert row.cleared == 45
    assert all(stamp_in(row, name) >= stamp for name, stamp in many.items())
    late = cached({name: stamp - 1 for name, stamp in many.items()})
    assert merge(row, late, TTL).content is None
    again = cached(dict.fromkeys(many, 1000))
    assert content_of(handed_over(row, again)) == {"kept": 5} | dict.fromkeys(many, 1000)


def test_what_waits_beside_many_removed_fields_is_handed_over():
    """What a bounded memory forgets is decided after all of the hash was taken."""
    many = {f"field-{n}": n + 10 for n in range(MOST_REMOVED + 36)}
    row = handed_over(state(dict.fromkeys(many, 5)), cached({"a": 11}, many))
    assert content_of(row) == {"a": 11}
