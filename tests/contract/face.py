"""A session used through its sync or its async methods, in the same words."""

from __future__ import annotations

import asyncio
from typing import Any

from django.contrib.sessions.backends.base import SessionBase


class Face:
    """Calls the sync methods of a session, or their `a...` twins in an event loop.

    What has no twin (`clear`, `session_key`, `encode`) is the session's own either way. `set` is
    what `session[key] = value` does.
    """

    def __init__(self, session: SessionBase, runner: asyncio.Runner | None) -> None:
        self.session = session
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        """Return the session's attribute or method."""
        twin = getattr(self.session, f"a{name}", None)
        if self._runner is None or twin is None:
            return getattr(self.session, name)
        return lambda *arguments, **named: self._runner.run(twin(*arguments, **named))

    def set(self, key: Any, value: Any) -> None:
        """Set a value."""
        if self._runner is None:
            self.session[key] = value
        else:
            self._runner.run(self.session.aset(key, value))

    def content(self) -> dict[Any, Any]:
        """Return all data."""
        return dict(self.items())

    def pretend_untouched(self) -> None:
        """Reset what tells whether the session was accessed and modified."""
        self.session.accessed = self.session.modified = False

    @property
    def touched(self) -> str:
        """What was done to the session: "", "accessed", "modified" or "accessed modified"."""
        return " ".join(
            name for name in ("accessed", "modified") if getattr(self.session, name) is True
        )
