"""Ending a user's sessions when the password changes (`END_SESSIONS_ON_PASSWORD_CHANGE`)."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from . import live
from .conf import get_configuration
from .current import current_session
from .exceptions import SessionStoreUnavailable

logger = logging.getLogger("django_elasticache_sessions")

_REASON = "password"
_ONE_STORE = "one of the two stores could not be asked for the user's other sessions"
_LOST_KEYS = "not all sessions could be looked through for the user's: the store has lost keys"


def end_sessions(
    sender: Any,
    instance: Any,
    *,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> None:
    """End a user's sessions once a new password is committed, all but the request's own.

    That one stays, so that Django's `update_session_auth_hash()` can rotate it; where nobody calls
    it, Django signs it out when it is next used.
    """
    # Set by set_password() until the user is saved, but not when a stored hash is merely upgraded.
    if getattr(instance, "_password", None) is None or created or raw:
        return
    if update_fields is not None and "password" not in update_fields:
        return
    if (
        isinstance(instance, get_user_model())
        and get_configuration().options.end_sessions_on_password_change
    ):
        end = partial(_end, live.user_id_of(instance), current_session())
        # The change is made: whatever goes wrong now is logged and does not take it back.
        transaction.on_commit(end, using=using, robust=True)


def _end(user_id: str, kept: Any) -> None:
    try:
        ended = live.end_for_user(user_id, keep=kept, reason=_REASON)
        if not ended.is_complete:
            logger.warning(
                "A password was changed, but %s. "
                "Django signs out what it had when it is next used.",
                _ONE_STORE if len(live.get_store_class()._listings) > 1 else _LOST_KEYS,
            )
    except SessionStoreUnavailable as problem:
        logger.error(
            "A password was changed, but the user's other sessions could not be ended in the "
            "store. Django signs each out when it is next used. %s",
            problem,
        )
