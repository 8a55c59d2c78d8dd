"""Live sessions as a `QuerySet`, so that the admin lists, shows and ends them like any model.

It is asked for all, for one kind, for a user's or for some ids; whatever else a `QuerySet` can do
is refused, not answered wrongly. Nothing is read from a table: `live` is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import NotSupportedError, models

from . import live
from .listing import Kind, Place

if TYPE_CHECKING:
    from .models import LiveSession

#: Sessions listed where nobody said how many.
PAGE_SIZE = 100


class LiveSessionQuerySet(models.QuerySet["LiveSession"]):
    """A question to `live`. Raises `SessionStoreUnavailable` when it is asked."""

    ordered = True
    totally_ordered = True

    _kind: Kind = "all"
    _user_ids: tuple[str, ...] | None = None
    _session_ids: tuple[str, ...] | None = None
    _found: list[live.LiveSession] | None = None

    def of_kind(self, kind: Kind) -> Self:
        """Return the question narrowed to `"signed-in"` or `"anonymous"` sessions."""
        clone = self._clone()
        clone._kind = kind
        return clone

    def of_users(self, user_ids: Iterable[str]) -> Self:
        """Return the question narrowed to users, by the ids that Django keeps in sessions."""
        clone = self._clone()
        clone._user_ids = _narrowed(self._user_ids, user_ids)
        return clone

    def page(self, *, after: str | None, before: str | None) -> tuple[Self, str | None, str | None]:
        """Return a hundred sessions next to a place, and the places to go on: newer, older.

        Raises `ValueError` for a place that is none.
        """
        if self._user_ids is None and self._session_ids is None:
            page = live.page(after, PAGE_SIZE, before=before, kind=self._kind)
            return self._filled(page.sessions), page.newer, page.older
        sessions, at = self._few(), after or before
        if at is not None:
            place = Place.parse(at).order
            sessions = [
                session
                for session in sessions
                if (_place(session).order > place if after else _place(session).order < place)
            ]
        shown = sessions[-PAGE_SIZE:] if before else sessions[:PAGE_SIZE]
        has_more = len(sessions) > len(shown)
        newer = str(_place(shown[0])) if shown and (has_more if before else after) else None
        older = str(_place(shown[-1])) if shown and (before or has_more) else None
        return self._filled(shown), newer, older

    def count(self) -> int:
        """Return how many sessions there are."""
        if self._result_cache is not None:
            return len(self._result_cache)
        if self._user_ids is not None or self._session_ids is not None:
            return len(self._few())
        counts = live.count()
        return {
            "all": counts.signed_in + counts.anonymous,
            "signed-in": counts.signed_in,
            "anonymous": counts.anonymous,
        }[self._kind]

    def exists(self) -> bool:
        """Tell whether there is any."""
        return self.count() > 0

    def filter(self, *args: Any, **kwargs: Any) -> Self:
        """Narrow the question to ids: `pk`, `session_id` or `pk__in`; refuse anything else."""
        clone = self._clone()
        if not any(args) and not kwargs:
            # The admin gives an empty Q() where nothing is asked.
            return clone
        [(name, value)] = kwargs.items() if len(kwargs) == 1 and not args else [("", None)]
        if name in ("pk", "session_id", "session_id__exact"):
            clone._session_ids = _narrowed(self._session_ids, (str(value),))
        elif name in ("pk__in", "session_id__in") and value is not None:
            clone._session_ids = _narrowed(self._session_ids, map(str, value))
        else:
            self._refuse()
        return clone

    def get(self, *args: Any, **kwargs: Any) -> LiveSession:
        """Return the one session with this `pk`. Raises `LiveSession.DoesNotExist`."""
        found = list(self.filter(*args, **kwargs))
        if len(found) != 1:
            raise self.model.DoesNotExist("No such live session.")
        return found[0]

    def none(self) -> Self:
        """Return the question for nothing."""
        clone = self._clone()
        clone._session_ids = ()
        return clone

    def all(self) -> Self:
        """Return the same question, to be asked again."""
        return self._clone()

    def order_by(self, *field_names: Any) -> Self:
        """Return the same question: there is one order, by expiry, the last to expire first."""
        return self._clone()

    def select_related(self, *fields: Any) -> Self:
        """Return the same question: nothing is related."""
        return self._clone()

    def using(self, alias: str | None) -> Self:
        """Return the same question: no database of `DATABASES` is asked."""
        return self._clone()

    def _few(self) -> list[live.LiveSession]:
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> list[live.LiveSession]:
        if self._user_ids is None:
            sessions = live.get_all(self._session_ids or ())
        else:
            sessions = [session for user_id in self._user_ids for session in live.for_user(user_id)]
        return sorted(filter(self._takes, sessions), key=lambda session: _place(session).order)

    def _takes(self, session: live.LiveSession) -> bool:
        if self._session_ids is not None and session.session_id not in self._session_ids:
            return False
        return self._kind == "all" or session.is_signed_in == (self._kind == "signed-in")

    def _filled(self, sessions: Sequence[live.LiveSession]) -> Self:
        users = _users({session.user_id for session in sessions if session.user_id})
        clone = self._clone()
        clone._result_cache = [
            self.model.of(session, users.get(session.user_id or "")) for session in sessions
        ]
        return clone

    def _fetch_all(self) -> None:
        if self._result_cache is None:
            if self._user_ids is None and self._session_ids is None:
                raise NotSupportedError("All live sessions at once may be too many; take a page().")
            self._result_cache = self._filled(self._few())._result_cache

    def _clone(self) -> Self:
        clone: Self = super()._clone()  # type: ignore[misc]
        clone._kind = self._kind
        clone._user_ids = self._user_ids
        clone._session_ids = self._session_ids
        return clone

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotSupportedError(
            "Live sessions are not in a table; django_elasticache_sessions.live has what can be "
            "asked of them."
        )

    # What would ask the database.
    aggregate = annotate = bulk_create = bulk_update = complex_filter = create = dates = _refuse
    datetimes = delete = earliest = exclude = explain = extra = get_or_create = in_bulk = _refuse
    intersection = difference = iterator = latest = raw = union = update = _refuse
    update_or_create = values = values_list = alias = reverse = distinct = _refuse


def _narrowed(ids: tuple[str, ...] | None, to: Iterable[str]) -> tuple[str, ...]:
    return tuple(one for one in dict.fromkeys(to) if ids is None or one in ids)


def _place(session: live.LiveSession) -> Place:
    return Place(int(session.expires.timestamp()), session.is_signed_in, session.session_id)


def _users(user_ids: set[str]) -> dict[str, str]:
    """Return the names of the users who still have a row, in one query."""
    if not user_ids:
        return {}
    model: Any = get_user_model()
    keys = []
    for user_id in user_ids:
        try:
            keys.append(model._meta.pk.to_python(user_id))
        except ValidationError:
            # Of another user model, whose ids looked different.
            continue
    found = model._default_manager.filter(pk__in=keys)
    return {live.user_id_of(user): user.get_username() for user in found}
