"""How one field's value is stored: compressed when large, encrypted, bound to its place.

A stored value is `header (1 byte) + key id (4) + nonce (12) + AES-256-GCM ciphertext and tag`, or
`header + stamp (6) + data` with `ENCRYPT=False`. The header holds the flags; later formats have
headers of 0x14 to 0x1f. A nonce is the stamp of the write and six bytes that no other value of the
session has with this stamp, so every value carries the time of its own write.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .exceptions import InvalidValue, UnknownFormat
from .keyring import KEY_ID_BYTES, KeyRing
from .stamps import STAMP_BYTES

PLAIN = 0x10
ENCRYPTED = 0x11
COMPRESSED_FLAG = 0x02
NONCE_BYTES = 12
TAG_BYTES = 16
_ENCRYPTED_HEADERS = (ENCRYPTED, ENCRYPTED | COMPRESSED_FLAG)
_PLAIN_HEADERS = (PLAIN, PLAIN | COMPRESSED_FLAG)
#: Control characters, which begin no JSON, no text and no pickle.
_LATER_HEADERS = range(0x14, 0x20)
_PREFIX_BYTES = 1 + KEY_ID_BYTES
_PLAIN_PREFIX_BYTES = 1 + STAMP_BYTES
_SERIAL_BYTES = NONCE_BYTES - STAMP_BYTES
_NONCE_END = _PREFIX_BYTES + NONCE_BYTES
_ENCRYPTED_MIN_BYTES = _NONCE_END + TAG_BYTES
_FORGED = "it was changed, or belongs to another field or session"
# Speed over ratio: level 1 takes a quarter of the time of the default level 6.
_ZLIB_LEVEL = 1


@dataclass(frozen=True, slots=True)
class CodecPolicy:
    """What the settings say about stored values; sizes in bytes."""

    ring: KeyRing
    encrypt: bool
    compress_above_bytes: int | None
    inflate_limit_bytes: int
    #: How every encrypted value begins that some key of the ring may decrypt.
    accepted_prefixes: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        prefixes = frozenset(
            bytes((header,)) + key_id for header in _ENCRYPTED_HEADERS for key_id in self.ring.by_id
        )
        object.__setattr__(self, "accepted_prefixes", prefixes)


def stamp_of(value: bytes) -> int:
    """Return the stamp of the write that a stored value is of; 0 for what is no such value."""
    start = _PREFIX_BYTES if value[:1] and value[0] & 0x01 else 1
    return int.from_bytes(value[start : start + STAMP_BYTES])


class SessionCodec:
    """Encodes and decodes the values of one session.

    The key is derived from the session's `sid`, and each value's field name and header are
    authenticated with it: a value moved to another session or another field does not decrypt.
    """

    __slots__ = ("_ciphers", "_policy", "_serial", "_sid")

    def __init__(self, policy: CodecPolicy, sid: str) -> None:
        """Take the policy and the session's `sid`."""
        self._policy = policy
        self._sid = sid
        self._serial = int.from_bytes(os.urandom(_SERIAL_BYTES))
        #: By how a value begins: header and key id.
        self._ciphers: dict[bytes, AESGCM] = {}

    def encode(self, name: str, data: bytes, stamp: int) -> bytes:
        """Encode one field's serialised value for the store, under the newest key."""
        flags, data = self._compress(data)
        time = stamp.to_bytes(STAMP_BYTES)
        if not self._policy.encrypt:
            return bytes((PLAIN | flags,)) + time + data
        header = bytes((ENCRYPTED | flags,))
        prefix = header + self._policy.ring.newest.id
        # Counted on from a random number: two values of one save never share a nonce.
        self._serial = (self._serial + 1) % 2 ** (8 * _SERIAL_BYTES)
        nonce = time + self._serial.to_bytes(_SERIAL_BYTES)
        place = header + name.encode("utf-8", "surrogatepass")
        return prefix + nonce + self._cipher(prefix).encrypt(nonce, data, place)

    def decode(self, name: str, value: bytes) -> bytes:
        """Decode one stored value. Raises `InvalidValue` when it is not what `encode` wrote."""
        prefix = value[:_PREFIX_BYTES]
        cipher = self._ciphers.get(prefix)
        if cipher is None and prefix in self._policy.accepted_prefixes:
            cipher = self._cipher(prefix)
        if cipher is not None:
            place = value[:1] + name.encode("utf-8", "surrogatepass")
            try:
                data = cipher.decrypt(value[_PREFIX_BYTES:_NONCE_END], value[_NONCE_END:], place)
            except (InvalidTag, ValueError):
                raise InvalidValue(_FORGED) from None
        else:
            self.check(value)
            data = value[_PLAIN_PREFIX_BYTES:]
        return self._decompress(data) if value[0] & COMPRESSED_FLAG else data

    def check_all(self, values: Collection[bytes]) -> None:
        """Check the form and key id of every value of a session.

        Raises `InvalidValue`, and `UnknownFormat` for the value of a later release.
        """
        prefixes = [value[:_PREFIX_BYTES] for value in values]
        if not self._policy.accepted_prefixes.issuperset(prefixes):
            for value in values:
                self.check(value)

    def check(self, value: bytes) -> None:
        """Check a value's form and key id, without the cost of decrypting it.

        Raises `InvalidValue`. A plain value is refused while `ENCRYPT` is on: whoever can write to
        the store could plant one.
        """
        header = value[0] if value else -1
        if header in _ENCRYPTED_HEADERS:
            if len(value) < _ENCRYPTED_MIN_BYTES:
                raise InvalidValue("it is truncated")
            if value[1 : 1 + KEY_ID_BYTES] not in self._policy.ring.by_id:
                raise InvalidValue("it is encrypted under a key that is not in the key ring")
        elif header in _PLAIN_HEADERS:
            if self._policy.encrypt:
                raise InvalidValue("it is not encrypted")
            if len(value) < _PLAIN_PREFIX_BYTES:
                raise InvalidValue("it is truncated")
        elif header in _LATER_HEADERS:
            raise UnknownFormat
        else:
            raise InvalidValue("its format is unknown")

    def is_current(self, value: bytes) -> bool:
        """Tell whether a stored value is as `encode` would write it now (key and encryption)."""
        if not self._policy.encrypt:
            return value[:1] != b"" and value[0] in _PLAIN_HEADERS
        return (
            value[:1] != b""
            and value[0] in _ENCRYPTED_HEADERS
            and value[1 : 1 + KEY_ID_BYTES] == self._policy.ring.newest.id
        )

    def _cipher(self, prefix: bytes) -> AESGCM:
        cipher = self._ciphers.get(prefix)
        if cipher is None:
            key = self._policy.ring.by_id[prefix[1:]]
            cipher = self._ciphers[prefix] = key.for_session(self._sid)
        return cipher

    def _compress(self, data: bytes) -> tuple[int, bytes]:
        limit = self._policy.compress_above_bytes
        if limit is None or len(data) <= limit:
            return 0, data
        smaller = zlib.compress(data, _ZLIB_LEVEL)
        return (COMPRESSED_FLAG, smaller) if len(smaller) < len(data) else (0, data)

    def _decompress(self, data: bytes) -> bytes:
        inflater = zlib.decompressobj()
        try:
            # One byte more than allowed: at the limit itself zlib would not yet report the end.
            plain = inflater.decompress(data, self._policy.inflate_limit_bytes + 1)
        except zlib.error:
            raise InvalidValue("it is not valid compressed data") from None
        if not inflater.eof or len(plain) > self._policy.inflate_limit_bytes:
            raise InvalidValue("it inflates beyond what a session may hold, or is truncated")
        return plain
