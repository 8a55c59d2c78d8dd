"""Slots: the same as those that the servers reckon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from django_elasticache_sessions.doctor import permissions
from django_elasticache_sessions.drivers.cluster.slots import SLOTS, slot_of
from django_elasticache_sessions.operations import CLOCK, INFO, ORIGIN
from django_elasticache_sessions.scripts import CREATE

WORDS = st.one_of(st.binary(max_size=40), st.text(max_size=40))
BRACED = st.lists(st.sampled_from("{}ab:")).map("".join)
#: "123456789" has the checksum 0x31C3: https://valkey.io/topics/cluster-spec/
CHECKED, CHECKSUM = "123456789", 0x31C3


def encoded(key):
    return key if isinstance(key, bytes) else key.encode()


def test_a_slot_is_that_of_the_specification():
    assert slot_of(("GET", CHECKED)) == CHECKSUM


@given(WORDS | BRACED)
def test_the_key_comes_first(key):
    assert slot_of(("HGETALL", key)) == key_slot(encoded(key))


@given(WORDS | BRACED, st.lists(WORDS))
def test_the_key_of_a_script_comes_after_their_number(key, others):
    for name, script in ((b"EVALSHA", CREATE.sha), (b"EVAL", CREATE.source)):
        command = (name, script, 1 + len(others), key, *others, "argument")
        assert slot_of(command) == key_slot(encoded(key))


@given(WORDS | BRACED)
def test_the_key_of_an_object_comes_after_what_is_asked_of_it(key):
    assert slot_of(("OBJECT", "ENCODING", key)) == key_slot(encoded(key))


@given(WORDS | BRACED)
def test_every_slot_exists(key):
    assert 0 <= slot_of(("GET", key)) < SLOTS


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="{}"), min_size=1), st.text(), st.text()
)
def test_a_hash_tag_decides_alone(tag, one, other):
    before = one.replace("{", "")
    assert slot_of(("GET", f"{before}{{{tag}}}{other}")) == slot_of(("GET", tag))


@pytest.mark.parametrize("key", ["{}123", "{123", "123}", "}123{"])
def test_an_empty_or_open_hash_tag_is_none(key):
    assert slot_of(("GET", key)) == key_slot(key.encode()) != slot_of(("GET", "123"))


def test_the_first_hash_tag_counts():
    assert slot_of(("GET", "{one}{two}")) == slot_of(("GET", "one"))


def test_a_key_is_the_same_as_text_and_as_bytes():
    assert slot_of(("GET", "clé")) == slot_of(("GET", "clé".encode()))


@pytest.mark.parametrize(
    "command",
    [
        *(INFO, ORIGIN, CLOCK, ("SCAN", b"0"), ("PING",), ("CLUSTER", "SLOTS"), ("ACL", "WHOAMI")),
        *permissions.BEYOND,
    ],
)
def test_what_any_node_answers_has_no_slot(command):
    assert slot_of(command) is None
