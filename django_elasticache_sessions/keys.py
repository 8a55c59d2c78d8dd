"""How sessions and users are named in the store: by keyed hashes, never by what they are.

A session key is a selector, 15 characters, and a validator, the rest. `sid` is the first 128 bits
of HMAC-SHA256 over the selector and names the session for its whole life; a rotation replaces the
validator. What is stored of that, the session's KEY, is a keyed hash too: nothing at rest can be
put into a cookie (CVE-2019-16782 is what happens otherwise).
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import NamedTuple, TypeGuard

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from django.contrib.sessions.backends.base import VALID_KEY_CHARS

from .stamps import STAMP_BYTES

SID_BYTES = 16
#: No session key has a control character, so no cookie leads to a user's tag.
USER_PREFIX = "\0user:"
# 128 bits leave the last character only four values.
_SID = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]", re.ASCII)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HASH_KEY_TAIL = re.compile(r":\{(\d{1,5})\}:([A-Za-z0-9_-]{22})\Z", re.ASCII)
#: Sessions that one script looks at: a fraction of a millisecond.
MOST_PER_SCRIPT = 100
#: Django's own table has room for as many.
SESSION_KEY_LENGTH = 40
#: 77 bits: too many for two sessions to share a selector by chance.
SELECTOR_LENGTH = 15
SESSION_KEY_MIN_LENGTH = 30
SESSION_KEY_MAX_LENGTH = 256
#: No session key has a control character, so no user's tag is the KEY of a session.
_KEY_PREFIX = "\0key:"
#: Of a KEY: a stamp and 16 bytes in base64, unpadded.
KEY_CHARACTERS = 30
_STAMP_CHARACTERS = 8
_KEY_IN_TEXT = re.compile(rf"[{VALID_KEY_CHARS}]{{{SESSION_KEY_MIN_LENGTH},}}", re.ASCII)
# Random bytes become characters, each as likely as the others: the bytes that are left over after
# whole alphabets are dropped.
_SURPLUS = bytes(range(256 - 256 % len(VALID_KEY_CHARS), 256))
_CHARACTERS = bytes(ord(VALID_KEY_CHARS[byte % len(VALID_KEY_CHARS)]) for byte in range(256))


class SessionName(NamedTuple):
    """Where one session lies: its `sid`, its hash and the live index of its bucket.

    `digest` has the 16 bytes that `sid` stands for.
    """

    sid: str
    bucket: int
    hash_key: str
    digest: bytes

    @property
    def index_key(self) -> str:
        """The key of its bucket's live index."""
        return self.hash_key.removesuffix(self.sid) + "live"


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of sessions and users under one prefix.

    `index_keys` are the 32-byte HMAC keys, newest first; `buckets` the number of index shards.
    `is_clustered` where the keys may lie on several servers: no script gets those of two slots.
    """

    prefix: str
    buckets: int
    index_keys: tuple[bytes, ...]
    is_clustered: bool = True

    def __repr__(self) -> str:
        return f"<Naming {self.prefix!r}>"

    def session(self, session_key: str, *, index_key: bytes | None = None) -> SessionName:
        """Name a session, under the newest index key unless another is given."""
        selector = session_key[:SELECTOR_LENGTH]
        return self.from_digest(_digest(index_key or self.index_keys[0], selector))

    def session_everywhere(self, session_key: str) -> tuple[SessionName, ...]:
        """Name a session under every index key, newest first."""
        return tuple(self.session(session_key, index_key=key) for key in self.index_keys)

    def key(self, session_key: str, created: int, stamp: int) -> str:
        """Return the KEY that is stored of a session key.

        The session's creation time, in microseconds, is authenticated with it.
        """
        return _key(self.index_keys[0], session_key, created, stamp.to_bytes(STAMP_BYTES))

    def admits(self, key: str, created: int, session_key: str) -> bool:
        """Tell, in constant time, whether a KEY is that of a session key."""
        stamp = stamp_of_key(key).to_bytes(STAMP_BYTES)
        return any(
            compare_digest(_key(index_key, session_key, created, stamp), key)
            for index_key in self.index_keys
        )

    def from_hash_key(self, hash_key: bytes) -> SessionName | None:
        """Return the name whose hash lies under a key, `None` when the key is no session's."""
        text = hash_key.decode("ascii", "replace")
        match = _HASH_KEY_TAIL.search(text)
        if match is None or text[: match.start()] != self.prefix:
            return None
        bucket, sid = int(match[1]), match[2]
        return SessionName(sid, bucket, text, urlsafe_b64decode(sid + "=="))

    def from_digest(self, digest: bytes) -> SessionName:
        """Return the name that `SessionName.digest` was taken of."""
        sid = _text(digest)
        bucket = int.from_bytes(digest[:4], "big") % self.buckets
        return SessionName(sid, bucket, f"{self.prefix}:{{{bucket}}}:{sid}", digest)

    def from_sid(self, sid: str) -> SessionName:
        """Return the name with this `sid`. Raises `ValueError` where it cannot be one."""
        if not is_sid(sid):
            raise ValueError("This is not a session id: 22 characters of A-Z a-z 0-9 _ -.")
        return self.from_digest(urlsafe_b64decode(sid + "=="))

    def user(self, user_id: str) -> str:
        """Return the tag of a user: what stands for the user's id in the store."""
        return _text(_digest(self.index_keys[0], USER_PREFIX + user_id))

    def user_tags(self, user_id: str) -> tuple[str, ...]:
        """Return the tags of a user under every index key, newest first."""
        return tuple(_text(_digest(key, USER_PREFIX + user_id)) for key in self.index_keys)

    def is_user(self, user_tag: str, user_id: str) -> bool:
        """Tell whether a tag stands for a user, under whichever index key it was made."""
        return user_tag in self.user_tags(user_id)

    def user_index(self, user_tag: str) -> str:
        """Return the key of the sorted set of a user's sessions."""
        return f"{self.prefix}:user:{user_tag}"

    def live_indexes(self) -> Iterator[str]:
        """Yield the key of every bucket's live index."""
        return (f"{self.prefix}:{{{bucket}}}:live" for bucket in range(self.buckets))

    def pending_set(self, bucket: int) -> str:
        """Return the key of the set of a bucket's sessions that wait for the database."""
        return f"{self.prefix}:{{{bucket}}}:pending"

    def events(self, bucket: int) -> str:
        """Return the key of the hash that counts what happens to a bucket's sessions.

        It does not look like a session's, so that no SCAN for sessions comes across it.
        """
        return f"{self.prefix}:events:{{{bucket}}}"

    @property
    def occurrences(self) -> str:
        """The key of what the processes of the site count together."""
        return f"{self.prefix}:occurrences"


