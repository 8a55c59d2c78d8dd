"""Stored values: what goes in comes out, and nothing else does."""

from __future__ import annotations

import hashlib
import hmac
import pprint
import tracemalloc
import zlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from django_elasticache_sessions.codec import CodecPolicy, SessionCodec, stamp_of
from django_elasticache_sessions.exceptions import (
    InvalidValue,
    SessionStoreUnavailable,
    UnknownFormat,
)
from django_elasticache_sessions.keyring import KeyRing, decode_key, derive
from django_elasticache_sessions.keys import Naming, is_session_key
from django_elasticache_sessions.stamps import LAST

SID, STAMP = "A" * 22, 106_250_000_000_000
LATER_HEADERS = range(0x14, 0x20)
OLD, NEW = b"old secret", b"new secret"
# A header's flipped bit may make it one of a later release's.
REFUSED = pytest.raises((InvalidValue, UnknownFormat))
SURROGATES_TOO = st.characters(exclude_categories=())


def codec(*secrets: bytes, sid: str = SID, **options) -> SessionCodec:
    policy = {"encrypt": True, "compress_above_bytes": 100, "inflate_limit_bytes": 100_000}
    ring = KeyRing.from_secrets(secrets or (NEW,))
    return SessionCodec(CodecPolicy(ring, **(policy | options)), sid)


