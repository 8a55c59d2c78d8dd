"""What is done when a user signs in, and when a password changes."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in
from django.core.signals import request_finished, request_started
from django.db.models.signals import post_save
from django.http import HttpRequest

from .client import CLIENT_FIELD, Client
from .conf import get_configuration
from .current import forget_session


def connect() -> None:
    """Listen to Django's signals."""
    # Not at import time: the base class of sessions needs the app registry.
    from .passwords import end_sessions

    for signal, receiver in (
        (user_logged_in, record_client),
        (post_save, end_sessions),
        (request_started, forget_session),
        (request_finished, forget_session),
    ):
        signal.connect(receiver, dispatch_uid=f"django_elasticache_sessions.{receiver.__name__}")


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
