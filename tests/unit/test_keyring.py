"""Secrets: one purpose a key, the newest first, and none of them on show."""

from __future__ import annotations

import base64
import hmac
import pprint

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions.keyring import EncryptionKey, KeyRing, decode_key, derive

PINNED_SECRET = b"a secret that is pinned"
NONCE = bytes(12)
secrets_of_any_length = st.binary(min_size=1, max_size=80)
secrets_of_32_bytes = st.binary(min_size=32, max_size=32)


def hkdf(secret: bytes, purpose: bytes) -> bytes:
    """RFC 5869 for one block of SHA-256."""
    extracted = hmac.digest(b"django-elasticache-sessions", secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


@given(secrets_of_any_length, st.sampled_from(["index", "key id", "encryption"]))
def test_a_derived_key_is_hkdf_sha256(secret, purpose):
    assert derive(secret, purpose) == hkdf(secret, purpose.encode())


@pytest.mark.parametrize(
    ("purpose", "derived"),
    [
        ("index", "905126e30492bb8cb540bee1521f27e51c56d343e1e41d8517aed0f024257c33"),
        ("key id", "8149e8f0718ad45198789eddc0de773b8dba4d1ce21c9e9a74cf430961ee79f2"),
        ("encryption", "63144507611e7168f3d84ff90c8828785439d18ea8256e939deb759b2a3666c0"),
    ],
)
def test_this_secret_gives_the_keys_it_always_gave(purpose, derived):
    """Pinned: whoever changes the derivations logs everybody out."""
    assert derive(PINNED_SECRET, purpose).hex() == derived


def test_this_secret_has_the_key_id_it_always_had():
    """Pinned: whoever changes the ids makes every stored value unreadable."""
    assert EncryptionKey.from_secret(PINNED_SECRET).id.hex() == "8149e8f0"


def test_a_sessions_cipher_is_the_one_it_always_was():
    """Pinned: whoever changes the cipher makes every stored value unreadable."""
    cipher = EncryptionKey.from_secret(PINNED_SECRET).for_session("AAECAwQFBgcICQoLDA0ODw")
    assert cipher.encrypt(NONCE, b"tea", b"place").hex() == "cb9334c8901e9acc83d174ceb724aeb5b22202"


@given(secrets_of_any_length)
def test_a_key_id_gives_nothing_of_the_key_away(secret):
    key = EncryptionKey.from_secret(secret)
    assert len(key.id) == 4
    assert not key.master.startswith(key.id)
    assert key.id not in derive(secret, "index")


@pytest.mark.parametrize("sid", ["B" * 22, "A" * 21 + "Q", "A" * 21, ""])
def test_no_two_sessions_share_a_cipher(sid):
    key = EncryptionKey.from_secret(PINNED_SECRET)
    sealed = key.for_session("A" * 22).encrypt(NONCE, b"tea", b"")
    with pytest.raises(InvalidTag):
        key.for_session(sid).decrypt(NONCE, sealed, b"")


@given(st.lists(secrets_of_32_bytes, min_size=1, max_size=4, unique=True))
def test_the_first_secret_is_the_newest_and_all_are_known(secrets):
    ring = KeyRing.from_secrets(secrets)
    assert ring.newest == EncryptionKey.from_secret(secrets[0])
    assert list(ring.by_id.values()) == [EncryptionKey.from_secret(secret) for secret in secrets]
    assert all(key.id == key_id for key_id, key in ring.by_id.items())


def test_the_same_secret_twice_is_refused():
    with pytest.raises(ValueError, match="twice") as caught:
        KeyRing.from_secrets([b"one secret", b"another", b"one secret"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@given(secret=secrets_of_32_bytes)
def test_a_key_is_read_in_either_base64_alphabet(encode, secret):
    assert decode_key(encode(secret).decode()) == secret


@given(st.binary(max_size=80).filter(lambda secret: len(secret) != 32))
def test_a_key_of_another_length_is_refused_by_its_length(secret):
    with pytest.raises(ValueError, match=f"expected 32 bytes, found {len(secret)}"):
        decode_key(base64.b64encode(secret).decode())


@pytest.mark.parametrize("spoil", [" {}", "{}\n", "{}A", "{}=", "{}é", "{}\ud800", "'{}'"])
def test_a_spoiled_key_is_refused_and_not_shown(spoil):
    key = base64.b64encode(b"0123456789 a key of 32 bytes 012").decode()
    with pytest.raises(ValueError, match="base64") as caught:
        decode_key(spoil.format(key))
    assert caught.value.__suppress_context__
    assert key[:8] not in repr(caught.value)


@given(st.none() | st.binary() | st.integers() | st.text())
def test_whatever_is_given_as_a_key_raises_nothing_but_value_errors(text):
    try:
        secret = decode_key(text)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
    else:
        assert len(secret) == 32


@pytest.mark.parametrize("show", [repr, str, lambda value: pprint.pformat(value, width=1)])
def test_no_rendering_of_the_ring_shows_a_key(show):
    ring = KeyRing.from_secrets([PINNED_SECRET])
    shown = show(ring) + show(ring.newest)
    assert "secret" not in shown
    assert repr(ring.newest.master)[2:-1] not in shown
    assert ring.newest.master.hex() not in shown
