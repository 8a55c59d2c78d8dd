"""What is made of the buckets' counts."""

from __future__ import annotations

import pytest

from django_elasticache_sessions.events import HOURS, MINUTES, parse, read_commands
from django_elasticache_sessions.exceptions import ForeignType
from django_elasticache_sessions.keys import Naming

MINUTE, HOUR = 60, 3600
NOW = 500_000 * HOUR + 30 * MINUTE + 7


def reply(**counts: int) -> list[bytes]:
    return [word for pair in counts.items() for word in (pair[0].encode(), str(pair[1]).encode())]


def field(kind: str, at: int) -> str:
    return f"{kind}{at // (MINUTE if kind.endswith('m') else HOUR)}"


def test_each_bucket_is_asked_once():
    commands = read_commands(Naming("session", 3, (b"n" * 32,)))
    assert commands == tuple(("HGETALL", f"session:events:{{{n}}}") for n in range(3))


def test_buckets_are_added_up():
    counts = {field("cm", NOW): 2, field("ch", NOW): 5, field("eh", NOW): 1}
    events = parse([reply(**counts), [], ForeignType(), reply(**counts)], NOW)
    assert (len(events.minutes), len(events.hours)) == (MINUTES, HOURS)
    assert (events.minutes[-1].created, events.minutes[-1].ended) == (4, 0)
    assert (events.hours[-1].created, events.hours[-1].ended) == (10, 2)


def test_the_last_period_is_the_one_that_goes_on():
    events = parse([], NOW)
    assert events.minutes[-1].start.timestamp() == NOW - 7
    assert events.hours[-1].start.timestamp() == NOW - 30 * MINUTE - 7
    assert events.hours[0].start.timestamp() == events.hours[-1].start.timestamp() - 23 * HOUR


def test_what_was_before_the_first_count_is_not_known():
    first = NOW - 10 * MINUTE
    events = parse([reply(**{field("cm", first): 1, field("ch", first): 1})], NOW)
    known = [period.created for period in events.minutes if period.created is not None]
    assert known == [1] + 10 * [0]
    assert [period.ended for period in events.hours] == 23 * [None] + [0]


def test_minutes_are_known_where_only_hours_are_kept_of_the_first_count():
    first = NOW - 5 * HOUR
    counts = {field("ch", first): 1, field("cm", NOW): 1, field("ch", NOW): 1}
    events = parse([reply(**counts)], NOW)
    assert None not in {period.created for period in events.minutes}
    assert [period.created for period in events.hours] == 18 * [None] + [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("field_name", ["", "c", "cm", "xm1", "cm1x", "cm99999999999", "é"])
def test_what_is_no_count_is_left_out(field_name):
    assert parse([[field_name.encode(), b"1"]], NOW).hours[-1].created is None


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"1.5", b"9" * 30])
def test_a_count_that_is_no_number_is_left_out(value):
    assert parse([[field("ch", NOW).encode(), value]], NOW).hours[-1].created is None


def test_what_a_clock_ahead_has_counted_is_not_shown_yet():
    later = NOW + 10 * HOUR
    events = parse([reply(**{field("ch", later): 1, field("cm", later): 1})], NOW)
    assert {period.created for period in events.hours} == {None}
