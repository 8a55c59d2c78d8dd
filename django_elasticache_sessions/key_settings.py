"""The settings' lists of encryption keys, and which secrets are in force by them.

An entry in capitals stands for the keys of another setting, so that a site can go over from one to
the other without losing what is stored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

from .keyring import KEY_BYTES, decode_key

#: Stands in `ENCRYPTION_KEYS` for the keys derived from `SECRET_KEY` and its fallbacks.
SECRET_KEY_ENTRY = b"SECRET_KEY"
#: Stands in `KMS_WRAPPED_KEYS` for the keys that would be in force without it.
ENCRYPTION_KEYS_ENTRY = b"ENCRYPTION_KEYS"
#: The most that KMS takes (Decrypt, CiphertextBlob, in the KMS API reference).
_MOST_WRAPPED_BYTES = 6144


def read_encryption_keys(value: object) -> tuple[bytes, ...] | None:
    """Read `ENCRYPTION_KEYS`. Raises `ValueError`, whose text shows no key."""
    return _read(value, SECRET_KEY_ENTRY, decode_key)


def read_wrapped_keys(value: object) -> tuple[bytes, ...] | None:
    """Read `KMS_WRAPPED_KEYS`. Raises `ValueError`, whose text shows no key."""
    return _read(value, ENCRYPTION_KEYS_ENTRY, _decode_wrapped_key)


def secrets_in_force(
    wrapped: tuple[bytes, ...] | None,
    keys: tuple[bytes, ...] | None,
    secret_keys: tuple[bytes, ...],
) -> list[bytes]:
    """Return the secrets of the key ring, newest first.

    Raises `ImproperlyConfigured` for wrapped keys that cannot be opened.
    """
    without_kms = secret_keys if keys is None else _with(keys, SECRET_KEY_ENTRY, secret_keys)
    if wrapped is None:
        return list(without_kms)
    return list(dict.fromkeys(_with(_opened(wrapped), ENCRYPTION_KEYS_ENTRY, without_kms)))


def shown_type(value: object) -> str:
    """Say what a value is without showing it."""
    return "an empty list" if value in ([], ()) else type(value).__name__


def _read(
    value: object, entry: bytes, decode: Callable[[object], bytes]
) -> tuple[bytes, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"expected a list of keys, newest first, found {shown_type(value)}")
    keys: list[bytes] = []
    for place, text in enumerate(value):
        try:
            keys.append(entry if text == entry.decode() else decode(text))
        except ValueError as error:
            raise ValueError(f"key {place}: {error}") from None
    if len(set(keys)) != len(keys):
        raise ValueError("the same key stands there twice")
    return tuple(keys)


def _decode_wrapped_key(text: object) -> bytes:
    expected = "expected base64 text of a key that AWS KMS has wrapped"
    if not isinstance(text, str):
        raise ValueError(f"{expected}, found {type(text).__name__}")
    try:
        wrapped = base64.b64decode(text.translate({45: "+", 95: "/"}), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{expected}, found other text") from None
    if len(wrapped) == KEY_BYTES:
        raise ValueError(f"{expected}, found {KEY_BYTES} bytes, as a key has that is not wrapped")
    if not KEY_BYTES < len(wrapped) <= _MOST_WRAPPED_BYTES:
        raise ValueError(f"{expected}, found {len(wrapped)} bytes")
    return wrapped


def _with(keys: Sequence[bytes], entry: bytes, others: Sequence[bytes]) -> tuple[bytes, ...]:
    groups = (others if key == entry else (key,) for key in keys)
    return tuple(secret for group in groups for secret in group)


def _opened(wrapped: tuple[bytes, ...]) -> list[bytes]:
    # Imported where it is needed: whoever has no wrapped keys needs nothing of Amazon's.
    from .elasticache.kms import open_keys

    opened = iter(open_keys(key for key in wrapped if key != ENCRYPTION_KEYS_ENTRY))
    return [key if key == ENCRYPTION_KEYS_ENTRY else next(opened) for key in wrapped]
