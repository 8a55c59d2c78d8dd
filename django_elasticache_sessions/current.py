"""The session that is being worked with, for what happens far from the request.

A session tells when its data is first asked for; the last one in this thread or task counts until
the request is over.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from weakref import ref

_current: ContextVar[ref[Any] | None] = ContextVar("current_session", default=None)


def note_session(session: Any) -> None:
    """Take note of a session that somebody works with."""
    _current.set(ref(session))


def current_session() -> Any | None:
    """Return the one noted last, `None` where there is none."""
    noted = _current.get()
    return noted and noted()


def forget_session(**kwargs: Any) -> None:
    """Forget it: a request begins or is over, and its thread will serve another."""
    _current.set(None)
