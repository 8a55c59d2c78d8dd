"""Encryption keys that AWS KMS has wrapped: the settings hold what only KMS can open.

A key is bound to this use by its encryption context, which KMS authenticates ("Encryption context"
in the KMS developer guide): one that was wrapped for something else is refused, and the role's
policy can be limited to it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..exceptions import AWSUnavailable
from ..forks import after_fork
from ..keyring import KEY_BYTES
from .aws import ask
from .explanations import makes_no_sense

ENCRYPTION_CONTEXT = {"purpose": "django-elasticache-sessions"}
#: For so long, in seconds, a failure is the answer to whoever asks next.
FAILURE_SECONDS = 2.0

_SETTING = "ELASTICACHE_SESSIONS['KMS_WRAPPED_KEYS']"
_MENDS = {
    "AccessDeniedException": "Allow {action} on the key in the role's policy; if that has a "
    f"condition on the encryption context, for {ENCRYPTION_CONTEXT}",
    "InvalidCiphertextException": "It was not wrapped by KMS for this package, or in another "
    "region or account. Make one with: manage.py rekeysessions --new-kms-key <key id>",
    "IncorrectKeyException": "It was wrapped by another KMS key",
    "NotFoundException": "The KMS key does not exist in this region and account; check AWS_REGION",
    "DisabledException": "Enable the KMS key",
    "KMSInvalidStateException": "The KMS key is not enabled; if it is to be deleted, cancel its "
    "deletion",
}

# By ciphertext: KMS is asked once for each key and process, also when the settings change.
_opened: dict[bytes, bytes] = {}
_lock = Lock()
_failure = ""
_failure_ends = 0.0


@after_fork
def _begin_anew() -> None:
    global _lock
    _lock = Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A new encryption key, as text for the settings, and the ARN of the KMS key around it."""

    text: str
    kms_key: str


def open_keys(wrapped: Iterable[bytes]) -> list[bytes]:
    """Return the keys in wrapped ones. Asks KMS for those that this process has not asked for.

    Raises `ImproperlyConfigured`, which says which key failed, why, and what mends it; nothing
    takes the place of a key that cannot be opened.
    """
    keys = tuple(wrapped)
    if any(key not in _opened for key in keys):
        with _lock:
            _open_missing(keys)
    return [_opened[key] for key in keys]


def make_wrapped_key(kms_key: str) -> WrappedKey:
    """Have KMS make a key that it shows to nobody, wrapped by the KMS key of this id, ARN or alias.

    Raises `ImproperlyConfigured`.
    """
    if not kms_key.strip():
        raise ImproperlyConfigured(
            "--new-kms-key: expected the id, ARN or alias of a KMS key, found nothing."
        )
    complaint = f"KMS did not make a key with {kms_key!r}"
    operation = "GenerateDataKeyWithoutPlaintext"
    answer = _ask(operation, complaint, KeyId=kms_key, NumberOfBytes=KEY_BYTES)
    blob, arn = answer.get("CiphertextBlob"), answer.get("KeyId")
    if not blob or not arn:
        raise ImproperlyConfigured(f"{complaint}: {makes_no_sense(f'kms:{operation}')}")
    return WrappedKey(text=base64.b64encode(blob).decode(), kms_key=arn)


def _open_missing(keys: tuple[bytes, ...]) -> None:
    global _failure, _failure_ends
    missing = [place for place, key in enumerate(keys) if key not in _opened]
    if missing and time.monotonic() < _failure_ends:
        # Whoever waited for the lock meanwhile has waited long enough.
        raise ImproperlyConfigured(_failure)
    try:
        for place in missing:
            _opened[keys[place]] = _open(keys[place], f"{_SETTING}: key {place} was not decrypted")
    except ImproperlyConfigured as problem:
        _failure, _failure_ends = str(problem), time.monotonic() + FAILURE_SECONDS
        raise


def _open(key: bytes, complaint: str) -> bytes:
    answer = _ask("Decrypt", complaint, CiphertextBlob=key)
    opened: bytes = answer.get("Plaintext") or b""
    size = len(opened)
    if size != KEY_BYTES:
        del answer, opened
        raise ImproperlyConfigured(
            f"{complaint}: expected a key of {KEY_BYTES} bytes in it, found {size}. Make one with: "
            "manage.py rekeysessions --new-kms-key <key id>"
        )
    return opened


def _ask(operation: str, complaint: str, **parameters: Any) -> dict[str, Any]:
    """Ask KMS. Turns whatever goes wrong into `ImproperlyConfigured`, without AWS's text."""
    try:
        return ask("kms", operation, EncryptionContext=ENCRYPTION_CONTEXT, **parameters)
    except AWSUnavailable as refusal:
        reason = _explain(refusal, operation)
    raise ImproperlyConfigured(f"{complaint}: {reason}")


def _explain(refusal: AWSUnavailable, operation: str) -> str:
    mend = _MENDS.get(refusal.code)
    if mend is None:
        # Keys are opened when the application starts.
        return f"{refusal} Then start again." if operation == "Decrypt" else str(refusal)
    mend = mend.replace("{action}", f"kms:{operation}")
    return f"AWS answered {refusal.code!r} to {operation}. {mend}."
