"""The Django site that the HTTP measurement asks: each request reads two keys and changes one.

`wsgi` and `asgi` are its applications; the environment names the engine and where its sessions are.
"""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from .engines import ENGINES, Engine, Place, set_up
from .scenarios import CHANGED_KEY, READ_KEYS

ENGINE, HOST, PORT, FOLDER = (f"BENCHMARK_{name}" for name in ("ENGINE", "HOST", "PORT", "FOLDER"))


def make_environment(engine: Engine, place: Place) -> dict[str, str]:
    """Return what a server process must find in its environment."""
    return {ENGINE: engine.name, HOST: place.host, PORT: str(place.port), FOLDER: str(place.folder)}


def change(request: HttpRequest) -> HttpResponse:
    """Answer what was read, and leave something to save."""
    session = request.session
    found = [str(session[key]) for key in READ_KEYS]
    session[CHANGED_KEY] = time.time_ns()
    return HttpResponse(" ".join(found))


async def _aget(session: Any, key: str) -> str:
    value = await session.aget(key)
    if value is None:
        raise KeyError(f"The session has no {key!r}: it was not found.")
    return str(value)


async def achange(request: HttpRequest) -> HttpResponse:
    """See change()."""
    session = request.session
    found = [await _aget(session, key) for key in READ_KEYS]
    await session.aset(CHANGED_KEY, time.time_ns())
    return HttpResponse(" ".join(found))


urlpatterns = [path("wsgi", change), path("asgi", achange)]


@cache
def _set_up_from_environment() -> None:
    engine = next(engine for engine in ENGINES if engine.name == os.environ[ENGINE])
    place = Place(
        host=os.environ[HOST], port=int(os.environ[PORT]), folder=Path(os.environ[FOLDER])
    )
    set_up(engine, place)


def __getattr__(name: str) -> Any:
    """Make `wsgi` or `asgi` when a server asks for it; Django itself only wants the URLs."""
    if name not in ("wsgi", "asgi"):
        raise AttributeError(name)
    _set_up_from_environment()
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler() if name == "wsgi" else ASGIHandler()
