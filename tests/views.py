"""Pages that do to their session what the query asks for, sync and async."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import auth
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse

#: What the step "meanwhile" calls: tests put there what happens while a view runs.
meanwhile: Callable[[], None] = lambda: None  # noqa: E731


def read(request: HttpRequest) -> JsonResponse:
    """Answer with everything in the session."""
    return JsonResponse(dict(request.session.items()))


async def aread(request: HttpRequest) -> JsonResponse:
    """See read()."""
    return JsonResponse(dict(await request.session.aitems()))


def steps(request: HttpRequest) -> JsonResponse:
    """Do each step, a session method's name and its arguments; answer with the asked status."""
    for name, arguments in _steps(request):
        if name == "set":
            request.session[arguments[0]] = arguments[1]
        else:
            getattr(request.session, name)(*arguments)
    return _answer(request)


async def asteps(request: HttpRequest) -> JsonResponse:
    """See steps()."""
    for name, arguments in _steps(request):
        if name == "clear":
            request.session.clear()
        else:
            await getattr(request.session, f"a{name}")(*arguments)
    return _answer(request)


def login(request: HttpRequest) -> JsonResponse:
    """Sign in with `username` and `password`; answer with the user's name."""
    found = auth.authenticate(
        request, username=request.POST["username"], password=request.POST["password"]
    )
    if found is None:
        raise PermissionDenied
    auth.login(request, found)
    return user(request)


def logout(request: HttpRequest) -> JsonResponse:
    """Sign out; answer with nobody's name."""
    auth.logout(request)
    return user(request)


def user(request: HttpRequest) -> JsonResponse:
    """Answer with the name of the user who is signed in, empty for nobody."""
    return JsonResponse({"user": request.user.get_username()})


def _steps(request: HttpRequest) -> Iterator[tuple[str, list[Any]]]:
    for name, *arguments in json.loads(request.GET["steps"]):
        if name == "meanwhile":
            meanwhile()
        elif name == "forbid":
            raise PermissionDenied
        elif name == "fail":
            raise RuntimeError("a view's own error")
        elif name == "drop":
            del request.session
        else:
            yield name, arguments


def _answer(request: HttpRequest) -> JsonResponse:
    return JsonResponse({}, status=int(request.GET["status"]))
