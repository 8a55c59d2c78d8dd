"""The shop's content security policy: no inline script or style, in its own pages and the admin."""

from __future__ import annotations

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


@sync_and_async_middleware
def content_security_policy(get_response):
    """Send the policy with every page. Django 6.0 and newer have a middleware of their own."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            return _with_policy(await get_response(request))

    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:
            return _with_policy(get_response(request))

    return middleware


def _with_policy(response: HttpResponseBase) -> HttpResponseBase:
    response.headers["Content-Security-Policy"] = POLICY
    return response