def new_session_key() -> str:
    """Return a random session key (about 206 bits, 129 of them in the validator)."""
    return _random_text(SESSION_KEY_LENGTH)


def rotated(session_key: str, new: str = "") -> str:
    """Return a new session key for the same session: its selector with another validator.

    That of a new session key where one is given.
    """
    selector, validator = session_key[:SELECTOR_LENGTH], new[SELECTOR_LENGTH:]
    return selector + (validator or _random_text(SESSION_KEY_LENGTH - SELECTOR_LENGTH))


def stamp_of_key(key: str) -> int:
    """Return the stamp of the rotation that a KEY is of."""
    return int.from_bytes(urlsafe_b64decode(key[:_STAMP_CHARACTERS]))


def is_session_key(value: object) -> TypeGuard[str]:
    """Tell whether a cookie's value can be a session key at all, before any work is done on it."""
    return (
        isinstance(value, str)
        and SESSION_KEY_MIN_LENGTH <= len(value) <= SESSION_KEY_MAX_LENGTH
        and value.isascii()
        and value.isprintable()
    )


def portions(names: Iterable[SessionName]) -> list[Sequence[SessionName]]:
    """Return sessions in portions for one script each, which may touch one bucket's keys alone."""
    by_bucket: dict[int, list[SessionName]] = defaultdict(list)
    for name in names:
        by_bucket[name.bucket].append(name)
    return [
        of_bucket[start : start + MOST_PER_SCRIPT]
        for of_bucket in by_bucket.values()
        for start in range(0, len(of_bucket), MOST_PER_SCRIPT)
    ]


def conceal(text: str) -> str:
    """Return a text with asterisks in the place of what may be session keys of Django's form."""
    return _KEY_IN_TEXT.sub("********", text)


def is_sid(value: str) -> bool:
    """Tell whether a text can be the `sid` of a session. No session key made here can."""
    return _SID.fullmatch(value) is not None


def _digest(index_key: bytes, text: str) -> bytes:
    mac = _keyed(index_key).copy()
    mac.update(text.encode("utf-8", "surrogatepass"))
    return mac.finalize()[:SID_BYTES]


@lru_cache(maxsize=16)
def _keyed(index_key: bytes) -> HMAC:
    # A copy of a MAC that has its key already costs a third of a fresh one.
    return HMAC(index_key, SHA256())


def _key(index_key: bytes, session_key: str, created: int, stamp: bytes) -> str:
    return _text(stamp + _digest(index_key, f"{_KEY_PREFIX}{created} {session_key}"))


def _text(digest: bytes) -> str:
    """Encode bytes in the URL-safe base64 alphabet (RFC 4648), unpadded."""
    text = b2a_base64(digest, newline=False).translate(_URL_SAFE)
    return text.rstrip(b"=").decode()


def _random_text(length: int) -> str:
    text = b""
    while len(text) < length:
        text += secrets.token_bytes(2 * length).translate(_CHARACTERS, _SURPLUS)
    return text[:length].decode()
