"""What is done when a user signs in."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest

from .client import CLIENT_FIELD, Client
from .conf import get_configuration


def connect() -> None:
    """Listen to Django's signals."""
    user_logged_in.connect(record_client, dispatch_uid="django_elasticache_sessions.record_client")


def record_client(sender: Any, request: HttpRequest | None, **kwargs: Any) -> None:
    """Keep who signed in in the session, which is about to be saved anyway (`RECORD_CLIENT`)."""
    # Not at import time: the base class needs the app registry.
    from .backends.base import HashSessionStore

    session = getattr(request, "session", None)
    if (
        request is not None
        and isinstance(session, HashSessionStore)
        and get_configuration().options.record_client
    ):
        session[CLIENT_FIELD] = Client.of(request).as_value()
