"""The list of live sessions in the admin: its filter, and its pages between places."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext_lazy as _

from . import live
from .keys import conceal
from .management.users import find_user_ids

_PLACES = ("after", "before")
_PRESERVED = "_changelist_filters"
_WHOSE = "whose"
_CHOICES = {"signed-in": _("Signed in"), "anonymous": _("Anonymous"), "mine": _("Your own")}


def conceal_session_keys(request: HttpRequest) -> bool:
    """Take out of a request's query what may be session keys, and tell whether there were any.

    Django's pages repeat the query, in the search box and in links. What names a user stays, and is
    searched for. Raises `SessionStoreUnavailable`.
    """
    concealed = _concealed(request.GET)
    if concealed == request.GET:
        return False
    request.GET = concealed  # type: ignore[assignment]
    request.META["QUERY_STRING"] = concealed.urlencode()
    return True


def _concealed(query: QueryDict) -> QueryDict:
    shown = query.copy()
    for name, values in query.lists():
        hide = _concealed_filters if name == _PRESERVED else _concealed_value
        shown.setlist(name, [hide(value) for value in values])
    return shown


def _concealed_filters(value: str) -> str:
    filters = QueryDict(value)
    concealed = _concealed(filters)
    return value if concealed == filters else concealed.urlencode()


def _concealed_value(value: str) -> str:
    concealed = conceal(value)
    return value if concealed == value or find_user_ids(value.strip()) else concealed


class KindFilter(admin.SimpleListFilter):
    """Whose sessions to list."""

    title = _("whose")
    parameter_name = _WHOSE

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return list(_CHOICES.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Narrow the list to the choice."""
        match self.value():
            case "mine":
                return queryset.of_users([live.user_id_of(request.user)])  # type: ignore[arg-type]
            case "signed-in" | "anonymous" as kind:
                return queryset.of_kind(kind)
        return None


class LiveSessionChangeList(ChangeList):
    """A page between two places in the list, not the n-th: it stays right while others come."""

    newer: str | None
    older: str | None

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave out the place, which narrows nothing down."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in _PLACES}

    def get_results(self, request: HttpRequest) -> None:
        """Ask for one page."""
        queryset: Any = self.queryset
        after, before = (request.GET.get(name) for name in _PLACES)
        try:
            page = queryset.page(after=after, before=None if after else before)
        except ValueError:
            page = None
        if page is None or ((after or before) and not page[0]):
            messages.warning(request, _("That page does not exist; this is the first one."))
            page = queryset.page(after=None, before=None)
        self.result_list, self.newer, self.older = page
        own = live.session_id_of(request)
        for session in self.result_list:
            session.is_own = session.pk == own
        self.result_count = self.full_result_count = queryset.count()
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        for name in _PLACES:
            # Another filter or search begins at the first page; the search form repeats `params`.
            self.filter_params.pop(name, None)
            self.params.pop(name, None)
        if (whose := self.params.pop(_WHOSE, None)) in _CHOICES:
            self.params[_WHOSE] = whose
            self.filter_params[_WHOSE] = [whose]
        else:
            self.filter_params.pop(_WHOSE, None)

    def get_ordering_field_columns(self) -> dict[int, Any]:
        """Return nothing: there is one order."""
        return {}

    @property
    def newer_url(self) -> str:
        """The address of the page before, empty at the beginning."""
        return self._url(before=self.newer)

    @property
    def older_url(self) -> str:
        """The address of the page after, empty at the end."""
        return self._url(after=self.older)

    def _url(self, **place: str | None) -> str:
        if not all(place.values()):
            return ""
        return self.get_query_string(place, remove=[*_PLACES])
