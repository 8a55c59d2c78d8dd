"""Which node of a cluster is sent what, and what is sent once more; the replies are scripted."""

from __future__ import annotations

from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from django_elasticache_sessions import scripts
from django_elasticache_sessions.drivers.cluster.routing import route
from django_elasticache_sessions.drivers.cluster.state import Cluster
from django_elasticache_sessions.drivers.cluster.topology import CLUSTER_SLOTS, Address, Topology
from django_elasticache_sessions.drivers.replies import ErrorReply
from django_elasticache_sessions.exceptions import PartUnavailable, SessionStoreUnavailable
from django_elasticache_sessions.health import Health
from django_elasticache_sessions.operations import INFO, ORIGIN

SEED = Address("entry.example.com", 6379)
FIRST, SECOND, THIRD = (Address(f"10.0.0.{n}", 7000) for n in (1, 2, 3))
NODES = (FIRST, SECOND, THIRD)
BORDERS = [(0, 5460), (5461, 10922), (10923, 16383)]
DOWN = SessionStoreUnavailable("The session store did not serve: it did not answer in time.")


def slots_of(*nodes: Address) -> list[object]:
    """Return what a node says of thirds of the slots, each at one of these nodes."""
    return [
        [first, last, [node.host.encode(), node.port, b"id"]]
        for (first, last), node in zip(BORDERS, nodes, strict=True)
    ]


@pytest.fixture
def cluster() -> Cluster:
    """Three primaries, known from before."""
    known = Cluster([SEED], Health("sessions"))
    known.take(Topology.parse(slots_of(*NODES), asked=SEED))
    return known


def key_at(node: Address, number: int = 0) -> str:
    """Return a key, the n-th, whose slot lies at a node by `BORDERS`."""
    first, last = BORDERS[NODES.index(node)]
    keys = (f"key-{n}" for n in count())
    fitting = (key for key in keys if first <= key_slot(key.encode()) <= last)
    return next(islice(fitting, number, None))


def run(cluster: Cluster, commands, reply, sent=None):
    """Have commands answered by `reply(node, commands)`; return what was sent, and the replies."""
    sent = [] if sent is None else sent
    routing = route(cluster, tuple(commands))
    try:
        step = next(routing)
        while True:
            sent.append(step)
            is_pause = isinstance(step, float)
            answers = {} if is_pause else {node: reply(node, asked) for node, asked in step.items()}
            step = routing.send(None if is_pause else answers)
    except StopIteration as stop:
        return sent, stop.value


def echo(node, commands):
    """Answer each command with the node and the command."""
    return [f"{node} {command}" for command in commands]


def moved(key: str, to: Address, word: str = "MOVED") -> ErrorReply:
    return ErrorReply(f"{word} {key_slot(key.encode())} {to}")


@given(st.permutations([("GET", key_at(node, n)) for node in NODES for n in range(3)]))
def test_each_goes_to_the_primary_of_its_slot_and_replies_keep_their_order(commands):
    known = Cluster([SEED], Health("sessions"))
    known.take(Topology.parse(slots_of(*NODES), asked=SEED))
    [step], replies = run(known, commands, echo)
    owners = {key_at(node, n): node for node in NODES for n in range(3)}
    assert replies == [f"{owners[command[1]]} {command}" for command in commands]
    assert set(step) == set(NODES)


def test_the_topology_is_asked_for_first_where_none_is_known():
    unknown = Cluster([SEED], Health("sessions"))

    def reply(node, commands):
        return [slots_of(*NODES)] if commands == (CLUSTER_SLOTS,) else echo(node, commands)

    sent, replies = run(unknown, [("GET", key_at(THIRD))], reply)
    assert sent[0] == {SEED: (CLUSTER_SLOTS,)}
    assert replies[0].startswith(str(THIRD))


def test_where_nobody_tells_the_topology_nothing_is_served():
    with pytest.raises(SessionStoreUnavailable):
        run(Cluster([SEED], Health("sessions")), [("GET", "a")], lambda node, commands: DOWN)


def test_a_command_without_a_key_goes_where_the_one_before_it_goes(cluster):
    commands = [("GET", key_at(SECOND)), ("TIME",), ("GET", key_at(FIRST)), ORIGIN]
    [step], _ = run(cluster, commands, echo)
    assert step[SECOND] == (commands[0], ("TIME",))
    assert step[FIRST] == (commands[2], ORIGIN)


def test_info_alone_goes_to_every_primary(cluster):
    _, [replies] = run(cluster, [INFO], echo)
    assert [reply.split()[0] for reply in replies] == [str(node) for node in NODES]


