"""A session as another engine has it, and the mark there that it was taken over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .previous import Source

#: The key of a session's data that tells that it was taken over: under which session key, for it
#: goes with the data into a new one, when it was created here, and a digest of each value that is
#: known here, by its key.
MARK = "_taken_over_by_django_elasticache_sessions"
_DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A session as another engine has it; `seconds_left` of its life.

    Of its mark, `known` has the digests, and `created` when it was created here, in microseconds;
    both are `None` where it was not taken over.
    """

    source: Source
    session_key: str = field(repr=False)
    data: dict[str, Any] = field(repr=False)
    seconds_left: int
    known: dict[str, str] | None = field(repr=False)
    created: int | None = None

    @classmethod
    def read(
        cls, source: Source, session_key: str, data: dict[str, Any], seconds_left: int
    ) -> Found:
        """Take the mark out of the data."""
        data = dict(data)
        mark = data.pop(MARK, None)
        if not isinstance(mark, dict) or mark.get("of") != _digest_of(session_key):
            return cls(source, session_key, data, seconds_left, None)
        return cls(source, session_key, data, seconds_left, mark["known"], mark["created"])

    def mark(self, created: int) -> bool:
        """Note there that it was taken over, without a longer life.

        `False` when it is gone, or was taken over as another one, which then has ended here;
        without `created`, that is known here.
        """
        return self.source.mark(self, created)

    def marked(self, now: Found, created: int) -> dict[str, Any] | None:
        """Return what its data is by now, with the mark; `None` when that is of another one."""
        if created and now.created not in (None, created):
            return None
        known = {"of": _digest_of(self.session_key), "created": created}
        return {**now.data, MARK: {**known, "known": _digests(self.data)}}


@dataclass(frozen=True, slots=True)
class Since:
    """What was done to a session by the other engine since it was taken over."""

    found: Found
    changed: dict[str, Any] = field(repr=False)
    removed: tuple[str, ...]
    is_marked: bool

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or not self.is_marked)

    @classmethod
    def of(cls, found: Found) -> Since:
        """Compare with the digests that its mark has; without a mark, nothing can be told."""
        if found.known is None:
            return cls(found, {}, (), is_marked=False)
        digests = _digests(found.data)
        changed = {
            key: value for key, value in found.data.items() if found.known.get(key) != digests[key]
        }
        return cls(found, changed, tuple(found.known.keys() - digests.keys()), is_marked=True)


def _digests(data: dict[str, Any]) -> dict[str, str]:
    return {
        key: _digest_of(json.dumps(value, sort_keys=True, default=repr))
        for key, value in data.items()
    }


def _digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
