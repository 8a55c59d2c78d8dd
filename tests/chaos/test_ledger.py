"""The ledger notices what it is there for, and nothing else."""

from __future__ import annotations

import time

import pytest

from .faults import faults_of
from .figures import Figures
from .ledger import Answer, Operations, Question, Visit, Wrong, forget_suspicions, judge, lost
from .plans import LONG, SHORT
from .promises import HOMES, PROMISES, Promise


@pytest.fixture
def visit() -> Visit:
    """A session whose one number is acknowledged as 5, and has been tried as 6."""
    visit = Visit("ann", "ann-1", Operations(), cookie="key", is_signed_in=True)
    number = visit.number("n")
    number.acknowledged, number.tried = 5, 6
    return visit


def shown(number: int, **more: str | None) -> Answer:
    return Answer(200, **{"user": "ann", "owner": "ann-1", **more}, numbers={"n": number})


SIGNED_OUT = Answer(200)


def kinds(question: Question, answer: Answer) -> list[Wrong]:
    return [what for what, _ in judge(question, answer)]


@pytest.mark.parametrize("number", [5, 6])
def test_the_acknowledged_number_or_a_later_one_that_was_tried_is_right(visit, number):
    assert kinds(Question.of(visit), shown(number)) == []


def test_an_older_number_is_stale_and_looked_into_once(visit):
    assert kinds(Question.of(visit), shown(4)) == [Wrong.STALE]
    assert visit.number("n").is_suspect
    assert kinds(Question.of(visit), shown(4)) == []
    forget_suspicions(visit)
    assert kinds(Question.of(visit), shown(4)) == [Wrong.STALE]


def test_a_number_that_is_not_there_is_stale(visit):
    assert kinds(Question.of(visit), Answer(200, user="ann", owner="ann-1")) == [Wrong.STALE]


def test_a_request_is_judged_by_what_was_acknowledged_when_it_began(visit):
    question = Question.of(visit)
    visit.number("n").acknowledged = 6
    assert kinds(question, shown(5)) == []


def test_a_number_that_nobody_tried_is_noticed(visit):
    assert kinds(Question.of(visit), shown(7)) == [Wrong.UNDONE]


def test_a_number_that_was_rolled_back_is_noticed(visit):
    number = visit.number("n").next(is_undone=True)
    assert kinds(Question.of(visit), shown(number)) == [Wrong.UNDONE]


def test_another_user_is_noticed(visit):
    assert kinds(Question.of(visit), shown(5, user="bob")) == [Wrong.WRONG_USER]


def test_another_session_of_the_same_user_is_noticed(visit):
    assert kinds(Question.of(visit), shown(5, owner="ann-2")) == [Wrong.WRONG_USER]


def test_who_is_signed_out_without_an_excuse_is_noticed_once(visit):
    assert kinds(Question.of(visit), SIGNED_OUT) == [Wrong.SIGNED_OUT]
    assert kinds(Question.of(visit), SIGNED_OUT) == []


@pytest.mark.parametrize("status", [400, 401])
def test_a_request_that_is_refused_is_signed_out_too(visit, status):
    assert kinds(Question.of(visit), Answer(status)) == [Wrong.SIGNED_OUT]


@pytest.mark.parametrize("status", [0, 500, 503])
def test_an_answer_that_says_nothing_is_not_judged(visit, status):
    assert kinds(Question.of(visit), Answer(status)) == []


def test_a_request_during_a_rotation_may_be_refused_but_shows_nothing_old(visit):
    question = Question.of(visit)
    with visit.operations:
        visit.rotated("another key")
    assert kinds(question, SIGNED_OUT) == []
    assert kinds(question, shown(4)) == [Wrong.STALE]


def test_a_request_after_a_rotation_may_not_be_refused(visit):
    with visit.operations:
        visit.rotated("another key")
    time.sleep(0.001)
    assert kinds(Question.of(visit), SIGNED_OUT) == [Wrong.SIGNED_OUT]


def test_a_request_during_an_end_of_all_sessions_may_be_refused(visit):
    with visit.users_operations:
        question = Question.of(visit)
    assert kinds(question, SIGNED_OUT) == []


def test_a_key_that_was_rotated_away_is_good_for_nothing(visit):
    visit.rotated("another key")
    question = Question.of(visit, old_cookie="key")
    assert kinds(question, SIGNED_OUT) == []
    assert kinds(question, shown(5)) == [Wrong.ZOMBIE]


def test_a_rotation_that_keeps_the_cookie_leaves_no_old_key(visit):
    visit.rotated("key")
    visit.rotated(None)
    assert (visit.cookie, visit.old_cookies) == ("key", [])


def test_a_session_that_was_ended_is_dead_for_requests_that_begin_later(visit):
    before = Question.of(visit)
    visit.end("logout")
    assert kinds(before, shown(5)) == []
    assert kinds(Question.of(visit), shown(5)) == [Wrong.ZOMBIE]


def test_of_a_session_in_doubt_only_the_numbers_are_expected(visit):
    visit.doubt()
    assert kinds(Question.of(visit), SIGNED_OUT) == []
    assert kinds(Question.of(visit), shown(4)) == [Wrong.STALE]


def test_what_is_still_missing_in_the_end_is_lost_once(visit):
    assert [what for what, _ in lost(visit, shown(4))] == [Wrong.LOST]
    assert list(lost(visit, shown(4))) == []


def test_a_promise_is_broken_by_what_it_does_not_allow():
    figures = Figures()
    figures.found([(Wrong.STALE, "")])
    assert figures.broken(Promise())
    assert not figures.broken(Promise(during=(Wrong.STALE,)))


def test_what_is_allowed_during_a_fault_is_not_allowed_afterwards():
    figures = Figures(is_over=True)
    figures.found([(Wrong.STALE, "")])
    assert figures.broken(Promise(during=(Wrong.STALE,)))


def test_a_request_that_took_too_long_breaks_a_promise():
    figures = Figures()
    figures.count("read", SIGNED_OUT, 2.5, is_dead=False)
    assert figures.broken(Promise(longest_seconds=2.0))
    assert not figures.broken(Promise(longest_seconds=3.0))


def test_errors_of_staff_are_promised_apart():
    figures = Figures()
    figures.count("end_for_user", Answer(503), 0.1, is_dead=False)
    assert figures.broken(Promise())
    assert not figures.broken(Promise(staff_errors=True))


def test_only_write_behind_may_lose_anything():
    losing = [name for name in PROMISES if Wrong.LOST in PROMISES[name].of("through").afterwards]
    assert losing == []


def test_every_fault_has_a_promise_and_every_promise_a_fault():
    befalling = {name for setup, names in (*SHORT, *LONG) for name in names}
    assert befalling | set(HOMES) == set(PROMISES)


def test_the_test_command_has_no_fault_that_its_stage_cannot_have():
    assert [name for setup, names in SHORT for name in names if name not in faults_of(setup)] == []