def test_a_slot_that_has_moved_is_followed_and_remembered(cluster):
    key = key_at(FIRST)

    def reply(node, commands):
        if commands == (CLUSTER_SLOTS,):
            return [slots_of(*NODES)]
        return [moved(key, SECOND)] if node == FIRST else echo(node, commands)

    _, [first] = run(cluster, [("GET", key)], reply)
    assert first.startswith(str(SECOND))


def test_a_slot_on_its_way_is_asked_for_once_and_not_remembered(cluster):
    key = key_at(FIRST)

    def reply(node, commands):
        if node == FIRST:
            return [moved(key, SECOND, "ASK")]
        assert commands == (("ASKING",), ("GET", key))
        return [b"OK", "there"]

    sent, replies = run(cluster, [("GET", key)], reply)
    assert replies == ["there"]
    assert len(sent) == 2
    assert cluster.owner(key_slot(key.encode())) == FIRST


def test_only_what_was_refused_is_sent_again(cluster):
    kept, gone = (f"{{{key_at(FIRST)}}}:{name}" for name in ("kept", "gone"))

    def reply(node, commands):
        return [
            moved(gone, SECOND, "ASK") if node == FIRST and command[1:] == (gone,) else b"x"
            for command in commands
        ]

    sent, _ = run(cluster, [("GET", kept), ("GET", gone)], reply)
    assert sent == [
        {FIRST: (("GET", kept), ("GET", gone))},
        {SECOND: (("ASKING",), ("GET", gone))},
    ]


def test_a_node_that_lacks_a_script_is_sent_its_source(cluster):
    command = (b"EVALSHA", scripts.PRUNE.sha, 1, key_at(THIRD), 10)

    def reply(node, commands):
        if commands[0][0] == b"EVALSHA":
            return [ErrorReply("NOSCRIPT No matching script.")]
        return [commands[0][1]]

    sent, replies = run(cluster, [command], reply)
    assert replies == [scripts.PRUNE.source]
    assert len(sent) == 2


def test_what_is_to_be_tried_again_is_given_up_after_a_while(cluster):
    busy = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")

    def reply(node, commands):
        return [slots_of(*NODES)] if commands == (CLUSTER_SLOTS,) else [busy]

    sent: list[object] = []
    with pytest.raises(PartUnavailable):
        run(cluster, [("GET", key_at(FIRST))], reply, sent)
    assert 0.2 < sum(step for step in sent if isinstance(step, float)) < 1.5


def test_endless_redirections_come_to_an_end(cluster):
    key = key_at(FIRST)

    def reply(node, commands):
        if commands == (CLUSTER_SLOTS,):
            return [slots_of(*NODES)]
        return [moved(key, SECOND if node == FIRST else FIRST)]

    with pytest.raises(PartUnavailable):
        run(cluster, [("GET", key)], reply)


def test_a_node_that_is_lost_is_replaced_by_its_successor(cluster):
    key = key_at(FIRST)

    def reply(node, commands):
        if node == FIRST:
            return DOWN
        if commands == (CLUSTER_SLOTS,):
            return [slots_of(SECOND, SECOND, THIRD)]
        return echo(node, commands)

    _, [found] = run(cluster, [("GET", key)], reply)
    assert found.startswith(str(SECOND))


def test_what_others_serve_is_done_before_a_lost_node_is_told(cluster):
    served = []

    def reply(node, commands):
        if node == FIRST:
            return DOWN
        if commands == (CLUSTER_SLOTS,):
            return [slots_of(*NODES)]
        served.append(commands)
        return echo(node, commands)

    with pytest.raises(PartUnavailable, match="did not answer in time"):
        run(cluster, [("GET", key_at(FIRST)), ("GET", key_at(SECOND))], reply)
    assert served == [(("GET", key_at(SECOND)),)]


def test_a_lost_node_is_left_alone_for_a_while(cluster):
    def reply(node, commands):
        return [slots_of(*NODES)] if commands == (CLUSTER_SLOTS,) else DOWN

    commands = [("GET", key_at(FIRST))]
    for _ in range(5):
        with pytest.raises(PartUnavailable):
            run(cluster, commands, reply)
    asked = []

    def note(node, commands):
        asked.append(node)
        return reply(node, commands)

    with pytest.raises(PartUnavailable):
        run(cluster, commands, note)
    assert FIRST not in asked


def test_a_slot_that_nobody_serves_is_unavailable_and_others_are_not(cluster):
    cluster.take(Topology.parse(slots_of(*NODES)[1:], asked=SEED))
    with pytest.raises(PartUnavailable, match="no node of its cluster serves"):
        run(cluster, [("GET", key_at(FIRST))], echo)
    assert run(cluster, [("GET", key_at(THIRD))], echo)[1]
