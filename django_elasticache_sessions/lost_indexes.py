"""A user's sessions under the `cache` engine, where the user's index may lack some of them.

The index has a TTL and may be evicted, whatever the policy; a later login begins it anew, with that
session alone. Then the hashes themselves tell whose they are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from . import operations, scripts
from .exceptions import SessionStoreUnavailable
from .keys import Naming, SessionName
from .operations import METADATA_FIELD, Operation, run

#: The most keys of the server that are looked through, and the longest that this takes.
MOST_KEYS, MOST_SECONDS = 100_000, 2.0
#: The same where nothing but an empty index, which most users without sessions have, is the reason.
MOST_KEYS_TO_MAKE_SURE = 10_000
_STEP = 1000


class Doubt(NamedTuple):
    """Whether a server has evicted keys (`None`: it may not be asked), and all may be scanned."""

    has_evicted: bool | None
    may_scan: bool


class Found(NamedTuple):
    """Sessions of a user, and whether there are no others."""

    names: list[SessionName]
    is_complete: bool


def beyond(
    naming: Naming, user_id: str, indexed: Sequence[str], kept: str | None
) -> Operation[Found]:
    """Return a user's sessions that the index lacks, by the ids of those that it has.

    `kept` is a session that may be the user's. Bounded in keys and in time.
    """
    doubt = yield from look(naming, user_id)
    is_doubtful = doubt.has_evicted is not False
    if not is_doubtful and kept is not None and kept not in indexed:
        # It would be there, if it is the user's.
        is_doubtful = bool((yield from _of_user(naming, user_id, [naming.from_sid(kept)])))
    if indexed and not is_doubtful:
        return Found([], is_complete=True)
    if not doubt.may_scan:
        return Found([], is_complete=not is_doubtful)
    most = MOST_KEYS if is_doubtful else MOST_KEYS_TO_MAKE_SURE
    found = yield from _search(naming, user_id, most)
    return found._replace(is_complete=found.is_complete or not is_doubtful)


def look(naming: Naming, user_id: str) -> Operation[Doubt]:
    """Ask the server that a user's index lies on."""
    key = naming.user_index(naming.user(user_id))
    [(has_evicted, may_scan)] = yield (run(scripts.DOUBT, (key,), ()),)
    return Doubt(None if has_evicted < 0 else has_evicted == 1, may_scan=may_scan == 1)


def _search(naming: Naming, user_id: str, most_keys: int) -> Operation[Found]:
    names: dict[SessionName, None] = {}
    cursor, end = b"0", time.monotonic() + MOST_SECONDS
    try:
        for _ in range(-(-most_keys // _STEP)):
            cursor, found = yield from operations.scan(naming, cursor, _STEP)
            names |= dict.fromkeys((yield from _of_user(naming, user_id, found)))
            if cursor == b"0":
                return Found(list(names), is_complete=True)
            if time.monotonic() > end:
                break
    except SessionStoreUnavailable:
        # A node of a cluster is lost, for instance.
        pass
    return Found(list(names), is_complete=False)


def _of_user(
    naming: Naming, user_id: str, names: Sequence[SessionName]
) -> Operation[list[SessionName]]:
    """Return those of sessions that are a user's, by their metadata."""
    if not names:
        return []
    tags = {tag.encode() for tag in naming.user_tags(user_id)}
    replies = yield tuple(("HGET", name.hash_key, METADATA_FIELD) for name in names)
    return [
        name
        for name, text in zip(names, replies, strict=True)
        if isinstance(text, bytes) and _tag(text) in tags
    ]


def _tag(metadata: bytes) -> bytes:
    words = metadata.split(b" ", 5)
    return words[4] if len(words) > 4 else b""
