"""Names in the store: keyed hashes that lead nobody back, all of a bucket's in one cluster slot."""

from __future__ import annotations

import base64
import hmac
import pprint
import random
import string
from collections import Counter

import pytest
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from django_elasticache_sessions.keys import Naming, is_session_key, new_session_key

INDEX_KEY, OLDER_KEY = b"i" * 32, b"o" * 32
NAMING = Naming("session", 256, (INDEX_KEY, OLDER_KEY))
URL_SAFE = set(string.ascii_letters + string.digits + "-_")
BINARY_SIZE = 16
session_keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)
texts = st.text(st.characters(exclude_categories=()), max_size=40)


def first_128_bits(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")[:BINARY_SIZE]


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(texts)
def test_a_sid_is_22_characters_that_need_no_escape_anywhere(session_key):
    sid = NAMING.session(session_key).sid
    assert len(sid) == 22
    assert set(sid) <= URL_SAFE


@given(texts)
def test_a_sid_is_the_first_128_bits_of_a_keyed_hash(session_key):
    name = NAMING.session(session_key)
    digest = first_128_bits(INDEX_KEY, session_key)
    assert name.sid == unpadded(digest)
    assert name.bucket == int.from_bytes(digest[:4], "big") % 256


@given(session_keys)
def test_no_name_shows_the_session_key(session_key):
    name = NAMING.session(session_key)
    assert session_key not in repr(name) + name.index_key


@pytest.mark.parametrize(
    ("session_key", "sid", "bucket"),
    [
        ("0123456789abcdefghijklmnopqrstuv", "0V_f1FnZ06OnaUflal6NAw", 212),
        ("zzzzzzzz", "OLYPdUZgqoFMQHpg6yrPiA", 117),
    ],
)
def test_these_sessions_have_the_names_they_always_had(session_key, sid, bucket):
    """Pinned: whoever changes the names logs everybody out."""
    index_key = bytes.fromhex("905126e30492bb8cb540bee1521f27e51c56d343e1e41d8517aed0f024257c33")
    name = Naming("session", 256, (index_key,)).session(session_key)
    assert (name.sid, name.bucket) == (sid, bucket)
    assert name.hash_key == f"session:{{{bucket}}}:{sid}"
    assert name.index_key == f"session:{{{bucket}}}:live"


def test_this_user_has_the_tag_he_always_had():
    """Pinned: whoever changes the tags loses every user's list of sessions."""
    index_key = bytes.fromhex("905126e30492bb8cb540bee1521f27e51c56d343e1e41d8517aed0f024257c33")
    naming = Naming("session", 256, (index_key,))
    assert naming.user("42") == "AmPKQIauTWMapjwKQRyMpA"
    assert naming.user_index("AmPKQIauTWMapjwKQRyMpA") == "session:user:AmPKQIauTWMapjwKQRyMpA"


@given(st.lists(session_keys, unique=True, max_size=5), st.lists(texts, unique=True, max_size=5))
def test_no_two_things_share_a_key_of_the_store(session_keys, user_ids):
    hashes = [NAMING.session(key).hash_key for key in session_keys]
    users = [NAMING.user_index(NAMING.user(user_id)) for user_id in user_ids]
    indexes = list(NAMING.live_indexes())
    assert len({*hashes, *users, *indexes}) == len(hashes) + len(users) + len(indexes)


@given(session_keys)
def test_projects_with_different_prefixes_share_no_key(session_key):
    one, other = Naming("a", 1, (INDEX_KEY,)), Naming("b", 1, (INDEX_KEY,))
    assert one.session(session_key).hash_key != other.session(session_key).hash_key
    assert {*one.live_indexes()}.isdisjoint(other.live_indexes())
    assert one.user_index("tag") != other.user_index("tag")


@given(session_keys, st.sampled_from(["session", "shop:live", "x"]), st.integers(1, 4096))
def test_a_session_and_its_live_index_lie_in_one_cluster_slot(session_key, prefix, buckets):
    name = Naming(prefix, buckets, (INDEX_KEY,)).session(session_key)
    assert name.hash_key.startswith(f"{prefix}:{{{name.bucket}}}:")
    assert key_slot(name.hash_key.encode()) == key_slot(name.index_key.encode())


@given(session_keys, st.integers(1, 300))
def test_every_session_is_in_one_of_the_live_indexes(session_key, buckets):
    naming = Naming("session", buckets, (INDEX_KEY,))
    indexes = list(naming.live_indexes())
    assert naming.session(session_key).index_key in indexes
    assert len(indexes) == buckets


def test_sessions_spread_over_the_buckets():
    naming = Naming("session", 16, (INDEX_KEY,))
    buckets = [naming.session(f"session-{n}").bucket for n in range(1600)]
    assert all(50 < buckets.count(bucket) < 150 for bucket in range(16))


@given(session_keys, st.sampled_from([INDEX_KEY, OLDER_KEY]))
def test_an_index_key_names_a_session_whatever_its_place_in_the_list(session_key, index_key):
    alone = Naming("session", 256, (index_key,))
    assert NAMING.session(session_key, index_key=index_key) == alone.session(session_key)


@given(session_keys)
def test_a_session_is_looked_for_under_the_newest_key_first(session_key):
    newest, older = NAMING.session_everywhere(session_key)
    assert newest == NAMING.session(session_key)
    assert older == NAMING.session(session_key, index_key=OLDER_KEY)
    assert newest.sid != older.sid


@given(texts, texts)
def test_different_users_have_different_tags(one, other):
    assert (NAMING.user(one) == NAMING.user(other)) == (one == other)


@given(st.integers(10_000).map(str))
def test_a_tag_does_not_show_the_users_id(user_id):
    assert user_id not in NAMING.user(user_id)
    assert set(NAMING.user(user_id)) <= URL_SAFE


@pytest.mark.parametrize("user_id", ["1042", "00000000-0000-0000-0000-000000000001"])
def test_no_cookie_leads_to_a_users_tag(user_id):
    cookies = [user_id, f"user:{user_id}"]
    assert NAMING.user(user_id) not in [NAMING.session(cookie).sid for cookie in cookies]


@pytest.mark.parametrize("bucket", [0, 17, 4095])
def test_a_neighbour_is_a_session_key_of_the_wanted_bucket(bucket):
    naming = Naming("session", 4096, (INDEX_KEY,))
    made = naming.neighbour(bucket)
    assert made.name == naming.session(made.session_key)
    assert made.name.bucket == bucket
    assert is_session_key(made.session_key)
    assert set(made.session_key) <= set(VALID_KEY_CHARS)


def test_neighbours_of_one_session_have_nothing_in_common():
    keys = [NAMING.neighbour(7).session_key for _ in range(60)]
    assert len(keys[0]) == 32
    # 60 draws out of 36: fewer than 15 different ones has a chance of about 10**-15.
    assert all(len({key[place] for key in keys}) > 15 for place in range(28))


@pytest.mark.parametrize("make", [new_session_key, lambda: NAMING.neighbour(7).session_key])
def test_who_seeds_the_random_module_does_not_repeat_session_keys(make):
    state = random.getstate()
    made = set()
    for _ in range(3):
        random.seed(1)
        made.add(make())
    random.setstate(state)
    assert len(made) == 3


def test_each_character_of_new_session_keys_is_as_likely_as_the_others():
    text = "".join(new_session_key() for _ in range(16_000))
    expected = len(text) / len(VALID_KEY_CHARS)
    counts = Counter(text)
    assert counts.keys() == set(VALID_KEY_CHARS)
    # Ten standard deviations. Taking bytes modulo 36 without dropping any would be fourteen off.
    assert max(abs(count - expected) for count in counts.values()) < 10 * expected**0.5


def test_a_new_session_key_is_one_that_django_could_have_made():
    key = new_session_key()
    assert len(key) == 32
    assert set(key) <= set(VALID_KEY_CHARS)
    assert is_session_key(key)


@given(texts | st.binary() | st.none() | st.integers())
def test_what_passes_for_a_session_key_is_short_printable_ascii(value):
    if is_session_key(value):
        assert 8 <= len(value) <= 256
        assert set(value) <= {chr(code) for code in range(32, 127)}


@pytest.mark.parametrize(("length", "passes"), [(7, False), (8, True), (256, True), (257, False)])
def test_a_session_key_has_8_to_256_characters(length, passes):
    assert is_session_key("x" * length) is passes


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t", "\x7f", "\x80", "é", "\ud800"])
def test_a_session_key_with_a_character_that_cookies_cannot_have_does_not_pass(character):
    assert not is_session_key("x" * 20 + character)


@given(st.binary(max_size=60))
def test_no_foreign_key_of_the_store_breaks_the_search_for_sessions(hash_key):
    name = NAMING.from_hash_key(hash_key)
    assert name is None or name.hash_key.encode() == hash_key


@given(session_keys, st.sampled_from(["session", "a:b", "x.y+z"]))
def test_a_session_found_by_its_hash_has_the_same_name(session_key, prefix):
    naming = Naming(prefix, 4096, (INDEX_KEY,))
    name = naming.session(session_key)
    assert naming.from_hash_key(name.hash_key.encode()) == name
    assert NAMING.from_hash_key(("other" + name.hash_key).encode()) is None


@pytest.mark.parametrize("show", [repr, str, lambda value: pprint.pformat(value, width=1)])
def test_no_rendering_of_names_shows_a_secret(show):
    made = NAMING.neighbour(7)
    shown = show(made)
    assert made.name.sid in shown
    assert made.session_key not in shown
    for index_key in NAMING.index_keys:
        assert index_key.decode() not in show(NAMING)
