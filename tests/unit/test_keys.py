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

from django_elasticache_sessions.keys import (
    KEY_CHARACTERS,
    SELECTOR_LENGTH,
    SESSION_KEY_LENGTH,
    SESSION_KEY_MIN_LENGTH,
    Naming,
    conceal,
    is_session_key,
    is_sid,
    new_session_key,
    rotated,
    stamp_of_key,
)
from django_elasticache_sessions.stamps import LAST

INDEX_KEY, OLDER_KEY = b"i" * 32, b"o" * 32
NAMING = Naming("session", 256, (INDEX_KEY, OLDER_KEY))
URL_SAFE = set(string.ascii_letters + string.digits + "-_")
BINARY_SIZE = 16
session_keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=30, max_size=40)
stamps, times = st.integers(0, LAST), st.integers(0, 2**62)
#: Microseconds since the epoch, and a stamp of the same time.
CREATED, STAMP = 1_700_000_000_000_000, 106_250_000_000_000
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
def test_a_sid_is_the_first_128_bits_of_a_keyed_hash_of_the_selector(session_key):
    name = NAMING.session(session_key)
    digest = first_128_bits(INDEX_KEY, session_key[:15])
    assert name.sid == unpadded(digest)
    assert name.bucket == int.from_bytes(digest[:4], "big") % 256


@given(session_keys)
def test_no_name_shows_the_session_key(session_key):
    name = NAMING.session(session_key)
    assert session_key not in repr(name) + name.index_key


@pytest.mark.parametrize(
    ("session_key", "sid", "bucket"),
    [
        ("0123456789abcdefghijklmnopqrstuvwxyz0123", "sFJr_Xg8yFQJRQDDnNhscw", 253),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "28sBPiFd7NtE8EtNH7ZkcQ", 62),
    ],
)
def test_these_sessions_have_the_names_they_always_had(session_key, sid, bucket):
    """Pinned: whoever changes the names logs everybody out."""
    index_key = bytes.fromhex("905126e30492bb8cb540bee1521f27e51c56d343e1e41d8517aed0f024257c33")
    name = Naming("session", 256, (index_key,)).session(session_key)
    assert (name.sid, name.bucket) == (sid, bucket)
    assert name.hash_key == f"session:{{{bucket}}}:{sid}"
    assert name.index_key == f"session:{{{bucket}}}:live"


def test_this_session_key_is_stored_as_it_always_was():
    """Pinned: whoever changes what is stored of session keys logs everybody out."""
    index_key = bytes.fromhex("905126e30492bb8cb540bee1521f27e51c56d343e1e41d8517aed0f024257c33")
    naming = Naming("session", 256, (index_key,))
    session_key = "0123456789abcdefghijklmnopqrstuvwxyz0123"
    assert naming.key(session_key, CREATED, STAMP) == "YKJBgeQAwB8c90IKoYilXUNVKsSZPg"


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


@given(session_keys)
def test_no_session_key_of_this_package_can_be_taken_for_a_sid(session_key):
    assert not is_sid(session_key)
    assert is_sid(NAMING.session(session_key).sid)


def test_session_keys_are_concealed_in_texts():
    session_key = new_session_key()
    assert conceal(f"GET /?key={session_key} HTTP/1.1") == "GET /?key=******** HTTP/1.1"


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


@given(session_keys, times, stamps)
def test_a_stored_key_is_a_stamp_and_128_bits_of_a_keyed_hash(session_key, created, stamp):
    key = NAMING.key(session_key, created, stamp)
    digest = first_128_bits(INDEX_KEY, f"\0key:{created} {session_key}")
    assert key == unpadded(stamp.to_bytes(6, "big") + digest)
    assert len(key) == KEY_CHARACTERS
    assert stamp_of_key(key) == stamp


@given(session_keys, times, stamps)
def test_a_session_key_is_admitted_by_what_is_stored_of_it(session_key, created, stamp):
    assert NAMING.admits(NAMING.key(session_key, created, stamp), created, session_key)


@given(session_keys, times, stamps)
def test_a_session_key_is_admitted_after_the_index_keys_were_rotated(session_key, created, stamp):
    key = Naming("session", 256, (OLDER_KEY,)).key(session_key, created, stamp)
    assert NAMING.admits(key, created, session_key)
    assert not Naming("session", 256, (INDEX_KEY,)).admits(key, created, session_key)


@given(st.lists(session_keys, min_size=2, max_size=2, unique=True), times, stamps)
def test_no_other_session_key_is_admitted(session_keys, created, stamp):
    key = NAMING.key(session_keys[0], created, stamp)
    assert not NAMING.admits(key, created, session_keys[1])


