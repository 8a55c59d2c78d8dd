"""Asking the server, command by command: what it refuses is a fact, not an error."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from .. import identities, scripts
from ..conf import Outline
from ..exceptions import ForeignType, SessionStoreUnavailable
from ..keys import Naming, is_sid
from ..listing import Counts
from ..operations import CLOCK, INFO, Command, Operation, Word, run
from . import permissions

#: Sessions whose encoding is looked at.
_SAMPLE = 20
#: Whose servers are asked for their ids: in a cluster they lie on several.
_PROBED_BUCKETS = 8
_MOST_SLOT_RANGES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the server told. `None` stands for what it did not, as a permission is lacking."""

    round_trip_seconds: float
    #: How far its clock is ahead of ours; of a cluster the one that is off the most.
    clock_ahead_seconds: float
    #: Of a cluster of each primary, in the order of their first slots.
    infos: Sequence[Mapping[str, str]] | None
    user: str | None
    #: Commands that sessions need and the user may not run; `None`: no script at all.
    refused: tuple[str, ...] | None
    #: Commands that sessions do not need and the user may run.
    beyond: tuple[str, ...]
    reads_elsewhere: bool
    counts: Counts | None
    #: Sessions of each bucket.
    by_bucket: Sequence[int] | None
    pending: int | None
    #: How the server keeps some of the hashes.
    encodings: Sequence[str] | None
    #: First slot, last slot and primary of each range of a cluster; `None` where there is none.
    slots: Sequence[tuple[int, int, str]] | None
    #: Whether scripts see the server's id as commands do; `None` where nobody asked.
    is_identified: bool | None = None


def look(outline: Outline, *, is_durable: bool) -> Operation[Facts]:
    """Ask everything. Raises `SessionStoreUnavailable` where a server does not serve at all."""
    naming = outline.naming
    round_trip, ahead = yield from _clock()
    infos = yield from _infos()
    user = yield from _ask("ACL", "WHOAMI")
    refused = yield from _refused(naming, is_durable=is_durable)
    by_bucket = yield from _by_bucket(naming)
    return Facts(
        round_trip_seconds=round_trip,
        clock_ahead_seconds=ahead,
        infos=infos,
        user=user.decode("utf-8", "replace") if isinstance(user, bytes) else None,
        refused=refused,
        beyond=(yield from _beyond(naming)),
        reads_elsewhere=(yield from _ask("EXISTS", f"not-{naming.prefix}:doctor")) is not None,
        counts=(
            Counts(sum(signed for signed, _ in by_bucket), sum(rest for _, rest in by_bucket))
            if by_bucket
            else None
        ),
        by_bucket=[sum(pair) for pair in by_bucket] if by_bucket else None,
        pending=(yield from _pending(naming)) if is_durable else 0,
        is_identified=(yield from _identified(naming)) if is_durable and infos else None,
        encodings=(yield from _encodings(naming)),
        slots=(yield from _slots()) if infos and is_of_cluster(infos[0]) else None,
    )


def _clock() -> Operation[tuple[float, float]]:
    # The first one connects.
    yield (CLOCK,)
    began, began_at = time.perf_counter(), time.time()
    [reply] = yield (CLOCK,)
    round_trip = time.perf_counter() - began
    clocks = reply if isinstance(reply[0], list) else [reply]
    ahead = (
        int(seconds) + int(microseconds) / 1e6 - (began_at + round_trip / 2)
        for seconds, microseconds in clocks
    )
    return round_trip, max(ahead, key=abs)


def _infos() -> Operation[list[dict[str, str]] | None]:
    replies = yield from _ask_all((INFO,))
    if replies is None:
        return None
    [reply] = replies
    return [_parsed(text) for text in (reply if isinstance(reply, list) else [reply])]


def _parsed(text: bytes) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def is_of_cluster(info: Mapping[str, str]) -> bool:
    """Tell whether a server is in cluster mode."""
    return info.get("cluster_enabled") == "1"


