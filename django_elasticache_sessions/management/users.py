"""Users as people name them on the command line and in a search box."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError

from .. import live


def find_user_ids(text: str) -> tuple[str, ...]:
    """Return the ids of whom a text means: by name, else by primary key; none for nobody.

    An id of a user who was deleted still means the sessions that are left of him.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        # Bytes of a command line that are no text name nobody, and no database takes them.
        return ()
    manager: Any = get_user_model()._default_manager
    try:
        return (live.user_id_of(manager.get_by_natural_key(text)),)
    except ObjectDoesNotExist:
        pass
    try:
        return (live.user_id_of(manager.get(pk=text)),)
    except (ObjectDoesNotExist, ValidationError, ValueError, TypeError, OverflowError):
        return (text,) if live.for_user(text, limit=1) else ()
