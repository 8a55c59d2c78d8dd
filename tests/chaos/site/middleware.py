"""Our middleware, which also says in the log why it answers 503."""

from __future__ import annotations

import sys
import traceback

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_elasticache_sessions.middleware import SessionMiddleware


class TellingSessionMiddleware(SessionMiddleware):
    """See the module."""

    def unavailable_response(self, request: HttpRequest) -> HttpResponseBase:
        """Answer 503."""
        sys.stderr.write(f"503 {request.method} {request.path}\n{traceback.format_exc()}")
        return super().unavailable_response(request)
