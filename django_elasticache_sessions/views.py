""" "Your devices": a signed-in user's own sessions, to be looked at and ended.

The pages come from one template, `django_elasticache_sessions/devices.html`, which a project may
override whole or by its blocks. The addresses are in `urls`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.generic import TemplateView

from . import live
from .middleware import or_unavailable

_REASON = "device"
#: The sessions that one page lists; the others end with "all others".
MOST_SHOWN = 100


@method_decorator([never_cache, or_unavailable, csrf_protect], name="dispatch")
class _OwnSessions(LoginRequiredMixin, TemplateView):
    template_name = "django_elasticache_sessions/devices.html"

    def own_sessions(self) -> list[live.LiveSession]:
        """Return the user's sessions, this one first: no more than are shown."""
        user: Any = self.request.user
        current_id = live.session_id_of(self.request)
        sessions = live.for_user(user, limit=MOST_SHOWN)
        current = [session for session in sessions if session.session_id == current_id]
        if not current and current_id:
            current = live.get_all([current_id])
        others = [session for session in sessions if session.session_id != current_id]
        return [*current, *others][:MOST_SHOWN]

    def named(self, name: str) -> str:
        """Return the full name of one of the addresses, under the namespace of this one."""
        match = self.request.resolver_match
        return ":".join([*(match.namespaces if match else ["devices"]), name])

    def handle_no_permission(self) -> HttpResponseRedirect:
        """Redirect to the login, and from there to the list: a POST cannot be gone back to."""
        address = reverse(self.named("list"))
        login_url = resolve_url(self.get_login_url())
        if urlsplit(login_url).netloc not in ("", self.request.get_host()):
            address = self.request.build_absolute_uri(address)
        return redirect_to_login(address, login_url, self.get_redirect_field_name())

    def back_to_list(self) -> HttpResponse:
        """Redirect to the list."""
        return HttpResponseRedirect(reverse(self.named("list")))


class DevicesView(_OwnSessions):
    """List the user's own sessions.

    The template has `sessions`, `current_id` and `count`, and the names of the addresses that end
    them: `end` and `end_others`.
    """

    http_method_names = ["get", "head", "options"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Put this session first."""
        sessions = self.own_sessions()
        is_all = len(sessions) < MOST_SHOWN
        user: Any = self.request.user
        shown = {
            "sessions": sessions,
            "current_id": live.session_id_of(self.request),
            "count": len(sessions) if is_all else live.count_for_user(user),
            "end": self.named("end"),
            "end_others": self.named("end-others"),
        }
        return super().get_context_data(**shown, **kwargs)


class EndDeviceView(_OwnSessions):
    """End one of the user's own sessions, by POST alone. Any other id is 404."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, session_id: str) -> HttpResponse:
        """End it; with this one, log out."""
        if session_id == live.session_id_of(request):
            logout(request)
            return HttpResponseRedirect(resolve_url(settings.LOGOUT_REDIRECT_URL or "/"))
        user: Any = request.user
        found = live.get(session_id)
        is_own = found is not None and found.user_id == live.user_id_of(user)
        if not is_own or not live.end(session_id, reason=_REASON):
            raise Http404
        messages.success(request, _("The device was signed out."))
        return self.back_to_list()


class EndOtherDevicesView(_OwnSessions):
    """End all of the user's own sessions but this one, by POST alone."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """End them."""
        user: Any = request.user
        ended = live.end_for_user(user, keep=live.session_id_of(request), reason=_REASON)
        text = ngettext(
            "%(count)d other device was signed out.",
            "%(count)d other devices were signed out.",
            ended,
        )
        messages.success(request, text % {"count": ended})
        if not ended.is_complete:
            messages.warning(request, _("Some devices may still be signed in. Try again later."))
        return self.back_to_list()
