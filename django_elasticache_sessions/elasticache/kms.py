"""Encryption keys that AWS KMS has wrapped: the settings hold what only KMS can open.

A key is bound to this use by its encryption context, which KMS authenticates ("Encryption context"
in the KMS developer guide): one that was wrapped for something else is refused, and the role's
policy can be limited to it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from ..keyring import KEY_BYTES
from .aws import INSTALL, code_of, explain, find_region, hushed, is_installed, make_session

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "InvalidSignatureException": "Check this machine's clock, and the credentials",
    "ExpiredTokenException": "The AWS credentials have expired; check this machine's clock",
    "UnrecognizedClientException": "The AWS credentials are not known to AWS",
}
_REACH_KMS = (
    "Check AWS_REGION, the way to KMS (a route, or the VPC endpoint for kms) and the AWS "
    "credentials, and start again"
)

# By ciphertext: KMS is asked once for each key and process, also when the settings change.
_opened: dict[bytes, bytes] = {}
_lock = Lock()
_failure = ""
_failure_ends = 0.0


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
    with _explained(f"KMS did not make a key with {kms_key!r}", "GenerateDataKeyWithoutPlaintext"):
        answer = _client().generate_data_key_without_plaintext(
            KeyId=kms_key, NumberOfBytes=KEY_BYTES, EncryptionContext=ENCRYPTION_CONTEXT
        )
        blob, arn = answer["CiphertextBlob"], answer["KeyId"]
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
    with _explained(complaint, "Decrypt"):
        answer = _client().decrypt(CiphertextBlob=key, EncryptionContext=ENCRYPTION_CONTEXT)
        opened: bytes = answer.get("Plaintext") or b""
    size = len(opened)
    if size != KEY_BYTES:
        del answer, opened
        raise ImproperlyConfigured(
            f"{complaint}: expected a key of {KEY_BYTES} bytes in it, found {size}. Make one with: "
            "manage.py rekeysessions --new-kms-key <key id>"
        )
    return opened


def _client() -> Any:
    return make_session().create_client("kms", region_name=find_region() or None)


@contextmanager
def _explained(complaint: str, action: str) -> Iterator[None]:
    """Turn whatever goes wrong with AWS into `ImproperlyConfigured`, without its text."""
    if not is_installed():
        raise ImproperlyConfigured(f"{complaint}: boto3 is missing. {INSTALL}")
    try:
        with hushed():
            yield
    except Exception as error:
        reason = explain(error)
        mend = _MENDS.get(code_of(error), _REACH_KMS).replace("{action}", f"kms:{action}")
    else:
        return
    raise ImproperlyConfigured(f"{complaint}: {reason}. {mend}.")
