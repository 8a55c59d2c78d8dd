"""An optional session middleware: native async saves, and HTTP 503 while the store is unavailable.

Put `"django_elasticache_sessions.middleware.SessionMiddleware"` in the place of
`"django.contrib.sessions.middleware.SessionMiddleware"`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import TemplateDoesNotExist, loader
from django.template.response import SimpleTemplateResponse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.translation import gettext as _

from .conf import open_keys_at_start
from .exceptions import SessionStoreUnavailable, TransactionFailed

RETRY_AFTER_SECONDS = 2
TEMPLATE_NAME = "503.html"


class SessionMiddleware(DjangoSessionMiddleware):
    """Django's session middleware, without a thread under ASGI.

    A request that fails because the session store is unavailable is answered with HTTP 503,
    `Retry-After` (RFC 9110, 10.2.3) and no `Set-Cookie`: nobody is logged out by an outage. The
    page is the template `503.html` if the project has one. If the request had already rotated the
    session key, as a login does, any answer carries the new one: the old one is dead.

    With `SESSION_SAVE_EVERY_REQUEST`, a cookie that names no session is deleted, and no empty
    session made for it as Django's does.
    """

    def __init__(self, get_response: Any) -> None:
        """Begin to serve. Raises `ImproperlyConfigured` where `KMS_WRAPPED_KEYS` do not open."""
        super().__init__(get_response)
        open_keys_at_start()

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Serve an async request."""
        self.process_request(request)
        response = await self.get_response(request)  # type: ignore[misc]
        return await self.aprocess_response(request, response)

    def process_response(  # type: ignore[override]
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Save the session and set, keep or delete its cookie."""
        session = getattr(request, "session", None)
        return _with_rotated_key(session, self._processed(request, session, response))

    def _processed(
        self, request: HttpRequest, session: Any, response: HttpResponseBase
    ) -> HttpResponseBase:
        if response.status_code == 500 and _is_unavailable(getattr(session, "unavailable", None)):
            # Raised where process_exception() is not asked: in another middleware.
            return self.unavailable_response(request)
        try:
            if session is not None and _asks_for_save(session):
                # Loads it where nobody has: a made-up cookie must not make a session.
                session.get_expiry_age()
            response = super().process_response(request, response)  # type: ignore[arg-type]
        except SessionStoreUnavailable as problem:
            if not _is_unavailable(problem):
                raise
            return self.unavailable_response(request)
        if getattr(session, "is_detached", False):
            # Served without its session: the visitor's cookie stays as it is.
            response.cookies.pop(settings.SESSION_COOKIE_NAME, None)
        return response

    async def aprocess_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """See process_response()."""
        session = getattr(request, "session", None)
        if session is None or not _asks_for_save(session):
            return self.process_response(request, response)
        try:
            request.session = await _save(session, response)  # type: ignore[assignment]
        except SessionStoreUnavailable as problem:
            if not _is_unavailable(problem):
                raise
            return _with_rotated_key(session, self.unavailable_response(request))
        try:
            return self.process_response(request, response)
        finally:
            request.session = session

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer a view's `SessionStoreUnavailable`."""
        return self.unavailable_response(request) if _is_unavailable(exception) else None

    def unavailable_response(self, request: HttpRequest) -> HttpResponseBase:
        """Build the answer to a request that cannot be served without its session."""
        return unavailable_response()


def unavailable_response() -> HttpResponse:
    """Return HTTP 503 with `Retry-After`: the template `503.html`, or a sentence without one."""
    try:
        content = loader.get_template(TEMPLATE_NAME).render({}, None)
    except (TemplateDoesNotExist, OSError):
        # Or no descriptor is left to read it.
        content = _("The service is temporarily unavailable. Please try again shortly.")
    response = HttpResponse(content, status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    patch_cache_control(response, no_store=True)
    return response


def or_unavailable(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer 503 while the store is away, under Django's own session middleware too."""

    @wraps(view)
    def served(*args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(*args, **kwargs)
            # A template may read the session.
            return response.render() if isinstance(response, SimpleTemplateResponse) else response
        except SessionStoreUnavailable as problem:
            if not _is_unavailable(problem):
                raise
            return unavailable_response()

    return served


def _with_rotated_key(session: Any, response: HttpResponseBase) -> HttpResponseBase:
    """Have an answer after a rotation carry the new session key, though nothing else was saved."""
    is_lost = response.status_code >= 500 and getattr(session, "is_rotated", False)
    if is_lost and session.session_key:
        is_brief = session.get_expire_at_browser_close()
        response.set_cookie(
            settings.SESSION_COOKIE_NAME,
            session.session_key,
            max_age=None if is_brief else session.get_expiry_age(),
            domain=settings.SESSION_COOKIE_DOMAIN,
            path=settings.SESSION_COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=settings.SESSION_COOKIE_HTTPONLY,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        )
        patch_vary_headers(response, ("Cookie",))
    return response


def _is_unavailable(problem: Exception | None) -> bool:
    """Tell whether a problem is of a store, and not of how the caller used a transaction."""
    return isinstance(problem, SessionStoreUnavailable) and not isinstance(
        problem, TransactionFailed
    )


class _Saved:
    """A session whose save has been awaited, as Django's synchronous middleware may ask of it."""

    def __init__(self, session: Any, failure: UpdateError | None) -> None:
        self._session = session
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def save(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _save(session: Any, response: HttpResponseBase) -> _Saved:
    # Loads the session where nobody has, so that what follows needs no input or output.
    await session.aget_expiry_age()
    if response.status_code >= 500 or session.is_empty():
        return _Saved(session, None)
    try:
        await session.asave()
    except UpdateError as failure:
        return _Saved(session, failure)
    return _Saved(session, None)


def _asks_for_save(session: Any) -> bool:
    return (session.modified or settings.SESSION_SAVE_EVERY_REQUEST) and not session.is_empty()
