"""How long a session lives: Django's expiry rules with `ABSOLUTE_AGE`, `ANONYMOUS_AGE` and
`REFRESH_AFTER` on top.
"""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from ..conf import get_configuration

if TYPE_CHECKING:
    from ..operations import StoredSession

# 68 years: longer lives overflow cookies' dates and the server's clock arithmetic.
MAX_TTL_SECONDS = 2**31 - 1


class Lifetime(SessionBase):
    """Ages in seconds, as everywhere in Django's sessions."""

    _stored: StoredSession | None
    _session_cache: Any

    def get_session_cookie_age(self) -> int:
        """Return the age of a session without an expiry of its own (`set_expiry`)."""
        age: int = super().get_session_cookie_age()
        anonymous_age = get_configuration().options.anonymous_age
        if anonymous_age is None or USER_ID_FIELD in self.__dict__.get("_session_cache", ()):
            return age
        return min(age, anonymous_age)

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return the seconds until the session expires, at most what `ABSOLUTE_AGE` leaves."""
        expiry = kwargs["expiry"] if "expiry" in kwargs else self.get("_session_expiry")
        return self._capped_age(super().get_expiry_age(**_comparable(kwargs, expiry)))

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        """See get_expiry_age()."""
        expiry = kwargs["expiry"] if "expiry" in kwargs else await self.aget("_session_expiry")
        return self._capped_age(await super().aget_expiry_age(**_comparable(kwargs, expiry)))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """Return when the session expires, at the latest when `ABSOLUTE_AGE` says."""
        expiry = kwargs["expiry"] if "expiry" in kwargs else self.get("_session_expiry")
        return self._capped_date(super().get_expiry_date(**_comparable(kwargs, expiry)))

    async def aget_expiry_date(self, **kwargs: Any) -> datetime:
        """See get_expiry_date()."""
        expiry = kwargs["expiry"] if "expiry" in kwargs else await self.aget("_session_expiry")
        return self._capped_date(await super().aget_expiry_date(**_comparable(kwargs, expiry)))

    def _capped_age(self, age: int) -> int:
        left = self._absolute_seconds_left(self._stored.created if self._stored else None)
        return age if left is None else min(age, left)

    def _capped_date(self, date: datetime) -> datetime:
        left = self._absolute_seconds_left(self._stored.created if self._stored else None)
        return date if left is None else min(date, timezone.now() + timedelta(seconds=left))

    def _absolute_seconds_left(self, created: int | None) -> int | None:
        absolute_age = get_configuration().options.absolute_age
        if absolute_age is None or created is None:
            return absolute_age
        # A creation time in the future is a clock that stepped back; it adds no life.
        return min(absolute_age, math.ceil(created / 1_000_000 + absolute_age - time.time()))

    def _is_beyond_absolute_age(self, created: int) -> bool:
        left = self._absolute_seconds_left(created)
        return left is not None and left <= 0

    def _is_due_for_refresh(self, saved: int) -> bool:
        refresh_after = get_configuration().options.refresh_after
        return refresh_after is not None and time.time() - saved >= refresh_after

    def _ttl(self, created: int) -> int:
        """Return the seconds the store keeps the session; 0 or less for one that has expired."""
        expiry = self._session_cache.get("_session_expiry")
        # The base's age: a new session key may begin a new absolute age.
        whole = (
            super().get_expiry_age(**_comparable({}, expiry))
            if expiry
            else self.get_session_cookie_age()
        )
        age = min(math.ceil(whole), MAX_TTL_SECONDS)
        left = self._absolute_seconds_left(created)
        return age if left is None else min(age, left)


def _comparable(kwargs: dict[str, Any], expiry: Any) -> dict[str, Any]:
    """Return arguments for Django's methods, whose dates either all have a time zone or none has.

    Without one, a date is of the project's time zone, as in Django's database fields.
    """
    modification = kwargs.get("modification") or timezone.now()
    date = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
    if isinstance(date, datetime) and timezone.is_aware(date) != timezone.is_aware(modification):
        convert = timezone.make_naive if timezone.is_aware(date) else timezone.make_aware
        expiry = convert(date, timezone.get_default_timezone())
    return {**kwargs, "expiry": expiry}


def is_user_index_due(stored: StoredSession, ttl: int) -> bool:
    """Tell whether a session's expiry has moved far enough to renew its user's index.

    The index lies in another cluster slot, so it is not written with every save: only when the
    expiry enters the next eighth of a session's life. Its entries outlive the session by as much.
    """
    step = ttl // 8 + 1
    created = stored.created // 1_000_000
    return (stored.expires - created) // step != (int(time.time()) + ttl - created) // step
