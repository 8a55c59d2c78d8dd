"""The pages, natively async: no thread for the sessions. See `views` for what each does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.contrib.auth import alogin, alogout, aupdate_session_auth_hash
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore

from . import views
from .answers import NUMBER, OWNER, found, number, seen, signed_out, users

View = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def _seen(request: HttpRequest) -> dict[str, object]:
    user = await request.auser()
    return seen(dict(await request.session.aitems()), user)


def for_visitors(view: Callable[[HttpRequest, dict[str, object]], Awaitable[Any]]) -> View:
    """Serve whoever is signed in."""

    @wraps(view)
    async def served(request: HttpRequest) -> HttpResponse:
        before = await _seen(request)
        return await view(request, before) if before["user"] else signed_out(before)

    return served


async def read(request: HttpRequest) -> HttpResponse:
    """See views."""
    return found(request, await _seen(request))


async def enter(request: HttpRequest) -> HttpResponse:
    """See views."""
    await request.session.aset(OWNER, request.GET["owner"])
    await request.session.aset(f"{NUMBER}before", 1)
    return JsonResponse({"owner": request.GET["owner"]})


async def login(request: HttpRequest) -> HttpResponse:
    """See views."""
    before = await _seen(request)
    await alogin(request, await users().aget(username=request.GET["user"]))
    await request.session.aset(OWNER, request.GET["owner"])
    return found(request, before)


@for_visitors
async def write(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """See views."""
    await request.session.aset(*number(request))
    return found(request, before)


@for_visitors
async def rotate(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """See views."""
    await request.session.acycle_key()
    return found(request, before)


@for_visitors
async def logout(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """See views."""
    await alogout(request)
    return JsonResponse(before)


@for_visitors
async def password(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """See views."""
    user: Any = await request.auser()
    user.set_password(uuid4().hex)
    await user.asave()
    await aupdate_session_auth_hash(request, user)
    return found(request, before)


async def end(request: HttpRequest) -> HttpResponse:
    """See views."""
    return JsonResponse({"ended": await live.aend(request.GET["session"])})


async def end_for_user(request: HttpRequest) -> HttpResponse:
    """See views."""
    user = await users().aget(username=request.GET["user"])
    ended = await live.aend_for_user(user)
    return JsonResponse({"ended": ended if ended.is_complete else None})


async def command(request: HttpRequest) -> HttpResponse:
    """See views."""
    return await sync_to_async(_command, thread_sensitive=False)(request)


def _command(request: HttpRequest) -> HttpResponse:
    try:
        return views.command(request)
    finally:
        connections.close_all()


async def probe(request: HttpRequest) -> HttpResponse:
    """See views."""
    return HttpResponse("serving")


async def new_probe(request: HttpRequest) -> HttpResponse:
    """See views."""
    session = SessionStore()
    session["is_probe"] = True
    await session.asave()
    return JsonResponse({"session": session.session_id, "owner": session.session_key})


async def is_probe(request: HttpRequest) -> HttpResponse:
    """See views."""
    session = SessionStore(request.GET["owner"])
    is_served = await session.aget("is_probe")
    return JsonResponse({"ended": int(bool(is_served))})


PLAIN = (read, enter, login, write, rotate, logout, password, end, end_for_user, command)
FOR_THE_SUITE = (probe, new_probe, is_probe)
