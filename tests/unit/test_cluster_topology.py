"""What a cluster says of itself, and what of that is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions.drivers.cluster.slots import SLOTS
from django_elasticache_sessions.drivers.cluster.topology import Address, Redirection, Topology

ASKED = Address("asked.example", 6379)
ONE, TWO = Address("10.0.0.1", 6379), Address("10.0.0.2", 6380)
LAST = SLOTS - 1
PARTS = st.recursive(
    st.none() | st.integers() | st.binary(max_size=8), lambda part: st.lists(part, max_size=5)
)


def node(address, *more):
    return [address.host.encode(), address.port, b"f" * 40, *more]


def parse(*ranges):
    return Topology.parse(list(ranges), asked=ASKED)


def owner(host, *more):
    """Return who owns a slot that a node at this host is said to serve, beside another."""
    told = parse([0, 0, [host, 6379, b"f" * 40, *more]], [1, LAST, node(TWO)])
    return told.owners[0]


def test_each_slot_of_a_range_has_its_owner():
    told = parse([0, 5460, node(ONE)], [5461, LAST, node(TWO)])
    assert told.owners == [ONE] * 5461 + [TWO] * (SLOTS - 5461)
    assert told.primaries == (ONE, TWO)


def test_an_owner_of_several_ranges_is_one_primary():
    told = parse([0, 9, node(ONE)], [10, 19, node(TWO)], [20, LAST, node(ONE)])
    assert told.primaries == (ONE, TWO)


def test_primaries_are_in_the_order_of_their_slots_however_they_are_told():
    told = parse([100, LAST, node(ONE)], [0, 99, node(TWO)])
    assert told.primaries == (TWO, ONE)


def test_slots_that_are_not_told_have_no_owner():
    told = parse([10, 20, node(ONE)])
    assert told.owners[9] is None
    assert told.owners[10] == told.owners[20] == ONE
    assert told.owners[21] is None


def test_replicas_own_nothing():
    told = parse([0, LAST, node(ONE), node(TWO)])
    assert told.primaries == (ONE,)
    assert told.replicas == {TWO}


@pytest.mark.parametrize("host", [b"", None])
def test_a_node_without_a_host_is_where_it_was_asked(host):
    assert owner(host) == ASKED


def test_a_node_of_unknown_host_serves_nobody():
    assert owner(b"?") is None


def test_that_an_owner_has_no_host_is_known():
    told = parse([0, 9, node(ONE)], [10, LAST, [b"?", 6379]])
    assert told.has_unnamed
    assert not parse([0, LAST, node(ONE), [b"?", 6379]]).has_unnamed


def test_a_replica_of_unknown_host_is_left_out():
    told = parse([0, LAST, node(ONE), [b"?", 6379]])
    assert told.replicas == frozenset()
    assert told.primaries == (ONE,)


def test_a_node_is_reached_by_its_ipv6_address():
    assert owner(b"2001:db8::1") == Address("2001:db8::1", 6379)


def test_a_node_is_reached_by_its_host_name():
    assert owner(b"shard.example") == Address("shard.example", 6379)


def test_other_names_of_a_node_change_nothing():
    assert owner(b"10.0.0.1", [b"hostname", b"shard.example"]) == ONE


def test_a_node_told_in_short_is_read():
    told = parse([0, LAST, [b"10.0.0.1", 6379]])
    assert told.primaries == (ONE,)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"OK",
        7,
        [],
        [None],
        [[0, LAST]],
        [[0, LAST, []]],
        [[0, LAST, None]],
        [[0, LAST, [b"\xff\xfe", 6379]]],
        [[0, LAST, [b"10.0.0.1", None]]],
        [[0, LAST, [7, 6379]]],
        [[0, LAST, [b"?", 6379]]],
        [[b"0", b"9", [b"10.0.0.1", 6379]]],
        [[0, SLOTS, node(ONE)]],
        [[SLOTS, SLOTS, node(ONE)]],
        [[0, 10**30, node(ONE)]],
        [[9, 0, node(ONE)]],
        [[-SLOTS, -1, node(ONE)]],
    ],
)
def test_what_names_no_primary_is_not_believed(reply):
    assert Topology.parse(reply, asked=ASKED) is None


@given(PARTS)
def test_anything_else_does_no_harm(reply):
    told = Topology.parse(reply, asked=ASKED)
    assert told is None or len(told.owners) == SLOTS


@given(st.lists(st.tuples(st.integers(), st.integers())))
def test_ranges_out_of_bounds_do_no_harm(ranges):
    told = parse(*([first, last, node(ONE)] for first, last in ranges))
    assert told is None or len(told.owners) == SLOTS


@given(st.sets(st.integers(1, LAST), max_size=8), st.data())
def test_every_slot_is_its_ranges(cuts, data):
    starts = [0, *sorted(cuts)]
    ends = [*(start - 1 for start in starts[1:]), LAST]
    owners = [data.draw(st.sampled_from([ONE, TWO])) for _ in starts]
    told = parse(*([*of, node(by)] for *of, by in zip(starts, ends, owners, strict=True)))
    for first, last, by in zip(starts, ends, owners, strict=True):
        assert set(told.owners[first : last + 1]) == {by}


def test_a_moved_slot_is_elsewhere_for_good():
    told = Redirection.parse("MOVED 3999 10.0.0.2:6380", asked=ASKED)
    assert told == Redirection(3999, TWO, True)


def test_a_slot_on_its_way_is_elsewhere_for_once():
    told = Redirection.parse("ASK 3999 10.0.0.2:6380", asked=ASKED)
    assert told == Redirection(3999, TWO, False)


@pytest.mark.parametrize(
    ("place", "address"),
    [
        (":6380", Address("asked.example", 6380)),
        ("2001:db8::1:6380", Address("2001:db8::1", 6380)),
        ("shard.example:6380", Address("shard.example", 6380)),
    ],
)
def test_a_redirection_is_read_as_nodes_write_it(place, address):
    assert Redirection.parse(f"MOVED 1 {place}", asked=ASKED).address == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ERR no such thing",
        "MOVED",
        "MOVED 1",
        "MOVED one 10.0.0.2:6380",
        "MOVED -1 10.0.0.2:6380",
        "MOVED 16384 10.0.0.2:6380",
        "MOVED 1 ?:6380",
        "MOVED 1 10.0.0.2",
        "ASK 1 10.0.0.2:port",
        "ASKED 1 10.0.0.2:6380",
    ],
)
def test_another_error_redirects_nobody(text):
    assert Redirection.parse(text, asked=ASKED) is None
