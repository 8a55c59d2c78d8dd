"""What a cluster says of itself: its slots, its nodes, and where a slot has gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from django_elasticache_sessions.drivers.cluster.slots import SLOTS, slot_of
from django_elasticache_sessions.drivers.cluster.topology import Address, Redirection, Topology
from django_elasticache_sessions.drivers.cluster.walk import Position

ASKED = Address("entry.example.com", 6379)
FIRST, SECOND = Address("10.0.0.1", 7000), Address("10.0.0.2", 7000)
HALVES = [
    [0, 8191, [b"10.0.0.1", 7000, b"id", []], [b"10.0.0.3", 7000, b"id", []]],
    [8192, 16383, [b"10.0.0.2", 7000, b"id", []]],
]


def test_each_slot_has_its_primary_and_replicas_are_known():
    found = Topology.parse(HALVES, asked=ASKED)
    assert found.owners[0] == found.owners[8191] == FIRST
    assert found.owners[8192] == found.owners[16383] == SECOND
    assert found.primaries == (FIRST, SECOND)
    assert found.replicas == {Address("10.0.0.3", 7000)}


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_without_a_host_is_where_it_was_asked(host):
    found = Topology.parse([[0, 16383, [host, 7001]]], asked=ASKED)
    assert found.primaries == (Address("entry.example.com", 7001),)


def test_a_primary_that_nobody_knows_serves_nothing():
    found = Topology.parse([[0, 99, [b"?", 7000]], HALVES[1]], asked=ASKED)
    assert found.owners[0] is None
    assert found.primaries == (SECOND,)


@pytest.mark.parametrize(
    "ranges",
    [
        None,
        b"garbage",
        7,
        [],
        [[0]],
        [[0, 16383]],
        [[0, 16383, []]],
        [[0, 16383, [b"?", 7000]]],
        [[0, 16383, [b"\xff", 7000]]],
        [["x", "y", [b"10.0.0.1", 7000]]],
        [[0, 99_999, [b"10.0.0.1", 7000]]],
    ],
)
def test_what_names_no_primary_is_no_topology(ranges):
    assert Topology.parse(ranges, asked=ASKED) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MOVED 3999 10.0.0.1:7000", Redirection(3999, FIRST, True)),
        ("ASK 3999 10.0.0.1:7000", Redirection(3999, FIRST, False)),
        ("MOVED 1 :7001", Redirection(1, Address("entry.example.com", 7001), True)),
        ("MOVED 1 2001:db8::1:7001", Redirection(1, Address("2001:db8::1", 7001), True)),
        ("MOVED 16384 10.0.0.1:7000", None),
        ("MOVED 1 ?:7000", None),
        ("MOVED 1 10.0.0.1", None),
        ("MOVED", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
    ],
)
def test_a_redirection_says_where_a_slot_is(text, found):
    assert Redirection.parse(text, asked=ASKED) == found


@given(st.binary(min_size=1, max_size=40))
def test_every_command_belongs_to_the_slot_of_its_key(key):
    assert slot_of(("HGETALL", key)) == slot_of((b"EVALSHA", b"sha", 1, key, b"x")) == key_slot(key)
    assert 0 <= key_slot(key) < SLOTS


def test_what_stands_in_braces_decides():
    assert slot_of(("TTL", "session:{7}:abc")) == slot_of(("ZADD", "session:{7}:live", 1, "x"))


@pytest.mark.parametrize("command", [("TIME",), ("INFO", "replication"), ("SCAN", b"0")])
def test_what_has_no_key_belongs_to_no_slot(command):
    assert slot_of(command) is None


def test_a_scan_goes_over_every_primary_and_then_ends():
    primaries = (FIRST, SECOND)
    visited, cursor = [], b"0"
    for reply in (b"17", b"0", b"0"):
        position = Position.parse(cursor, primaries)
        visited.append((position.address, position.cursor))
        cursor = position.following(reply, primaries)
    assert visited == [(FIRST, b"0"), (FIRST, b"17"), (SECOND, b"0")]
    assert cursor == b"0"


def test_a_scan_goes_on_with_the_successor_of_a_primary_from_its_beginning():
    cursor = Position(SECOND, b"0").following(b"17", (FIRST, SECOND))
    successor = Address("10.0.0.4", 7000)
    assert Position.parse(cursor, (FIRST, successor)) == Position(successor, b"0")


def test_a_scan_of_no_primaries_is_none():
    assert Position.parse(b"0", ()) is None
