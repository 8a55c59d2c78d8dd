"""What happens to sessions and to their stores, for those who want to be told.

`session_created` and `session_ended` are sent once for each session that begins or is ended, never
when one is read or saved; nobody is told of one that expires. Their arguments: `sender`, the class
of the session engine, and `session_id`, the hashed id, which a session keeps for life: a rotation
of its session key is no end. `session_ended` has the `reason`: `"logout"` (its own request ended
it), `"deleted"`, `"limit"`
(`MAX_SESSIONS_PER_USER`), `"password"` (`END_SESSIONS_ON_PASSWORD_CHANGE`), `"purged"`
(`clearsessions_cache`), `"admin"`, `"device"`, or what `live.end()` was given, else `"ended"`.

`store_unavailable` and `store_recovered` are sent once at each edge in each process, not for each
request. Their arguments: `sender`, the string `"cache"` or `"database"`; `alias`, its name in
`CACHES` or `DATABASES`; and, when it became unavailable, `problem`, a `SessionStoreUnavailable`.

What a receiver raises is logged by Django and does not reach the request.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from django.dispatch import Signal

from .forks import after_fork

session_created = Signal()
session_ended = Signal()
store_unavailable = Signal()
store_recovered = Signal()


@after_fork
def _begin_anew() -> None:
    for signal in (session_created, session_ended, store_unavailable, store_recovered):
        signal.lock = Lock()


@dataclass(frozen=True, slots=True)
class Announcement:
    """A step of an operation: the call of a signal's receivers."""

    signal: Signal
    sender: type[Any]
    arguments: dict[str, Any]

    def run(self) -> None:
        """Send it."""
        self.signal.send_robust(self.sender, **self.arguments)


def announce_creation(sender: type[Any], session_id: str) -> Generator[Announcement, Any, None]:
    """Tell that a session has begun; costs nothing where nobody listens."""
    if session_created.has_listeners(sender):
        yield Announcement(session_created, sender, {"session_id": session_id})


def announce_end(
    sender: type[Any], session_id: str, reason: str
) -> Generator[Announcement, Any, None]:
    """Tell that a session was ended; costs nothing where nobody listens."""
    return announce_ends(sender, (session_id,), reason)


def announce_ends(
    sender: type[Any], session_ids: Iterable[str], reason: str
) -> Generator[Announcement, Any, None]:
    """Tell that sessions were ended, of each by itself."""
    if session_ended.has_listeners(sender):
        for session_id in session_ids:
            yield Announcement(session_ended, sender, {"session_id": session_id, "reason": reason})
