"""Routing without a cluster: who is asked what, and what is made of the answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions.drivers.cluster import routing, state
from django_elasticache_sessions.drivers.cluster.slots import SLOTS, slot_of
from django_elasticache_sessions.drivers.cluster.state import Cluster
from django_elasticache_sessions.drivers.cluster.topology import (
    CLUSTER_SLOTS,
    Address,
    Topology,
)
from django_elasticache_sessions.drivers.replies import ErrorReply
from django_elasticache_sessions.exceptions import (
    ForeignType,
    InvalidValue,
    PartUnavailable,
    SessionStoreUnavailable,
)
from django_elasticache_sessions.health import Health
from django_elasticache_sessions.operations import CLOCK, INFO, ORIGIN, Dispensable
from django_elasticache_sessions.scripts import SAVE

SEED = Address("seed.example", 6379)
ONE, TWO, THREE, FOUR = (Address(f"10.0.0.{number}", 6379) for number in range(1, 5))
#: Where the slots of ONE, TWO and THREE begin, and end.
BOUNDS = (0, 5461, 10923, SLOTS)
#: Keys of ONE, of another slot of ONE, of TWO, and of THREE.
A, OTHER_A, B, C = (
    next(f"{{{tag}}}" for tag in range(1000) if first <= slot_of(("GET", f"{{{tag}}}")) < last)
    for first, last in ((0, 2730), (2730, 5461), (5461, 10923), (10923, SLOTS))
)
ASKING = ("ASKING",)
GONE = SessionStoreUnavailable("The session store did not serve: gone.")
DOWN = ErrorReply("CLUSTERDOWN Hash slot not served")
SHARED = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")
UNKNOWN = ErrorReply("NOSCRIPT No matching script.")


def ranges(*owners, bounds=BOUNDS):
    """Return a reply to CLUSTER SLOTS."""
    return [
        [first, last - 1, [owner.host.encode(), owner.port]]
        for first, last, owner in zip(bounds, bounds[1:], owners, strict=False)
        if owner
    ]


def moved(key, address):
    return ErrorReply(f"MOVED {slot_of(('GET', key))} {address}")


def ask(key, address):
    return ErrorReply(f"ASK {slot_of(('GET', key))} {address}")


class Nodes:
    """A cluster that answers by script: by node, or node and command, the last reply for ever."""

    def __init__(self, script=None, *, told=()):
        self.script = {key: list(replies) for key, replies in (script or {}).items()}
        #: Replies to CLUSTER SLOTS, the last for ever.
        self.told = list(told)
        self.rounds = []
        self.pauses = []

    def run(self, cluster, *commands):
        """Have commands answered; keep what was sent, and the seconds waited."""
        steps = routing.route(cluster, commands)
        try:
            step = next(steps)
            while True:
                step = steps.send(self._do(step))
        except StopIteration as stop:
            return stop.value

    @property
    def refreshes(self):
        return sum(CLUSTER_SLOTS in commands for sent in self.rounds for commands in sent.values())

    @property
    def sent(self):
        """Every round but those that ask for the topology."""
        return [sent for sent in self.rounds if (CLUSTER_SLOTS,) not in sent.values()]

    def _do(self, step):
        if isinstance(step, float):
            self.pauses.append(step)
            return None
        self.rounds.append(step)
        return {address: self._answer(address, commands) for address, commands in step.items()}

    def _answer(self, address, commands):
        replies = [self._reply(address, command) for command in commands]
        return next((reply for reply in replies if is_no_reply(reply)), replies)

    def _reply(self, address, command):
        if command == ASKING:
            return b"OK"
        of_node = self.script.get(address)
        if command == CLUSTER_SLOTS:
            # Told by every node that is there.
            of_node = of_node if of_node and is_no_reply(of_node[0]) else self.told
        scripted = self.script.get((address, command)) or of_node
        if scripted:
            return scripted.pop(0) if len(scripted) > 1 else scripted[0]
        return (address, command)


def is_no_reply(reply):
    return isinstance(reply, Exception) and not isinstance(reply, (ErrorReply, ForeignType))


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that the test moves on, in seconds."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


def make_cluster(*owners, seeds=(SEED,)):
    cluster = Cluster(seeds, Health("sessions"))
    if owners:
        cluster.take(Topology.parse(ranges(*owners), asked=SEED))
    return cluster


@pytest.fixture
def cluster():
    return make_cluster(ONE, TWO, THREE)


def get(key):
    return ("GET", key)


def script(key):
    return (b"EVALSHA", SAVE.sha, 1, key, "argument")


def with_source(key):
    return (b"EVAL", SAVE.source, 1, key, "argument")


class TestWhoIsAsked:
    def test_each_command_goes_to_the_primary_of_its_slot(self, cluster):
        nodes = Nodes()
        nodes.run(cluster, get(A), get(B), get(C))
        assert nodes.rounds == [{ONE: (get(A),), TWO: (get(B),), THREE: (get(C),)}]

    def test_what_goes_to_one_primary_goes_together(self, cluster):
        nodes = Nodes()
        nodes.run(cluster, get(A), get(B), get(OTHER_A))
        assert nodes.rounds == [{ONE: (get(A), get(OTHER_A)), TWO: (get(B),)}]

    def test_a_script_goes_where_its_key_lies(self, cluster):
        nodes = Nodes()
        nodes.run(cluster, script(B))
        assert nodes.rounds == [{TWO: (script(B),)}]

    def test_without_a_key_a_command_goes_where_the_one_before_it_goes(self, cluster):
        nodes = Nodes()
        nodes.run(cluster, get(B), ("TIME",), get(A))
        assert nodes.rounds == [{TWO: (get(B), ("TIME",)), ONE: (get(A),)}]

    def test_at_the_beginning_it_goes_where_the_one_after_it_goes(self, cluster):
        nodes = Nodes()
        nodes.run(cluster, ("TIME",), get(C), get(A))
        assert nodes.rounds == [{THREE: (("TIME",), get(C)), ONE: (get(A),)}]

    def test_alone_it_goes_to_a_primary_that_serves(self, cluster):
        cluster.failed(ONE)
        cluster.failed(THREE)
        nodes = Nodes()
        for _ in range(20):
            nodes.run(cluster, ("TIME",))
        assert nodes.rounds == [{TWO: (("TIME",),)}] * 20

    def test_where_it_was_answered_is_asked_once_per_node_after_all_else(self, cluster):
        nodes = Nodes()
        replies = nodes.run(cluster, get(A), ORIGIN, get(B), ORIGIN, get(OTHER_A), ORIGIN)
        assert nodes.rounds == [{ONE: (get(A), get(OTHER_A), ORIGIN), TWO: (get(B), ORIGIN)}]
        assert [replies[place] for place in (1, 3, 5)] == [
            (ONE, ORIGIN),
            (TWO, ORIGIN),
            (ONE, ORIGIN),
        ]

    @pytest.mark.parametrize("asked", [INFO, CLOCK])
    def test_figures_are_those_of_every_primary(self, cluster, asked):
        nodes = Nodes()
        assert nodes.run(cluster, asked) == [[(ONE, asked), (TWO, asked), (THREE, asked)]]
        assert len(nodes.rounds) == 1

    def test_figures_of_some_are_not_those_of_all(self, cluster):
        with pytest.raises(PartUnavailable):
            Nodes({TWO: [GONE]}, told=[ranges(ONE, TWO, THREE)]).run(cluster, INFO)


class TestOrder:
    @given(st.lists(st.sampled_from([get(A), get(B), get(C), get(OTHER_A), ("TIME",), script(B)])))
    def test_replies_come_back_in_the_order_of_the_commands(self, commands):
        commands = [get(A), *commands]
        replies = Nodes().run(make_cluster(ONE, TWO, THREE), *commands)
        assert [command for _, command in replies] == commands

    @given(
        st.lists(st.sampled_from([A, B, C, OTHER_A]), min_size=1),
        st.dictionaries(
            st.sampled_from([A, B, C, OTHER_A]), st.sampled_from(["MOVED", "ASK", "TRYAGAIN"])
        ),
        st.booleans(),
    )
    def test_so_they_do_where_some_are_sent_again(self, keys, errors, is_origin_asked):
        cluster = make_cluster(ONE, TWO, THREE)
        answers = {
            (cluster.owner(slot_of(get(key))), get(key)): [
                ErrorReply(f"{code} {slot_of(get(key))} {FOUR}"),
                (None, get(key)),
            ]
            for key, code in errors.items()
        }
        commands = [get(key) for key in keys]
        asked = [*commands, ORIGIN] if is_origin_asked else commands
        replies = Nodes(answers, told=[ranges(ONE, TWO, THREE)]).run(cluster, *asked)
        assert [command for _, command in replies] == asked

    def test_a_key_of_another_type_is_a_reply_like_others(self, cluster):
        wrong = ErrorReply("WRONGTYPE Operation against a key")
        first, second = Nodes({(ONE, get(A)): [wrong]}).run(cluster, get(A), get(B))
        assert isinstance(first, ForeignType)
        assert second == (TWO, get(B))

    def test_an_error_is_told_without_the_servers_words(self, cluster):
        with pytest.raises(PartUnavailable, match="out of memory") as caught:
            Nodes({ONE: [ErrorReply("OOM command not allowed: secret")]}).run(cluster, get(A))
        assert "secret" not in str(caught.value)


class TestMoved:
    def test_a_moved_slot_is_asked_for_where_it_is(self, cluster):
        nodes = Nodes({ONE: [moved(A, FOUR)]}, told=[ranges(FOUR, TWO, THREE)])
        assert nodes.run(cluster, get(A)) == [(FOUR, get(A))]
        assert nodes.refreshes == 1

    def test_it_is_asked_for_there_from_then_on(self, cluster):
        nodes = Nodes({ONE: [moved(A, FOUR)]}, told=[ranges(FOUR, TWO, THREE)])
        nodes.run(cluster, get(A))
        nodes.run(cluster, get(A))
        assert nodes.sent == [{ONE: (get(A),)}, {FOUR: (get(A),)}, {FOUR: (get(A),)}]

    def test_only_what_was_not_answered_is_sent_again(self, cluster):
        nodes = Nodes({(ONE, get(A)): [moved(A, TWO)]}, told=[ranges(ONE, TWO, THREE)])
        cluster.claims_refresh()
        replies = nodes.run(cluster, get(OTHER_A), get(A), get(C))
        assert nodes.sent[1:] == [{TWO: (get(A),)}]
        assert [command for _, command in replies] == [get(OTHER_A), get(A), get(C)]

    def test_many_moved_slots_ask_for_the_topology_once(self, cluster):
        nodes = Nodes(
            {ONE: [moved(A, FOUR), moved(OTHER_A, FOUR)], (TWO, get(B)): [moved(B, THREE)]},
            told=[ranges(FOUR, THREE, THREE)],
        )
        replies = nodes.run(cluster, get(A), get(OTHER_A), get(B))
        assert replies == [(FOUR, get(A)), (FOUR, get(OTHER_A)), (THREE, get(B))]
        assert nodes.refreshes == 1
        assert len(nodes.sent) == 2

    def test_the_topology_is_not_asked_for_twice_in_a_moment(self, cluster, clock):
        nodes = Nodes({ONE: [moved(A, FOUR)]}, told=[ranges(ONE, TWO, THREE)])
        cluster.claims_refresh()
        assert nodes.run(cluster, get(A)) == [(FOUR, get(A))]
        assert nodes.refreshes == 0
        clock.now += 2 * state.REFRESH_SECONDS
        cluster.take(Topology.parse(ranges(ONE, TWO, THREE), asked=SEED))
        nodes.run(cluster, get(A))
        assert nodes.refreshes == 1

    def test_a_node_that_knows_less_is_believed_once_only(self, cluster):
        nodes = Nodes({ONE: [moved(A, FOUR)]}, told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, get(A)) == [(FOUR, get(A))]
        assert nodes.refreshes == 1

    def test_a_redirection_without_a_host_is_to_the_node_that_was_asked(self, cluster):
        nodes = Nodes({ONE: [ErrorReply(f"MOVED {slot_of(get(A))} :7000")]})
        cluster.claims_refresh()
        assert nodes.run(cluster, get(A)) == [(Address(ONE.host, 7000), get(A))]

    @pytest.mark.parametrize("code", ["MOVED", "ASK"])
    def test_a_redirection_to_an_unknown_host_is_told_with_what_mends_it(self, cluster, code):
        answer = ErrorReply(f"{code} {slot_of(get(A))} ?:6379")
        nodes = Nodes({ONE: [answer]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable, match="Set cluster-announce-hostname") as caught:
            nodes.run(cluster, get(A))
        assert "CLUSTER" not in str(caught.value)

    def test_nodes_that_send_each_other_the_same_end_sometime(self, cluster):
        nodes = Nodes({ONE: [moved(A, TWO)], TWO: [moved(A, ONE)]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable, match="do not agree on who has a slot"):
            nodes.run(cluster, get(A))
        assert len(nodes.sent) < 20

    def test_where_it_was_answered_is_asked_again_with_it(self, cluster):
        nodes = Nodes({(ONE, get(A)): [moved(A, FOUR)]}, told=[ranges(FOUR, TWO, THREE)])
        assert nodes.run(cluster, get(A), ORIGIN) == [(FOUR, get(A)), (FOUR, ORIGIN)]


class TestDispensable:
    """What is sent along, and keeps nothing back."""

    COUNT = Dispensable(script(B))

    def test_it_is_answered_like_others(self, cluster):
        replies = Nodes().run(cluster, self.COUNT, get(A), get(B))
        assert replies == [(TWO, self.COUNT), (ONE, get(A)), (TWO, get(B))]

    @pytest.mark.parametrize("failure", [GONE, DOWN, ErrorReply("OOM command not allowed")])
    def test_without_it_the_others_are_answered(self, cluster, failure):
        nodes = Nodes({TWO: [failure]}, told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, self.COUNT, get(A)) == [None, (ONE, get(A))]

    def test_of_a_slot_that_nobody_serves_too(self):
        nodes = Nodes(told=[ranges(ONE, None, THREE)])
        replies = nodes.run(make_cluster(ONE, None, THREE), self.COUNT, get(A))
        assert replies == [None, (ONE, get(A))]

    def test_what_it_shares_its_node_with_is_still_missing(self, cluster):
        nodes = Nodes({TWO: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, self.COUNT, get(B))

    def test_that_it_was_answered_is_known_where_others_were_not(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable) as caught:
            nodes.run(cluster, self.COUNT, get(A))
        assert caught.value.replies == [(TWO, self.COUNT), None]

    def test_no_node_that_failed_is_tried_for_it(self, cluster, clock):
        cluster.failed(TWO)
        clock.now += 60
        nodes = Nodes(told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, self.COUNT, get(A)) == [None, (ONE, get(A))]
        assert nodes.sent == [{ONE: (get(A),)}]

    def test_a_command_without_a_key_does_not_go_with_it(self, cluster):
        nodes = Nodes({TWO: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        replies = nodes.run(cluster, self.COUNT, ("TIME",), get(A))
        assert replies == [None, (ONE, ("TIME",)), (ONE, get(A))]


class TestAsk:
    def test_a_key_on_its_way_is_asked_for_on_the_same_connection(self, cluster):
        nodes = Nodes({ONE: [ask(A, TWO)]})
        assert nodes.run(cluster, get(A)) == [(TWO, get(A))]
        assert nodes.rounds == [{ONE: (get(A),)}, {TWO: (ASKING, get(A))}]

    def test_each_command_with_a_key_is_allowed_for_itself(self, cluster):
        nodes = Nodes({(ONE, get(A)): [ask(A, TWO)], (ONE, ("TTL", A)): [ask(A, TWO)]})
        replies = nodes.run(cluster, get(A), ("TTL", A), ("TIME",), ORIGIN)
        assert nodes.rounds[1] == {
            TWO: (ASKING, get(A), ASKING, ("TTL", A), ("TIME",), ORIGIN),
        }
        assert replies == [(TWO, get(A)), (TWO, ("TTL", A)), (TWO, ("TIME",)), (TWO, ORIGIN)]

    def test_the_slot_stays_where_it_is(self, cluster):
        nodes = Nodes({ONE: [ask(A, TWO), b"x"]})
        nodes.run(cluster, get(A))
        nodes.run(cluster, get(A))
        assert nodes.rounds[-1] == {ONE: (get(A),)}
        assert nodes.refreshes == 0

    def test_what_the_node_asked_has_for_itself_goes_along(self, cluster):
        nodes = Nodes({(ONE, get(A)): [ask(A, TWO)]})
        replies = nodes.run(cluster, get(A), get(B), get(OTHER_A))
        assert replies == [(TWO, get(A)), (TWO, get(B)), (ONE, get(OTHER_A))]

    def test_a_script_unknown_there_is_sent_with_its_source(self, cluster):
        nodes = Nodes({(ONE, script(A)): [ask(A, TWO)], (ONE, with_source(A)): [ask(A, TWO)]})
        nodes.script[(TWO, script(A))] = [UNKNOWN]
        assert nodes.run(cluster, script(A)) == [(TWO, with_source(A))]
        assert nodes.rounds[-1] == {TWO: (ASKING, with_source(A))}

    def test_a_node_gone_meanwhile_leaves_the_key_to_the_owner(self, cluster):
        nodes = Nodes({(ONE, get(A)): [ask(A, FOUR), b"x"], FOUR: [GONE]})
        nodes.told = [ranges(ONE, TWO, THREE)]
        assert nodes.run(cluster, get(A)) == [b"x"]


class TestWaiting:
    def test_keys_on_their_way_are_waited_for(self, cluster):
        nodes = Nodes({ONE: [SHARED, SHARED, b"x"]})
        assert nodes.run(cluster, script(A)) == [b"x"]
        assert len(nodes.pauses) == 2

    def test_they_are_not_waited_for_long(self, cluster):
        nodes = Nodes({ONE: [SHARED]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable, match="slots are being moved"):
            nodes.run(cluster, script(A))
        assert sum(nodes.pauses) < 1.5
        assert len(nodes.sent) <= routing._MOST_HOPS

    def test_each_wait_for_them_is_longer(self, cluster):
        nodes = Nodes({ONE: [*[SHARED] * 6, b"x"]})
        assert nodes.run(cluster, script(A)) == [b"x"]
        assert nodes.pauses[0] < nodes.pauses[2] < nodes.pauses[4] < 0.5

    def test_others_are_not_asked_again_meanwhile(self, cluster):
        nodes = Nodes({ONE: [SHARED, b"x"]})
        assert nodes.run(cluster, script(A), get(B)) == [b"x", (TWO, get(B))]
        assert nodes.rounds[1] == {ONE: (script(A),)}

    def test_a_cluster_that_was_down_for_a_moment_is_asked_again(self, cluster):
        nodes = Nodes({ONE: [DOWN, b"x"]}, told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, get(A)) == [b"x"]
        assert nodes.refreshes == 1
        assert len(nodes.pauses) == 1

    def test_a_cluster_that_stays_down_is_not_asked_for_long(self, cluster):
        nodes = Nodes({ONE: [DOWN]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable, match="cluster is down"):
            nodes.run(cluster, get(A))
        assert nodes.refreshes == 1
        assert len(nodes.sent) == 2


class TestFailures:
    def test_a_node_that_failed_is_asked_for_its_successor_once(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(FOUR, TWO, THREE)])
        assert nodes.run(cluster, get(A), get(OTHER_A)) == [(FOUR, get(A)), (FOUR, get(OTHER_A))]
        assert nodes.refreshes == 1

    def test_without_a_successor_it_is_not_asked_again(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, get(A))
        assert nodes.sent == [{ONE: (get(A),)}]

    def test_it_is_left_alone_for_a_while(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        for _ in range(3):
            with pytest.raises(PartUnavailable):
                nodes.run(cluster, get(A))
        assert nodes.sent == [{ONE: (get(A),)}]
        assert nodes.refreshes == 1

    def test_the_others_are_asked_meanwhile(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, get(A))
        assert nodes.run(cluster, get(B)) == [(TWO, get(B))]

    def test_it_is_asked_again_after_a_while(self, cluster, clock):
        nodes = Nodes({ONE: [GONE, b"x"]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, get(A))
        clock.now += 10
        assert [nodes.run(cluster, get(A)) for _ in range(3)] == [[b"x"]] * 3

    def test_what_others_serve_is_answered_before_it_is_told(self, cluster):
        nodes = Nodes({ONE: [GONE], (TWO, get(B)): [moved(B, THREE)], THREE: [SHARED, b"x"]})
        nodes.told = [ranges(ONE, THREE, THREE)]
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, get(A), get(B), get(C))
        asked = [
            command for sent in nodes.sent for commands in sent.values() for command in commands
        ]
        assert asked.count(get(B)) == 2
        assert asked.count(get(C)) == 2

    def test_a_value_too_large_is_no_failure_of_its_node(self, cluster):
        nodes = Nodes({ONE: [InvalidValue("too large"), b"x"]})
        with pytest.raises(InvalidValue):
            nodes.run(cluster, get(A))
        assert nodes.run(cluster, get(A)) == [b"x"]
        assert nodes.refreshes == 0

    def test_slots_that_nobody_serves_are_told(self, clock):
        cluster = make_cluster(ONE, None, THREE)
        nodes = Nodes(told=[ranges(ONE, None, THREE)])
        with pytest.raises(PartUnavailable, match="serves some of the slots"):
            nodes.run(cluster, get(A), get(B))
        assert nodes.sent == [{ONE: (get(A),)}]

    def test_they_are_asked_for_once_somebody_serves_them(self):
        cluster = make_cluster(ONE, None, THREE)
        nodes = Nodes(told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, get(B)) == [(TWO, get(B))]

    def test_no_command_is_without_reply_where_node_after_node_fails(self, cluster, clock):
        owners = [Address(f"10.0.1.{number}", 6379) for number in range(2 * routing._MOST_HOPS)]
        cluster.take(Topology.parse(ranges(owners[0], TWO, THREE), asked=SEED))
        nodes = Nodes(
            {(owner, get(A)): [GONE] for owner in owners},
            told=[ranges(owner, TWO, THREE) for owner in owners[1:]],
        )
        answer = nodes._do

        def late(step):
            clock.now += 1
            return answer(step)

        nodes._do = late
        with pytest.raises(PartUnavailable):
            nodes.run(cluster, get(A))
        assert len(nodes.sent) == routing._MOST_HOPS


class TestScripts:
    def test_an_unknown_script_is_sent_with_its_source_to_that_node_only(self, cluster):
        nodes = Nodes({(ONE, script(A)): [UNKNOWN]})
        assert nodes.run(cluster, script(A), script(B)) == [
            (ONE, with_source(A)),
            (TWO, script(B)),
        ]
        assert nodes.rounds[1] == {ONE: (with_source(A),)}

    def test_what_was_answered_beside_it_is_not_sent_again(self, cluster):
        nodes = Nodes({(ONE, script(A)): [UNKNOWN]})
        replies = nodes.run(cluster, get(A), script(A), ("TTL", A))
        assert nodes.rounds[1] == {ONE: (with_source(A),)}
        assert replies == [(ONE, get(A)), (ONE, with_source(A)), (ONE, ("TTL", A))]


class TestScan:
    def scan(self, nodes, cluster, cursor=b"0"):
        [[cursor, keys]] = nodes.run(cluster, ("SCAN", cursor, "COUNT", 10))
        return cursor, keys

    def scan_all(self, nodes, cluster):
        cursor, found = self.scan(nodes, cluster)
        while cursor != b"0":
            cursor, keys = self.scan(nodes, cluster, cursor)
            found += keys
            assert len(nodes.rounds) < 20
        return found

    def test_every_primary_is_scanned_to_its_end(self, cluster):
        nodes = Nodes(
            {
                ONE: [[b"7", [b"a"]], [b"0", [b"b"]]],
                TWO: [[b"0", []]],
                THREE: [[b"9", [b"c"]], [b"0", [b"d"]]],
            }
        )
        assert self.scan_all(nodes, cluster) == [b"a", b"b", b"c", b"d"]
        assert nodes.rounds == [
            {address: (("SCAN", cursor, "COUNT", 10),)}
            for address, cursor in [
                (ONE, b"0"),
                (ONE, b"7"),
                (TWO, b"0"),
                (THREE, b"0"),
                (THREE, b"9"),
            ]
        ]

    def test_the_successor_of_a_primary_that_vanished_is_scanned(self, cluster):
        nodes = Nodes({ONE: [[b"7", [b"a"]]]})
        cursor, _ = self.scan(nodes, cluster)
        cluster.take(Topology.parse(ranges(FOUR, TWO, THREE), asked=SEED))
        nodes.script[FOUR] = [[b"0", [b"a", b"b"]]]
        assert self.scan(nodes, cluster, cursor)[1] == [b"a", b"b"]
        assert nodes.rounds[-1] == {FOUR: (("SCAN", b"0", "COUNT", 10),)}

    def test_it_ends_where_the_last_primary_vanished(self, cluster):
        cluster.take(Topology.parse(ranges(ONE, TWO, TWO), asked=SEED))
        nodes = Nodes({ONE: [[b"0", []]], TWO: [[b"7", []]]})
        cursor, _ = self.scan(nodes, cluster)
        cursor, _ = self.scan(nodes, cluster, cursor)
        cluster.take(Topology.parse(ranges(ONE, ONE, ONE), asked=SEED))
        assert self.scan(nodes, cluster, cursor) == (b"0", [])

    def test_a_primary_that_does_not_serve_is_not_passed_over(self, cluster):
        nodes = Nodes({ONE: [GONE]}, told=[ranges(ONE, TWO, THREE)])
        with pytest.raises(PartUnavailable):
            self.scan(nodes, cluster)


class TestTopology:
    def test_it_is_asked_for_before_all_else(self):
        nodes = Nodes(told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(make_cluster(), get(B)) == [(TWO, get(B))]
        assert nodes.rounds == [{SEED: (CLUSTER_SLOTS,)}, {TWO: (get(B),)}]

    @pytest.mark.parametrize("answer", [GONE, DOWN, [], b"garbage"])
    def test_the_next_is_asked_where_one_does_not_tell(self, answer):
        cluster = make_cluster(seeds=(SEED, FOUR))
        nodes = Nodes({(SEED, CLUSTER_SLOTS): [answer]}, told=[ranges(ONE, TWO, THREE)])
        assert nodes.run(cluster, get(A)) == [(ONE, get(A))]
        assert nodes.refreshes == 2

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (GONE, "gone"),
            ([], "names no primary"),
            (ErrorReply("ERR This instance has cluster support disabled"), "not in cluster mode"),
        ],
    )
    def test_where_nobody_tells_the_reason_is_told(self, answer, reason):
        with pytest.raises(SessionStoreUnavailable, match=reason) as caught:
            Nodes(told=[answer]).run(make_cluster(), get(A))
        assert not isinstance(caught.value, PartUnavailable)

    def test_seeds_that_failed_are_left_alone_for_a_while(self):
        cluster, nodes = make_cluster(), Nodes(told=[GONE])
        for _ in range(3):
            with pytest.raises(SessionStoreUnavailable):
                nodes.run(cluster, get(A))
        assert nodes.refreshes == 1

    def test_nodes_that_serve_are_asked_before_seeds(self, cluster):
        cluster.failed(ONE)
        sources = list(cluster.sources())
        assert set(sources[:-1]) == {TWO, THREE}
        assert sources[-1] == SEED

    def test_a_few_nodes_are_asked_only(self):
        many = [Address("10.0.2.1", port) for port in range(1, 30)]
        cluster = make_cluster(seeds=(SEED, *many))
        assert len(list(cluster.sources())) < 5

    def test_a_topology_told_once_more_closes_no_connection(self, cluster):
        before = cluster.generation
        cluster.take(Topology.parse(ranges(ONE, TWO, THREE), asked=SEED))
        assert cluster.generation == before

    def test_one_of_many_callers_asks_for_it(self, cluster, clock):
        assert [cluster.claims_refresh() for _ in range(3)] == [True, False, False]
        clock.now += 2 * state.REFRESH_SECONDS
        assert cluster.claims_refresh()