def expand(secret: bytes, purpose: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) of one block, written out."""
    extracted = hmac.digest(b"django-elasticache-sessions", secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


@settings(deadline=None)
@given(data=st.binary(max_size=400), name=st.text(max_size=5), encrypt=st.booleans())
def test_what_goes_in_comes_out(data, name, encrypt):
    one = codec(encrypt=encrypt)
    assert one.decode(name, one.encode(name, data, STAMP)) == data


@settings(deadline=None)
@given(data=st.binary(max_size=200), place=st.integers(0), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(data, place, bit):
    value = bytearray(codec().encode("a", data, STAMP))
    value[place % len(value)] ^= 1 << bit
    with REFUSED:
        codec().decode("a", bytes(value))


@settings(deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(1))
def test_any_truncation_or_extension_is_refused(data, cut):
    value = codec().encode("a", data, STAMP)
    for wrong in (value[: -(cut % len(value)) or None][:-1], value + b"x"):
        with pytest.raises(InvalidValue):
            codec().decode("a", wrong)


@given(st.binary(max_size=80))
def test_no_bytes_at_all_raise_anything_else(value):
    with REFUSED:
        codec().decode("a", value)


@pytest.mark.parametrize(
    "other", [codec(sid="B" * 22), codec(OLD)], ids=["another session", "another key"]
)
def test_a_value_is_bound_to_its_session(other):
    with pytest.raises(InvalidValue):
        other.decode("a", codec().encode("a", b"data", STAMP))


def test_a_value_is_bound_to_its_field():
    with pytest.raises(InvalidValue):
        codec().decode("b", codec().encode("a", b"data", STAMP))


def test_an_older_key_reads_and_the_newest_writes():
    value = codec(OLD).encode("a", b"data", STAMP)
    both = codec(NEW, OLD)
    assert both.decode("a", value) == b"data"
    assert not both.is_current(value)
    assert both.is_current(both.encode("a", b"data", STAMP))


def test_two_encodings_of_one_value_differ():
    assert codec().encode("a", b"data", STAMP) != codec().encode("a", b"data", STAMP)


def test_a_plain_value_is_refused_while_encryption_is_on_and_not_the_other_way_round():
    plain = codec(encrypt=False).encode("a", b"data", STAMP)
    with pytest.raises(InvalidValue, match="not encrypted"):
        codec().decode("a", plain)
    assert codec(encrypt=False).decode("a", codec().encode("a", b"data", STAMP)) == b"data"


def test_compression_saves_and_can_be_switched_off():
    assert len(codec().encode("a", b"x" * 5000, STAMP)) < 200
    assert len(codec(compress_above_bytes=None).encode("a", b"x" * 5000, STAMP)) > 5000


def test_a_decompression_bomb_takes_no_memory():
    bomb = b"\x12" + bytes(6) + zlib.compress(b"0" * 200_000_000, 9)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue, match="inflates"):
            codec(encrypt=False).decode("a", bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_value_of_exactly_the_limit_is_read():
    one = codec(inflate_limit_bytes=5000)
    assert len(one.decode("a", one.encode("a", b"x" * 5000, STAMP))) == 5000
    with pytest.raises(InvalidValue):
        one.decode("a", codec().encode("a", b"x" * 5001, STAMP))


def test_the_stored_format_can_be_read_from_its_description_alone():
    """Pins the format: whoever changes it logs everybody out."""
    value = codec().encode("field", b"data", STAMP)
    assert value[0] == 0x11
    assert value[1:5] == expand(NEW, b"key id")[:4]
    assert value[5:11] == STAMP.to_bytes(6, "big")
    master = expand(NEW, b"encryption")
    key = hmac.digest(master, SID.encode() + b"\x01", "sha256")
    assert AESGCM(key).decrypt(value[5:17], value[17:], value[:1] + b"field") == b"data"


def test_the_name_of_a_session_can_be_found_from_its_description_alone():
    """Pins the names: whoever changes them logs everybody out."""
    index_key = derive(b"secret", "index")
    assert index_key == expand(b"secret", b"index")
    name = Naming("session", 256, (index_key,)).session("a selector, 15. And a validator.")
    digest = hmac.new(index_key, b"a selector, 15.", hashlib.sha256).digest()[:16]
    assert int.from_bytes(digest[:4], "big") % 256 == name.bucket
    assert name.hash_key == f"session:{{{name.bucket}}}:{name.sid}"
    assert name.index_key == f"session:{{{name.bucket}}}:live"
    assert len(name.sid) == 22


@given(st.text(max_size=15), st.text(max_size=15))
def test_different_selectors_have_different_names(one, other):
    naming = Naming("session", 16, (b"k" * 32,))
    assert (naming.session(one) == naming.session(other)) == (one == other)


def test_a_hash_key_leads_back_to_its_name():
    naming = Naming("session", 256, (b"k" * 32,))
    name = naming.session("session-key")
    assert naming.from_hash_key(name.hash_key.encode()) == name
    for foreign in (b"session:{1}:live", b"other:{1}:" + b"A" * 22, b"session:{x}:y", b"\xff"):
        assert naming.from_hash_key(foreign) is None


@pytest.mark.parametrize(
    "value", [None, 7, "", "no-such-session", "x" * 257, "ümlaute-überall" * 2, "a\0bcdefgh" * 4]
)
def test_what_cannot_be_a_session_key(value):
    assert not is_session_key(value)


@pytest.mark.parametrize("text", ["", "c2hvcnQ=", "not base64!", None, 7, b"x" * 44])
def test_a_malformed_key_is_refused_without_being_shown(text):
    with pytest.raises(ValueError, match="expected") as caught:
        decode_key(text)
    assert not text or str(text) not in str(caught.value)


# The bytes a secret, a session, a field and a nonce have always made of a value.
PINNED = {"sid": "AAECAwQFBgcICQoLDA0ODw"}
PINNED_STAMP = 0x001122334455
PINNED_NAME = "boisson é"
PINNED_SECRET = b"a secret that is pinned"
PINNED_SHORT = bytes.fromhex(
    "118149e8f00011223344550001020304061540c8e65cc1e2a484b46daf074d8031fbc67bef80830811f62d67"
)
PINNED_LONG = bytes.fromhex(
    "138149e8f00011223344550001020304064f26e9a970e2de95a553cfed3429aaa4"
    "9470192901238bb6df72fdb1d411a6ffbf"
)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        pytest.param(PINNED_SHORT, b'"green tea"', id="short"),
        pytest.param(PINNED_LONG, b'"' + b"tea" * 100 + b'"', id="compressed"),
    ],
)
def test_a_value_stored_by_the_first_release_is_read(value, data):
    """Pinned: whoever changes the format logs everybody out."""
    assert codec(PINNED_SECRET, **PINNED).decode(PINNED_NAME, value) == data


def test_a_value_is_stored_as_the_first_release_stored_it(monkeypatch):
    """Pinned: a server of the older release beside this one has to read it."""
    monkeypatch.setattr("os.urandom", lambda size: bytes(range(size)))
    value = codec(PINNED_SECRET, **PINNED).encode(PINNED_NAME, b'"green tea"', PINNED_STAMP)
    assert value == PINNED_SHORT


@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("compress_above_bytes", [None, 1, 100])
@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=300) | st.binary(max_size=6).map(lambda part: part * 60))
def test_what_goes_in_comes_out_whatever_the_policy(encrypt, compress_above_bytes, data):
    one = codec(encrypt=encrypt, compress_above_bytes=compress_above_bytes)
    value = one.encode("a", data, STAMP)
    one.check_all([value])
    assert one.decode("a", value) == data
    assert one.is_current(value)


@settings(deadline=None)
@given(st.text(SURROGATES_TOO, max_size=5), st.text(SURROGATES_TOO, max_size=5))
def test_no_other_field_name_opens_a_value(name, other):
    value = codec().encode(name, b"data", STAMP)
    if name == other:
        assert codec().decode(other, value) == b"data"
    else:
        with pytest.raises(InvalidValue):
            codec().decode(other, value)


@settings(deadline=None)
@given(
    sid=st.text("ABab01-_", max_size=22).filter(lambda sid: sid != SID),
    secret=st.binary(min_size=1, max_size=40).filter(lambda secret: secret != NEW),
)
def test_no_other_session_or_ring_opens_a_value(sid, secret):
    value = codec().encode("a", b"data", STAMP)
    for other in (codec(sid=sid), codec(secret)):
        with pytest.raises(InvalidValue):
            other.decode("a", value)


@settings(deadline=None)
@given(
    data=st.lists(st.binary(max_size=200), min_size=2, max_size=2, unique=True),
    head=st.integers(1, 400),
    tail=st.integers(1, 400),
)
def test_parts_of_two_values_make_no_third(data, head, tail):
    one, other = (codec().encode("a", each, STAMP) for each in data)
    spliced = one[:head] + other[-tail:]
    if spliced not in (one, other):
        with REFUSED:
            codec().decode("a", spliced)


@settings(deadline=None)
@given(data=st.binary(max_size=150), more=st.binary(min_size=1, max_size=50))
def test_a_value_with_anything_around_it_is_refused(data, more):
    value = codec().encode("a", data, STAMP)
    for wrong in (value + more, more + value, value + value):
        with REFUSED:
            codec().decode("a", wrong)


@settings(deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_compressed_value_is_refused(place, bit):
    value = bytearray(codec().encode("a", b"green tea" * 100, STAMP))
    assert value[0] == 0x13
    value[place % len(value)] ^= 1 << bit
    with REFUSED:
        codec().decode("a", bytes(value))


@given(
    header=st.integers(0, 0xFF).filter(lambda header: header not in LATER_HEADERS),
    rest=st.binary(max_size=60),
    encrypt=st.booleans(),
)
def test_a_header_of_no_release_is_refused_as_such(header, rest, encrypt):
    if header not in (0x10, 0x11, 0x12, 0x13):
        with pytest.raises(InvalidValue, match="format is unknown"):
            codec(encrypt=encrypt).decode("a", bytes((header,)) + rest)


@given(header=st.sampled_from(LATER_HEADERS), rest=st.binary(max_size=60), encrypt=st.booleans())
def test_a_header_of_a_later_release_is_no_forgery(header, rest, encrypt):
    """It makes the store unavailable, so that the cookie is kept."""
    one, value = codec(encrypt=encrypt), bytes((header,)) + rest
    with pytest.raises(UnknownFormat, match="later release"):
        one.decode("a", value)
    with pytest.raises(SessionStoreUnavailable):
        one.check_all([one.encode("a", b"data", STAMP), value])
    assert not one.is_current(value)


@settings(deadline=None)
@given(
    stamp=st.integers(0, LAST),
    encrypt=st.booleans(),
    data=st.binary(max_size=50) | st.just(b"tea" * 100),
)
def test_a_value_carries_the_stamp_of_its_write(stamp, encrypt, data):
    value = codec(encrypt=encrypt).encode("a", data, stamp)
    assert stamp_of(value) == stamp


@given(st.binary(max_size=30))
def test_any_bytes_have_a_stamp(value):
    assert 0 <= stamp_of(value) <= LAST
    assert stamp_of(b"") == 0


@settings(deadline=None)
@given(stamp=st.integers(0, LAST), other=st.integers(0, LAST))
def test_the_stamp_of_an_encrypted_value_is_authenticated(stamp, other):
    value = codec().encode("a", b"data", stamp)
    changed = value[:5] + other.to_bytes(6, "big") + value[11:]
    if stamp != other:
        with pytest.raises(InvalidValue):
            codec().decode("a", changed)


@given(header=st.sampled_from([b"", b"\x10", b"\x11", b"\x12", b"\x13"]), rest=st.binary())
def test_without_encryption_no_bytes_raise_anything_but_invalid_value(header, rest):
    value = header + rest
    try:
        data = codec(encrypt=False).decode("a", value)
    except InvalidValue:
        return
    except UnknownFormat:
        assert header == b""
        assert rest[0] in LATER_HEADERS
        return
    assert value[:1] in (b"\x10", b"\x12")
    assert value[:1] == b"\x12" or data == value[7:]


@settings(deadline=None)
@given(st.data())
def test_the_check_of_a_whole_session_refuses_nothing_that_can_be_read(data):
    one = codec(NEW, OLD, encrypt=data.draw(st.booleans()))
    writer = codec(*data.draw(st.permutations([OLD, NEW])), encrypt=data.draw(st.booleans()))
    value = writer.encode("a", data.draw(st.binary(max_size=150)), STAMP)
    value = value[: data.draw(st.integers(0, len(value)))]
    try:
        one.check_all([value])
    except InvalidValue:
        with pytest.raises(InvalidValue):
            one.decode("a", value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(b"", "format", id="nothing"),
        pytest.param(b"\x10data", "not encrypted", id="plain"),
        pytest.param(b"\x12data", "not encrypted", id="plain and compressed"),
        pytest.param(b"\x11" + bytes(31), "truncated", id="shorter than an empty value"),
        pytest.param(b"\x11" + bytes(32), "not in the key ring", id="an unknown key"),
        pytest.param(b"\x13" + bytes(32), "not in the key ring", id="an unknown key, compressed"),
    ],
)
def test_the_check_of_a_whole_session_names_what_is_wrong(value, reason):
    with pytest.raises(InvalidValue, match=reason):
        codec().check_all([codec().encode("a", b"data", STAMP), value])


@pytest.mark.parametrize("value", [b"\x10secret", b"\x11secret", b"\x12secret", b"secret"])
def test_a_refusal_does_not_show_the_value(value):
    with REFUSED as caught:
        codec().decode("a", value)
    assert "secret" not in repr(caught.value)


def test_a_key_taken_from_the_ring_opens_nothing_more():
    value = codec(OLD).encode("a", b"data", STAMP)
    with pytest.raises(InvalidValue, match="not in the key ring"):
        codec(NEW).decode("a", value)


@pytest.mark.parametrize("data", [b"data", b"data" * 100], ids=["short", "compressed"])
def test_what_was_encrypted_is_read_after_encryption_is_switched_off(data):
    assert codec(encrypt=False).decode("a", codec().encode("a", data, STAMP)) == data


@pytest.mark.parametrize(
    ("value", "under_encryption", "without"),
    [
        pytest.param(codec().encode("a", b"data", STAMP), True, False, id="encrypted"),
        pytest.param(codec().encode("a", b"data" * 100, STAMP), True, False, id="compressed"),
        pytest.param(codec(OLD).encode("a", b"data", STAMP), False, False, id="under an older key"),
        pytest.param(b"\x10" + bytes(6) + b"data", False, True, id="plain"),
        pytest.param(
            b"\x12" + bytes(6) + zlib.compress(b"data"), False, True, id="plain and small"
        ),
        pytest.param(b"", False, False, id="nothing"),
        pytest.param(b"\x15data", False, False, id="of a later release"),
    ],
)
def test_a_value_is_current_when_it_would_be_written_like_that_now(
    value, under_encryption, without
):
    assert codec(NEW, OLD).is_current(value) is under_encryption
    assert codec(NEW, OLD, encrypt=False).is_current(value) is without


def test_a_nonce_is_never_used_twice():
    one = codec()
    assert len({one.encode("a", b"data", STAMP)[5:17] for _ in range(2000)}) == 2000


def test_a_save_at_the_end_of_the_random_serials_repeats_no_nonce(monkeypatch):
    monkeypatch.setattr("os.urandom", lambda size: b"\xff" * size)
    one = codec()
    nonces = {one.encode(name, b"data", STAMP)[5:17] for name in ("a", "b", "c")}
    assert len(nonces) == 3
    assert {nonce[:6] for nonce in nonces} == {STAMP.to_bytes(6, "big")}


def test_two_processes_with_one_stamp_share_no_nonce():
    nonces = {codec().encode("a", b"data", STAMP)[5:17] for _ in range(500)}
    assert len(nonces) == 500


@pytest.mark.parametrize("cut", range(7))
def test_a_plain_value_without_a_stamp_is_refused(cut):
    with pytest.raises(InvalidValue, match=r"format|truncated"):
        codec(encrypt=False).decode("a", codec(encrypt=False).encode("a", b"", STAMP)[:cut])


def test_what_does_not_get_smaller_is_not_compressed():
    noise = hashlib.shake_256(b"noise").digest(500)
    assert codec(encrypt=False).encode("a", noise, STAMP) == (
        b"\x10" + STAMP.to_bytes(6, "big") + noise
    )


def test_compression_begins_above_the_threshold():
    one = codec(encrypt=False, compress_above_bytes=100)
    assert [one.encode("a", b"x" * size, STAMP)[0] for size in (100, 101)] == [0x10, 0x12]


def test_a_decompression_bomb_under_a_key_of_the_ring_takes_no_memory():
    value = codec(inflate_limit_bytes=10**9).encode("a", b"0" * 50_000_000, STAMP)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidValue, match="inflates"):
            codec().decode("a", value)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("show", [repr, str, pprint.pformat])
def test_no_rendering_of_a_codec_shows_a_key(show):
    policy = CodecPolicy(KeyRing.from_secrets([PINNED_SECRET]), True, 100, 1000)
    shown = show(policy) + show(SessionCodec(policy, SID))
    assert "secret" not in shown
    assert repr(policy.ring.newest.master)[2:-1] not in shown
