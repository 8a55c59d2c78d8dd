"""The pages, sync."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from io import StringIO
from uuid import uuid4

from django.contrib.auth import login as log_in
from django.contrib.auth import logout as log_out
from django.contrib.auth import update_session_auth_hash
from django.core.management import call_command
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from django_elasticache_sessions import live
from django_elasticache_sessions.backends.cache import SessionStore

from .answers import NUMBER, OWNER, ToldToFail, found, number, seen, signed_out, users

View = Callable[[HttpRequest], HttpResponse]


def plain(view: View) -> View:
    """Ask for no transaction under ATOMIC_REQUESTS, and leave the view itself as it is."""

    @transaction.non_atomic_requests(using="sessions")
    @wraps(view)
    def served(request: HttpRequest) -> HttpResponse:
        return view(request)

    return served


def for_visitors(view: Callable[[HttpRequest, dict[str, object]], HttpResponse]) -> View:
    """Serve whoever is signed in."""

    @wraps(view)
    def served(request: HttpRequest) -> HttpResponse:
        before = seen(dict(request.session.items()), request.user)
        return view(request, before) if before["user"] else signed_out(before)

    return served


def read(request: HttpRequest) -> HttpResponse:
    """Say what there is."""
    return found(request, seen(dict(request.session.items()), request.user))


def enter(request: HttpRequest) -> HttpResponse:
    """Begin an anonymous session."""
    request.session[OWNER] = request.GET["owner"]
    request.session[f"{NUMBER}before"] = 1
    return JsonResponse({"owner": request.GET["owner"]})


def login(request: HttpRequest) -> HttpResponse:
    """Sign somebody in, whose anonymous session becomes theirs."""
    before = seen(dict(request.session.items()), request.user)
    log_in(request, users().get(username=request.GET["user"]))
    request.session[OWNER] = request.GET["owner"]
    return found(request, before)


@for_visitors
def write(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """Keep a number."""
    name, value = number(request)
    request.session[name] = value
    return found(request, before)


@for_visitors
def rotate(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """Have another key for the same session."""
    request.session.cycle_key()
    return found(request, before)


@for_visitors
def logout(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """End the session."""
    log_out(request)
    return JsonResponse(before)


@for_visitors
def password(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """Change the password, which ends the user's other sessions."""
    request.user.set_password(uuid4().hex)
    request.user.save()
    update_session_auth_hash(request, request.user)
    return found(request, before)


@for_visitors
def write_and_fail(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """Save a number, and fail: under ATOMIC_REQUESTS it was never there."""
    name, value = number(request)
    request.session[name] = value
    request.session.save()
    raise ToldToFail


@for_visitors
def login_and_fail(request: HttpRequest, before: dict[str, object]) -> HttpResponse:
    """Sign in once more, and fail: the session is what it was."""
    log_in(request, request.user)
    request.session.save()
    raise ToldToFail


def end(request: HttpRequest) -> HttpResponse:
    """Have staff end a session."""
    return JsonResponse({"ended": live.end(request.GET["session"])})


def end_for_user(request: HttpRequest) -> HttpResponse:
    """Have staff end all sessions of a user."""
    user = users().get(username=request.GET["user"])
    ended = live.end_for_user(user)
    # Staff is told to try again where one of the stores could not be asked.
    return JsonResponse({"ended": ended if ended.is_complete else None})


def end_and_fail(request: HttpRequest) -> HttpResponse:
    """Have staff end all sessions of a user, and fail: none has ended."""
    live.end_for_user(users().get(username=request.GET["user"]))
    raise ToldToFail


def command(request: HttpRequest) -> HttpResponse:
    """Run a management command, for a user if there is one; fail where it does."""
    words = ["--no-input", f"--user={request.GET['user']}"] if "user" in request.GET else []
    call_command(request.GET["name"], *words, stdout=StringIO(), stderr=StringIO())
    return JsonResponse({})


def probe(request: HttpRequest) -> HttpResponse:
    """Answer that the process serves, without a session."""
    return HttpResponse("serving")


def new_probe(request: HttpRequest) -> HttpResponse:
    """Begin a session of the `cache` engine, which no database has."""
    session = SessionStore()
    session["is_probe"] = True
    session.save()
    return JsonResponse({"session": session.session_id, "owner": session.session_key})


def is_probe(request: HttpRequest) -> HttpResponse:
    """Say whether such a session is served."""
    session = SessionStore(request.GET["owner"])
    is_served = session.get("is_probe")
    return JsonResponse({"ended": int(bool(is_served))})


PLAIN = (read, enter, login, write, rotate, logout, password, end, end_for_user, command)
FOR_THE_SUITE = (probe, new_probe, is_probe)
FAILING = (write_and_fail, login_and_fail, end_and_fail)
#: In a transaction of the sessions' database.
ATOMIC = (read, login, write, rotate, logout, password, end, end_for_user, *FAILING)