@given(session_keys, st.lists(times, min_size=2, max_size=2, unique=True), stamps)
def test_a_session_key_is_admitted_with_its_own_creation_time_alone(session_key, created, stamp):
    """Whoever can write to the store cannot make a session younger."""
    key = NAMING.key(session_key, created[0], stamp)
    assert not NAMING.admits(key, created[1], session_key)


@given(session_keys, times, stamps, st.integers(0, KEY_CHARACTERS - 1), st.sampled_from("AQgw_"))
def test_a_stored_key_that_was_changed_admits_nobody(session_key, created, stamp, place, character):
    key = NAMING.key(session_key, created, stamp)
    changed = key[:place] + character + key[place + 1 :]
    # The stamp is no secret, and authenticates nobody.
    is_same = changed[8:] == key[8:]
    assert NAMING.admits(changed, created, session_key) == is_same


@pytest.mark.parametrize("user_id", ["1042", "key:0 1042"])
def test_no_users_tag_is_what_is_stored_of_a_session_key(user_id):
    session_key = "0123456789abcdefghijklmnopqrstuvwxyz0123"
    key = NAMING.key(session_key, CREATED, STAMP)
    assert NAMING.user(user_id) not in key
    assert NAMING.session(session_key).sid not in key


@given(session_keys)
def test_a_rotation_changes_the_session_key_and_not_whose_it_is(session_key):
    new = rotated(session_key)
    assert new != session_key
    assert new[:SELECTOR_LENGTH] == session_key[:SELECTOR_LENGTH]
    assert is_session_key(new)
    assert NAMING.session_everywhere(new) == NAMING.session_everywhere(session_key)


def test_the_validators_of_one_session_have_nothing_in_common():
    keys = [rotated(new_session_key()) for _ in range(60)]
    assert {len(key) for key in keys} == {SESSION_KEY_LENGTH}
    # 60 draws out of 36: fewer than 15 different ones has a chance of about 10**-15.
    assert all(len({key[place] for key in keys}) > 15 for place in range(SESSION_KEY_LENGTH))


@given(st.lists(session_keys, min_size=2, max_size=2, unique_by=lambda key: key[:SELECTOR_LENGTH]))
def test_sessions_with_other_selectors_have_other_names(session_keys):
    one, other = session_keys
    assert NAMING.session(one).sid != NAMING.session(other).sid


@pytest.mark.parametrize("make", [new_session_key, lambda: rotated("x" * 40)])
def test_who_seeds_the_random_module_does_not_repeat_session_keys(make):
    state = random.getstate()
    made = set()
    for _ in range(3):
        random.seed(1)
        made.add(make())
    random.setstate(state)
    assert len(made) == 3


def test_each_character_of_new_session_keys_is_as_likely_as_the_others():
    text = "".join(new_session_key() for _ in range(12_800))
    expected = len(text) / len(VALID_KEY_CHARS)
    counts = Counter(text)
    assert counts.keys() == set(VALID_KEY_CHARS)
    # Ten standard deviations. Taking bytes modulo 36 without dropping any would be fourteen off.
    assert max(abs(count - expected) for count in counts.values()) < 10 * expected**0.5


def test_a_new_session_key_is_one_that_django_could_have_made():
    key = new_session_key()
    assert len(key) == 40
    assert set(key) <= set(VALID_KEY_CHARS)
    assert is_session_key(key)


@given(texts | st.binary() | st.none() | st.integers())
def test_what_passes_for_a_session_key_is_short_printable_ascii(value):
    if is_session_key(value):
        assert SESSION_KEY_MIN_LENGTH <= len(value) <= 256
        assert set(value) <= {chr(code) for code in range(32, 127)}


@pytest.mark.parametrize(("length", "passes"), [(29, False), (30, True), (256, True), (257, False)])
def test_a_session_key_has_30_to_256_characters(length, passes):
    assert is_session_key("x" * length) is passes


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t", "\x7f", "\x80", "é", "\ud800"])
def test_a_session_key_with_a_character_that_cookies_cannot_have_does_not_pass(character):
    assert not is_session_key("x" * 40 + character)


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
    session_key = new_session_key()
    name = NAMING.session(session_key)
    shown = show(name)
    assert name.sid in shown
    assert session_key[:SELECTOR_LENGTH] not in shown
    for index_key in NAMING.index_keys:
        assert index_key.decode() not in show(NAMING)
