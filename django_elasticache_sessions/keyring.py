"""The secrets: the key ring that encrypts values and the keys that name sessions.

Everything is derived by HKDF-SHA256 (RFC 5869), so that no key serves two purposes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

KEY_BYTES = 32
KEY_ID_BYTES = 4
_SALT = b"django-elasticache-sessions"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """One key of the ring. `id` is public and stands in front of every value the key encrypted."""

    id: bytes
    master: bytes = field(repr=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> EncryptionKey:
        """Derive a key from a secret of any length."""
        return cls(derive(secret, "key id")[:KEY_ID_BYTES], derive(secret, "encryption"))

    def for_session(self, sid: str) -> AESGCM:
        """Return the cipher of one session: its key is derived from `sid`."""
        return _cipher(self.master, sid.encode())


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The encryption keys: the newest encrypts, all decrypt."""

    newest: EncryptionKey
    by_id: dict[bytes, EncryptionKey]

    @classmethod
    def from_secrets(cls, secrets: Iterable[bytes]) -> KeyRing:
        """Build the ring from secrets, newest first. Raises `ValueError` when two keys clash."""
        keys = [EncryptionKey.from_secret(secret) for secret in secrets]
        by_id = {key.id: key for key in keys}
        if len(by_id) != len(keys):
            raise ValueError("the same key stands there twice")
        return cls(keys[0], by_id)


@lru_cache(maxsize=1024)
def _cipher(master: bytes, info: bytes) -> AESGCM:
    # Visitors come back to the same process; a derivation costs several decryptions.
    return AESGCM(HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(master))


def derive(secret: bytes, purpose: str) -> bytes:
    """Derive 32 bytes for one purpose from a secret."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=_SALT, info=purpose.encode()).derive(
        secret
    )


def decode_key(text: object) -> bytes:
    """Decode one entry of `ENCRYPTION_KEYS`: base64 (standard or URL-safe) of 32 bytes.

    Raises `ValueError`, which says what was found and never shows the key.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected base64 text of {KEY_BYTES} bytes, found {type(text).__name__}")
    try:
        secret = base64.b64decode(text.translate({45: "+", 95: "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"expected base64 text of {KEY_BYTES} bytes, found other text") from None
    if len(secret) != KEY_BYTES:
        raise ValueError(f"expected {KEY_BYTES} bytes, found {len(secret)}")
    return secret
