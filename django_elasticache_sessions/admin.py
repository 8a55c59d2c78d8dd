"""Live sessions in Django's admin: to be looked at and ended, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import django
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from . import cloudwatch, dashboard, live, sizes
from .changelist import KindFilter, LiveSessionChangeList, conceal_session_keys
from .display import largest_field, printable, table_of_sizes, table_of_values
from .exceptions import PartUnavailable, SessionStoreUnavailable
from .management.users import find_user_ids
from .middleware import or_unavailable
from .models import LiveSession
from .queryset import LiveSessionQuerySet
from .texts import text_of, translated

_REASON = "admin"
_NO_SUCH_SESSION = _("There is no such session; it may have ended.")
#: Sessions that are ended, then logged, at a time.
_BATCH = 500


@admin.register(LiveSession)
class LiveSessionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """View and delete only, each by its own permission; values by a third."""

    actions = ("end_for_users",)
    list_display = ("name", "user", "client", "saved", "weight")
    list_display_links = ("name",)
    list_filter = (KindFilter,)
    list_per_page = 100
    search_fields = ("user",)
    search_help_text = _("A user's name or id, or a session's id.")
    # Counts of each filter would be asked of the queryset in ways that it refuses.
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()
    change_list_template = "admin/django_elasticache_sessions/livesession/change_list.html"

    class Media:
        css = {"all": ["django_elasticache_sessions/livesession.css"]}

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return `False`: visitors make sessions."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return `False`: nobody changes another's session."""
        return False

    def has_view_session_data_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may see values."""
        return request.user.has_perm("django_elasticache_sessions.view_session_data")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return our own, which pages by place."""
        return LiveSessionChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Find a user's sessions, or the one with this id. A session key finds nothing."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if live.get(term):
            return queryset.filter(pk=term), False
        return queryset.of_users(find_user_ids(term)), False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what the page of one session shows."""
        shown = [
            "name",
            "user",
            "client",
            "user_agent",
            "created",
            "saved",
            "expires",
            "size",
            "field_sizes",
        ]
        return [*shown, "values"] if self.has_view_session_data_permission(request) else shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return all of it."""
        return self.get_fields(request, obj)

    @admin.display(description=_("session"))
    def name(self, session: LiveSession) -> str:
        """Show the hashed id."""
        return session.session_id

    @admin.display(description=_("user"))
    def user(self, session: LiveSession) -> str:
        """Show whose it is; in the list, mark that of the user who looks."""
        if not session.is_own:
            return _user_of(session)
        return format_html("{} <strong>{}</strong>", _user_of(session), _("this session"))

    @admin.display(description=_("signed in with"))
    def client(self, session: LiveSession) -> SafeString:
        """Show the browser and the address of the login."""
        client = session.seen.client
        lines = [(line,) for line in (client.name, client.ip_address) if line]
        return format_html_join(SafeString("<br>"), "{}", lines)

    @admin.display(description=_("user agent"))
    def user_agent(self, session: LiveSession) -> str:
        """Show what the browser said of itself at the login."""
        return session.seen.client.user_agent

    @admin.display(description=_("size"))
    def size(self, session: LiveSession) -> str:
        """Show what its fields take in the store."""
        return filesizeformat(session.seen.size_bytes)

    @admin.display(description=_("size, largest field"))
    def weight(self, session: LiveSession) -> str:
        """Show how large it is, and which field makes it so."""
        return format_html(
            "<span>{}</span> {}", self.size(session), largest_field(session.seen.field_sizes)
        )

    @admin.display(description=_("fields"))
    def field_sizes(self, session: LiveSession) -> str:
        """Show each field's size, the largest first."""
        return table_of_sizes(session.seen.field_sizes)

    @admin.display(description=_("values"))
    def values(self, session: LiveSession) -> str:
        """Show the values, but never those that would let somebody in."""
        found = live.get(session.session_id, with_values=True)
        return table_of_values(found.values or {}) if found else ""

    @admin.action(
        permissions=["delete"], description=_("End all sessions of the selected sessions' users")
    )
    def end_for_users(self, request: HttpRequest, queryset: LiveSessionQuerySet) -> Any:
        """Ask, then end every session of the users behind the selected ones."""
        user_ids = {session.seen.user_id for session in queryset if session.seen.user_id}
        everything = LiveSessionQuerySet(LiveSession).of_users(user_ids)
        if not user_ids:
            messages.warning(request, _("Nobody is signed in to the selected sessions."))
            return None
        if request.POST.get("post"):
            ended = self._end(request, list(everything))
            text = ngettext("%(count)d session was ended.", "%(count)d sessions were ended.", ended)
            messages.success(request, text % {"count": ended})
            return None
        return self._page(
            request,
            "end_for_users",
            title=_("Are you sure?"),
            sessions=self._described(request, everything),
            selected=[session.pk for session in queryset],
        )

    def delete_model(self, request: HttpRequest, obj: LiveSession) -> None:
        """End a session."""
        live.end(obj.pk, reason=_REASON)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """End sessions, and log them."""
        self._end(request, list(queryset))

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Log one session that is about to end; several are logged once they have ended."""
        # Django ends one in a transaction, which takes the entry back where the store is lost, but
        # selected ones in none.
        if isinstance(queryset, LiveSessionQuerySet):
            return None
        return super().log_deletions(request, queryset)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Return what the confirmation shows; nothing else goes with a session."""
        shown = self._described(request, objs)
        may = self.has_delete_permission(request)
        needed = set() if may else {str(self.opts.verbose_name)}
        return shown, {str(self.opts.verbose_name_plural): len(shown)}, needed, []

    def response_action(
        self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Take what was ticked on the page, never "all": that may be a million."""
        posted: Any = request.POST.copy()
        posted["select_across"] = "0"
        request.POST = posted
        if not queryset.filter(pk__in=posted.getlist(ACTION_CHECKBOX_NAME)).exists():
            messages.warning(request, _NO_SUCH_SESSION)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        """Add addresses of ours; before the others, which take them for a session's id."""
        ours = {"dashboard": self.dashboard_view, "sizes": self.sizes_view}
        model = f"{self.opts.app_label}_{self.opts.model_name}"
        patterns = [
            *(
                path(f"{name}/", self.admin_site.admin_view(view), name=f"{model}_{name}")
                for name, view in ours.items()
            ),
            *super().get_urls(),
        ]
        for pattern in patterns:
            # The admin reads the session to learn who asks, before any view of ours begins.
            pattern.callback = or_unavailable(pattern.callback)
        return patterns

    def dashboard_view(self, request: HttpRequest) -> HttpResponse:
        """Show how the sessions and their stores are, and which store does not serve."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        span = request.GET.get("span", "")
        span = span if span in dashboard.SPANS else next(iter(dashboard.SPANS))
        stats = live.stats()
        shown = dashboard.make(stats, span, cloudwatch.dashboard.sections())
        return self._page(
            request,
            "dashboard",
            title=_("Dashboard of live sessions"),
            status=200 if stats.live else 503,
            stylesheet="django_elasticache_sessions/dashboard.css",
            dashboard=shown,
            problems=[(part.title, part.problem) for part in shown.sections if part.problem],
            spans=dashboard.SPANS.items(),
            span=span,
            now=timezone.now(),
        )

    def sizes_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the largest of sessions drawn at random, or say that the store does not serve.

        Of those alone: to look at all of them would take as long as there are many.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self._served(request, self._sizes, request)

    def _sizes(self, request: HttpRequest) -> HttpResponse:
        found = sizes.look()
        return self._page(
            request,
            "sizes",
            title=_("Largest sessions"),
            stylesheet="django_elasticache_sessions/livesession.css",
            sizes=found,
            sessions=[(one, largest_field(one.field_sizes)) for one in found.largest],
            fields=[(printable(field.name), field) for field in found.fields],
        )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """List sessions, or say that the store does not serve."""
        return self._served(request, super().changelist_view, request, extra_context)

    def change_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show a session, or say that the store does not serve."""
        return self._served(request, super().change_view, request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Ask, then end a session, or say that the store does not serve."""
        return self._served(request, super().delete_view, request, *args, **kwargs)

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Show what was logged of a session, or say that the store does not serve."""
        return self._served(request, super().history_view, request, *args, **kwargs)

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        # Django's message repeats what stood in the address: a session key, maybe.
        messages.warning(request, _NO_SUCH_SESSION)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def _served(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        *args: Any,
        **kwargs: Any,
    ) -> HttpResponseBase:
        try:
            if conceal_session_keys(request):
                messages.warning(request, _("Session keys find nothing here and are not shown."))
            response = view(*args, **kwargs)
            # The list is read while the page is rendered.
            return response.render() if isinstance(response, SimpleTemplateResponse) else response
        except SessionStoreUnavailable as problem:
            text = translated(text_of(problem))
            return self._page(
                request, "unavailable", title=_("Not available"), status=503, problem=text
            )

    def _page(
        self, request: HttpRequest, name: str, *, title: object, status: int = 200, **shown: object
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "are_breadcrumbs_a_list": django.VERSION >= (6, 1),
        }
        template = f"admin/django_elasticache_sessions/livesession/{name}.html"
        return TemplateResponse(request, template, {**context, **shown}, status=status)

    def _described(self, request: HttpRequest, sessions: Iterable[LiveSession]) -> list[str]:
        own = live.session_id_of(request)
        shown: list[str] = []
        for session in sessions:
            text = f"{session.pk} ({_user_of(session)})"
            if session.pk == own:
                text = str(_("%(session)s: your own, you will be signed out") % {"session": text})
                # First, for the list may be cut off.
                shown.insert(0, text)
            else:
                shown.append(text)
        return shown

    def _end(self, request: HttpRequest, sessions: Sequence[LiveSession]) -> int:
        ended = 0
        for start in range(0, len(sessions), _BATCH):
            batch = sessions[start : start + _BATCH]
            try:
                ended += live.end_all([session.pk for session in batch], reason=_REASON)
            except PartUnavailable:
                # Other nodes of the cluster have ended theirs.
                _log_endings(request, [session for session in batch if _has_ended(session)])
                raise
            # The store may be lost before the next batch: those stay, and out of the log.
            _log_endings(request, batch)
        return ended


def _log_endings(request: HttpRequest, sessions: Sequence[LiveSession]) -> None:
    LogEntry.objects.log_actions(
        user_id=request.user.pk,  # type: ignore[arg-type]
        queryset=sessions,
        action_flag=DELETION,
    )


def _has_ended(session: LiveSession) -> bool:
    try:
        return live.get(session.pk) is None
    except SessionStoreUnavailable:
        return False


def _user_of(session: LiveSession) -> str:
    """Return the user's name, or the id of one who is gone."""
    user_id = session.seen.user_id
    if user_id is None:
        return str(_("anonymous"))
    return session.username or str(_("id %(id)s (no such user)") % {"id": user_id})
