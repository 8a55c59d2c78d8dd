"""Stamps: later writes have larger ones, whatever the clocks say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions import stamps
from django_elasticache_sessions.stamps import LAST, STAMP_BYTES, age_seconds, new_stamp

UNIT_SECONDS = 16e-6


@given(st.integers(0, LAST - 1))
def test_a_stamp_is_larger_than_every_one_that_its_writer_has_seen(seen):
    stamp = new_stamp(seen)
    assert seen < stamp <= LAST
    assert len(stamp.to_bytes(STAMP_BYTES)) == STAMP_BYTES


def test_a_stamp_is_the_time_in_units_of_16_microseconds():
    before, stamp, after = time.time(), new_stamp(), time.time()
    assert before - UNIT_SECONDS <= stamp * UNIT_SECONDS <= after + UNIT_SECONDS


def test_a_stamp_follows_the_clock_again_once_that_has_caught_up():
    ahead = new_stamp() + 5
    assert new_stamp(ahead) == ahead + 1
    assert new_stamp(ahead - 1_000_000) > ahead - 1_000_000


def test_writers_whose_clock_is_behind_still_stamp_later_than_what_they_have_seen(monkeypatch):
    ahead = new_stamp()
    monkeypatch.setattr(stamps.time, "time_ns", lambda: 0)
    assert [new_stamp(ahead), new_stamp(ahead + 1)] == [ahead + 1, ahead + 2]


def test_the_last_stamp_there_is_does_not_overflow():
    assert new_stamp(LAST) == LAST


@pytest.mark.parametrize("seconds", [0, 1, 3600])
def test_the_age_of_a_stamp_is_the_time_since_it_was_made(seconds):
    assert age_seconds(new_stamp() - round(seconds / UNIT_SECONDS)) == pytest.approx(seconds, abs=1)


def test_stamps_last_until_the_year_2112():
    assert time.gmtime(LAST * UNIT_SECONDS).tm_year == 2112
