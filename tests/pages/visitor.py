"""A browser with its cookies, before a WSGI or an ASGI server: the same words for both."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from django.conf import settings
from django.http.cookie import SimpleCookie
from django.test import AsyncClient, Client


class Visitor:
    """Visits sync pages over WSGI. Errors in views are answers of status 500, as in production."""

    def __init__(self) -> None:
        self._client = Client(raise_request_exception=False)

    def __enter__(self) -> Self:
        """Return the visitor."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave nothing behind."""

    @property
    def session_key(self) -> str | None:
        """The value of the session cookie."""
        morsel = self._client.cookies.get(settings.SESSION_COOKIE_NAME)
        return morsel.value if morsel else None

    @session_key.setter
    def session_key(self, value: str) -> None:
        self._client.cookies[settings.SESSION_COOKIE_NAME] = value

    def forget(self) -> None:
        """Throw all cookies away."""
        self._client.cookies = SimpleCookie()

    def get(self, path: str, **arguments: Any) -> Any:
        """Visit a page; `headers` and the query in `query_params` as Django's client has them."""
        return self._send("get", path, **arguments)

    def post(self, path: str, data: dict[str, str] | None = None) -> Any:
        """Send a form."""
        return self._send("post", path, data=data)

    def take(self, *steps: tuple[Any, ...], status: int = 200, **arguments: Any) -> Any:
        """Have a view call the session's methods, and answer with a status."""
        query = {"steps": json.dumps(steps), "status": str(status)}
        return self.get("/steps/", query_params=query, **arguments)

    def read(self, **arguments: Any) -> Any:
        """Have a view read the whole session."""
        return self.get("/read/", **arguments)

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        return getattr(self._client, method)(path, **arguments)


class AsyncVisitor(Visitor):
    """Visits async pages over ASGI."""

    def __init__(self) -> None:
        self._client = AsyncClient(raise_request_exception=False)
        self._runner = asyncio.Runner()

    def __exit__(self, *exception: object) -> None:
        """Close the event loop."""
        self._runner.close()

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        return self._runner.run(super()._send(method, f"/async{path}", **arguments))
