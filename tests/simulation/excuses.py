"""When an operation may be answered with "the session store is unavailable"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .promises import Key
from .requests import Request

if TYPE_CHECKING:
    from .world import World

_OF_VISITORS = (
    *("load", "save", "remove", "replace", "touch"),
    *("create", "rotate", "login", "logout"),
)


def may_be_unavailable(world: World, request: Request) -> bool:
    """Tell whether something happened that makes a store unavailable."""
    if world.is_settled or not world.has_had_trouble:
        return not world.is_calm and world.is_settled
    if world.has_database_failed or world.has_previous_failed or world.ledger.is_cache_alone:
        return True
    if request.op.kind not in _OF_VISITORS:
        return True
    key = request.key
    is_unclear = key is not None and (bool(key.left) or _may_be_expired(request, key))
    is_unclear = is_unclear or world.ledger.waits(key)
    return is_unclear and world.ledger.allows("waiting out of reach")


def _may_be_expired(request: Request, key: Key) -> bool:
    reading = request.reading((request.began, request.began_seconds, -1))
    return request.ledger.may_be_expired(key.session, reading)
