"""A SCAN over all primaries, without a cluster."""

from __future__ import annotations

import pytest

from django_elasticache_sessions.drivers.cluster.topology import Address
from django_elasticache_sessions.drivers.cluster.walk import Position

ONE, TWO, THREE, FOUR = (Address(f"10.0.0.{number}", 6379) for number in range(1, 5))
NODES = (ONE, TWO, THREE)


def follow(cursor, *cursors, nodes=NODES):
    """Go on from a cursor, a step for each that a node answers with; return the last."""
    for told in cursors:
        cursor = Position.parse(cursor, nodes).following(told, nodes)
    return cursor


def walk(nodes_at, cursor=b"0", most=20):
    """Walk to the end, each node in one step; return who was asked.

    `nodes_at` tells who is there, given how many were asked.
    """
    asked = []
    while not asked or cursor != b"0":
        position = Position.parse(cursor, nodes_at(len(asked)))
        asked.append(position.address)
        cursor = position.following(b"0", nodes_at(len(asked)))
        assert len(asked) < most
    return asked


@pytest.mark.parametrize("cursor", [b"0", "0", 0])
def test_a_walk_begins_at_the_first_primary(cursor):
    position = Position.parse(cursor, NODES)
    assert (position.address, position.cursor) == (ONE, b"0")


def test_without_a_primary_there_is_no_walk():
    assert Position.parse(b"0", ()) is None


def test_every_primary_is_walked_once():
    assert walk(lambda _: NODES) == [ONE, TWO, THREE]


def test_a_walk_of_one_primary_ends_with_it():
    assert walk(lambda _: (ONE,)) == [ONE]


def test_a_node_is_gone_on_with_from_its_own_cursor():
    position = Position.parse(follow(b"0", b"0", b"17"), NODES)
    assert (position.address, position.cursor) == (TWO, b"17")


def test_a_cursor_may_come_back_as_text():
    position = Position.parse(follow(b"0", b"17").decode(), NODES)
    assert (position.address, position.cursor) == (ONE, b"17")


def test_a_node_of_ipv6_is_found_again():
    nodes = (ONE, Address("2001:db8::1", 6379))
    position = Position.parse(follow(b"0", b"0", b"17", nodes=nodes), nodes)
    assert (position.address, position.cursor) == (nodes[1], b"17")


def test_the_successor_of_a_node_that_vanished_is_walked_from_its_beginning():
    cursor = follow(b"0", b"0", b"17")
    position = Position.parse(cursor, (ONE, FOUR, THREE))
    assert (position.address, position.cursor) == (FOUR, b"0")


def test_a_walk_goes_on_where_the_last_node_vanished():
    cursor = follow(b"0", b"0", b"0", b"17")
    assert walk(lambda _: (ONE, FOUR), cursor)[-1] == FOUR


def test_a_walk_ends_where_the_last_node_vanished_and_all_others_were_walked():
    cursor = follow(b"0", b"0", b"0", b"17")
    assert Position.parse(cursor, (ONE, TWO)) is None


@pytest.mark.parametrize("after", [(THREE, ONE, TWO), (TWO, ONE, THREE), (THREE, TWO, ONE)])
def test_a_slot_on_the_move_has_no_primary_left_out(after):
    """The order of primaries is that of their first slots."""
    for asked_before in (1, 2):
        asked = walk(lambda asked, since=asked_before: NODES if asked < since else after)
        assert set(asked) == set(NODES)


def test_a_primary_that_joins_is_walked():
    for after in ((FOUR, *NODES), (*NODES, FOUR)):
        assert FOUR in walk(lambda asked, after=after: after if asked else NODES)


def test_a_primary_that_vanishes_between_two_steps_leaves_out_none_of_the_others():
    for vanished in NODES:
        left = tuple(node for node in NODES if node != vanished)
        for since in (1, 2):
            asked = walk(lambda asked, left=left, since=since: left if asked >= since else NODES)
            assert set(asked) >= set(left)