def _refused(naming: Naming, *, is_durable: bool) -> Operation[tuple[str, ...] | None]:
    trials = permissions.TRIALS + (permissions.TRIALS_OF_CACHED_DB if is_durable else ())
    refused = yield from _try_out(naming, trials)
    if refused is None:
        return None
    if is_durable and "srem" not in refused:
        refused += (yield from _try_out(naming, permissions.TRIAL_OF_SADD)) or ()
    if (yield from _ask("SCAN", "0", "COUNT", "1")) is None:
        refused += ("scan",)
    if is_durable and (yield from _ask("INFO", "server")) is None:
        refused += ("info",)
    return refused


def _try_out(
    naming: Naming, trials: Sequence[tuple[str, ...]]
) -> Operation[tuple[str, ...] | None]:
    words: list[Word] = []
    for trial in trials:
        words += [len(trial), *trial]
    key = next(naming.live_indexes()).removesuffix("live") + "doctor"
    try:
        [reply] = yield (run(scripts.PROBE, (key,), words),)
    except SessionStoreUnavailable:
        return None
    return tuple(name.decode() for name in reply)


def _beyond(naming: Naming) -> Operation[tuple[str, ...]]:
    allowed: tuple[str, ...] = ()
    for command in permissions.BEYOND:
        if (yield from _ask(*command)) is not None:
            allowed += (" ".join(command[:2]),)
    refused = yield from _try_out(naming, permissions.BEYOND_IN_SCRIPTS)
    if refused is None:
        return allowed
    tried = (command[0] for command in permissions.BEYOND_IN_SCRIPTS)
    return allowed + tuple(name for name in tried if name not in refused)


def _by_bucket(naming: Naming) -> Operation[list[tuple[int, int]] | None]:
    commands = tuple(run(scripts.COUNT, (key,), ()) for key in naming.live_indexes())
    replies = yield from _ask_all(commands)
    if replies is None:
        return None
    return [(0, 0) if isinstance(reply, ForeignType) else tuple(reply) for reply in replies]


def _pending(naming: Naming) -> Operation[int | None]:
    keys = (naming.pending_set(bucket) for bucket in range(naming.buckets))
    replies = yield from _ask_all(tuple(("SCARD", key) for key in keys))
    if replies is None:
        return None
    return sum(reply for reply in replies if isinstance(reply, int))


def _identified(naming: Naming) -> Operation[bool | None]:
    """Tell whether all servers of a few buckets tell who they are; `None` where they refuse."""
    try:
        for bucket in range(min(naming.buckets, _PROBED_BUCKETS)):
            probed = yield from identities.probe(naming.pending_set(bucket))
            if not probed.is_seen_by_scripts or probed.id == identities.UNTOLD:
                return False
    except SessionStoreUnavailable:
        return None
    return True


def _encodings(naming: Naming) -> Operation[list[str] | None]:
    replies = yield from _ask_all(
        tuple(("ZRANGE", key, 0, _SAMPLE - 1) for key in naming.live_indexes())
    )
    if replies is None:
        return None
    # One of each bucket, then the second ones.
    by_rank = zip_longest(*(reply for reply in replies if isinstance(reply, list)), fillvalue=b"")
    found = (sid.decode("ascii", "replace") for rank in by_rank for sid in rank)
    names = [naming.from_sid(sid) for sid in islice(filter(is_sid, found), _SAMPLE)]
    if not names:
        return []
    replies = yield from _ask_all(tuple(("OBJECT", "ENCODING", name.hash_key) for name in names))
    if replies is None:
        return None
    return [reply.decode() for reply in replies if isinstance(reply, bytes)]


def _slots() -> Operation[list[tuple[int, int, str]] | None]:
    reply = yield from _ask("CLUSTER", "SLOTS")
    if not isinstance(reply, list):
        return None
    return [
        (int(first), int(last), f"{_text(primary[0])}:{primary[1]}")
        for first, last, primary, *_ in reply[:_MOST_SLOT_RANGES]
    ]


def _ask(*command: str) -> Operation[Any]:
    """Send a command; `None` where it is refused."""
    replies = yield from _ask_all((command,))
    return replies[0] if replies else None


def _ask_all(commands: tuple[Command, ...]) -> Operation[list[Any] | None]:
    try:
        replies: list[Any] = yield commands
    except SessionStoreUnavailable:
        return None
    return replies


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
