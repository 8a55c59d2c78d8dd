"""What every page answers with: whose session it found, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest, JsonResponse

from django_elasticache_sessions import live

#: The field that names the visit a session belongs to, and what the names of numbers begin with.
OWNER = "owner"
NUMBER = "n:"


class ToldToFail(Exception):
    """A view that fails, as views do."""


def seen(data: Mapping[str, Any], user: Any) -> dict[str, object]:
    """Return what a session holds."""
    return {
        "user": user.get_username() if user.is_authenticated else None,
        "owner": data.get(OWNER),
        "numbers": {name: value for name, value in data.items() if name.startswith(NUMBER)},
    }


def found(request: HttpRequest, before: Mapping[str, object]) -> JsonResponse:
    """Answer with what the session held before the request did anything, and its name for staff."""
    return JsonResponse({**before, "session": live.session_id_of(request)})


def signed_out(before: Mapping[str, object]) -> JsonResponse:
    """Answer who may not write because nobody, or nothing, is there."""
    return JsonResponse(before, status=401)


def number(request: HttpRequest) -> tuple[str, int]:
    """Return the number that a request brings, and its name."""
    return request.GET["key"], int(request.GET["value"])


def users() -> Any:
    """Return the manager of users."""
    return get_user_model().objects
