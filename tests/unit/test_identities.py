"""What a process makes of the ids that servers tell."""

from __future__ import annotations

import pytest

from django_elasticache_sessions import identities
from django_elasticache_sessions.identities import UNTOLD, Identities, Probed

INFO = "role:master\r\nmaster_replid:{0}{0}{0}{0}{0}\r\nmaster_replid2:{1}{1}{1}{1}{1}\r\n"


def info(origin: bytes, before: bytes = b"0" * 8) -> bytes:
    return INFO.format(origin.decode(), before.decode()).encode()


A, B, C, D = b"aaaaaaaa", b"bbbbbbbb", b"cccccccc", b"dddddddd"


def probed(*rounds: list[bytes]) -> Probed:
    """What comes of ids as a script and a command are told them, twice in each round."""
    probing = identities.probe("key")
    next(probing)
    for script, command, script_too, command_too in rounds:
        replies = [script, info(command), script_too, info(command_too, D)]
        try:
            probing.send(replies)
        except StopIteration as stop:
            found: Probed = stop.value
            return found
    raise AssertionError


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([[A, A, A, A]], Probed(A, is_seen_by_scripts=True)),
        # A failover in between.
        ([[A, A, B, B], [B, B, B, B]], Probed(B, is_seen_by_scripts=True)),
        ([[A, B, A, B], [A, B, A, B]], Probed(B, is_seen_by_scripts=False)),
        ([[A, B, A, C], [A, B, A, C]], Probed(b"", is_seen_by_scripts=False)),
        ([[A, B, A, B], [A, C, A, C]], Probed(b"", is_seen_by_scripts=False)),
        # Scripts may not ask.
        ([[b"", A, b"", A], [b"", A, b"", A]], Probed(A, is_seen_by_scripts=False)),
    ],
)
def test_a_server_tells_if_all_see_the_same_id(rounds, expected):
    assert probed(*rounds) == expected


def test_the_nodes_of_a_large_cluster_are_no_server_whose_id_changes():
    known = Identities()
    for number in range(20):
        origin = b"%08x" % number
        known.learn(number, origin, Probed(origin, is_seen_by_scripts=True))
    assert known.known_as(b"%08x" % 7) == b"%08x" % 7


def test_ids_that_are_new_again_and_again_in_one_place_are_one_that_changes():
    known = Identities()
    for number in range(20):
        origin = b"%08x" % number
        known.learn(3, origin, Probed(origin, is_seen_by_scripts=True))
    assert known.known_as(b"%08x" % 7) == UNTOLD
    assert not known.is_new(b"eeeeeeee")


def test_many_who_meet_a_server_at_once_are_told_one_id():
    known = Identities()
    for _ in range(20):
        known.learn(0, A, Probed(A, is_seen_by_scripts=True))
    assert known.known_as(A) == A
    assert known.known_as(B) == B
