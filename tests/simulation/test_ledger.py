"""The oracle: what it takes for a violation, and what it lets pass."""

from __future__ import annotations

import pytest

from .ledger import Ledger, Reading
from .promises import End, Login, Promise, State, Transaction, Write

ALL = {"engine": "cached_db", "writes": "through"}


@pytest.fixture
def ledger():
    return Ledger(**ALL)


def a_session(ledger):
    made = Promise(began=0)
    ledger.acknowledge(made, 1)
    return ledger.add_session("key", made)


def add_write(ledger, key, value, *, began, done=None, transaction=None):
    write = Write(began=began, value=value, transaction=transaction)
    key.session.fields.setdefault("a", []).append(write)
    if done is not None:
        ledger.acknowledge(write, done)
    return write


def add_end(ledger, key, *, began, done=None, transaction=None):
    end = End(began=began, transaction=transaction)
    key.session.ends.append(end)
    if done is not None:
        ledger.acknowledge(end, done)
    return end


def read(ledger, key, found, *, began=10, ended=11, **how):
    ledger.check_reading(key, found, Reading(began=began, ended=ended, **how))
    return [violation.kind for violation in ledger.violations]


def test_the_newest_value_is_right(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=2, done=3)
    add_write(ledger, key, 2, began=4, done=5)
    assert read(ledger, key, {"a": 2}) == []


def test_an_older_value_is_a_violation(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=2, done=3)
    add_write(ledger, key, 2, began=3, done=5)
    assert read(ledger, key, {"a": 1}) == ["an acknowledged value is not there"]


def test_a_missing_value_is_a_violation(ledger):
    key = a_session(ledger)
    add_write(ledger, key, None, began=0, done=1)
    add_write(ledger, key, 1, began=2, done=3)
    assert read(ledger, key, {}) == ["an acknowledged value is not there"]


def test_of_two_writes_at_once_either_may_win(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=2, done=5)
    add_write(ledger, key, 2, began=4, done=6)
    assert read(ledger, key, {"a": 1}) == []


def test_a_write_without_an_answer_may_be_there_or_not(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=2, done=3)
    unknown = add_write(ledger, key, 2, began=4)
    unknown.state, unknown.done = State.UNKNOWN, 5
    assert read(ledger, key, {"a": 1}) == []
    assert read(ledger, key, {"a": 2}) == []


def test_a_write_without_an_answer_does_not_replace_a_later_one(ledger):
    key = a_session(ledger)
    unknown = add_write(ledger, key, 1, began=2)
    unknown.state, unknown.done = State.UNKNOWN, 3
    add_write(ledger, key, 2, began=4, done=5)
    assert read(ledger, key, {"a": 1}) == ["an acknowledged value is not there"]


def test_a_value_that_nobody_wrote_is_a_violation(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=2, done=3)
    assert read(ledger, key, {"a": 7}) == ["a value from nowhere"]


def test_a_session_that_nobody_ended_has_to_be_there(ledger):
    assert read(ledger, a_session(ledger), None) == ["a living session is missing"]


def test_an_ended_session_has_to_be_gone(ledger):
    key = a_session(ledger)
    add_end(ledger, key, began=2, done=3)
    assert read(ledger, key, {}) == ["a dead session is read (ended by logout)"]


def test_an_end_that_is_under_way_may_show_or_not(ledger):
    key = a_session(ledger)
    add_end(ledger, key, began=2)
    assert read(ledger, key, {}) == read(ledger, key, None) == []


def test_a_key_that_was_left_is_refused(ledger):
    key = a_session(ledger)
    left = Promise(began=2)
    ledger.acknowledge(left, 3)
    key.left.append(left)
    assert read(ledger, key, {}) == ["a dead session is read (rotated away)"]


def test_a_save_of_an_ended_session_must_not_be_acknowledged(ledger):
    key = a_session(ledger)
    add_end(ledger, key, began=2, done=3)
    ledger.check_accepted(key, "save", Reading(began=4, ended=5))
    assert [v.kind for v in ledger.violations] == [
        "a save of a dead session is acknowledged (ended by logout)"
    ]


def test_a_save_of_a_living_session_must_not_be_refused(ledger):
    ledger.check_refused(a_session(ledger), "save", Reading(began=4, ended=5), [])
    assert [v.kind for v in ledger.violations] == ["a save of a living session is refused"]


def test_an_operations_own_rotation_does_not_excuse_that_its_save_is_refused(ledger):
    key = a_session(ledger)
    own = Promise(began=2)
    key.left.append(own)
    ledger.check_refused(key, "save", Reading(began=4, ended=5), [own])
    assert ledger.violations


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.RUNNING, "an uncommitted value is read"),
        (State.UNDONE, "a rolled-back value is read"),
        (State.UNKNOWN, None),
        (State.ACKNOWLEDGED, None),
    ],
)
def test_others_read_what_was_committed(ledger, state, kind):
    key = a_session(ledger)
    around = Transaction(owner=1)
    add_write(ledger, key, 1, began=2, done=3, transaction=around)
    if state is not State.RUNNING:
        ledger.settle(around, state, 5)
    assert read(ledger, key, {"a": 1}, reader=2) == ([kind] if kind else [])


def test_a_transaction_reads_its_own_writes(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=0, done=1)
    add_write(ledger, key, 2, began=2, done=3, transaction=Transaction(owner=1))
    assert read(ledger, key, {"a": 2}, reader=1) == []
    assert read(ledger, key, {"a": 1}, reader=1) == ["an acknowledged value is not there"]


def test_what_waits_may_be_lost_with_the_cache_until_it_was_synchronized():
    ledger = Ledger(engine="cached_db", writes="behind")
    key = a_session(ledger)
    add_write(ledger, key, 1, began=0, done=1)
    ledger.note_synchronized(2)
    add_write(ledger, key, 2, began=3, done=4)
    ledger.note_loss(5)
    assert read(ledger, key, {"a": 1}) == []
    assert ledger.used["waiting in the cache"] == 1


def test_saves_through_are_not_lost_with_the_cache(ledger):
    key = a_session(ledger)
    add_write(ledger, key, 1, began=0, done=1)
    add_write(ledger, key, 2, began=3, done=4)
    ledger.note_loss(5)
    assert read(ledger, key, {"a": 1}) == ["an acknowledged value is not there"]


def test_a_rule_that_is_switched_off_allows_nothing():
    for without, expected in (((), []), (("unnoticed",), 1)):
        ledger = Ledger(**ALL, without=without)
        key = a_session(ledger)
        add_end(ledger, key, began=2, done=3)
        found = read(ledger, key, {}, is_unnoticed=True)
        assert found == [] if not expected else len(found) == expected


def test_sessions_of_a_user_are_certain_once_the_login_is_acknowledged(ledger):
    first, second = a_session(ledger), a_session(ledger)
    done = Login(began=2, user="1")
    ledger.acknowledge(done, 3)
    first.session.logins.append(done)
    second.session.logins.append(Login(began=2, user="1"))
    assert list(ledger.sessions_of("1", 4)) == [(first.session, True), (second.session, False)]
