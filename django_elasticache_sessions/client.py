"""What is kept of the browser that a user signed in with (`RECORD_CLIENT`).

It lies in the session, encrypted like every other field, and goes with it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from django.http import HttpRequest
from django.utils.translation import gettext as _

CLIENT_FIELD = "_client"
#: Longer user agents are cut off: browsers' own have at most about 250 characters.
MAX_USER_AGENT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An IP address and a user agent, each empty where it is not known."""

    ip_address: str = ""
    user_agent: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """Return who sent a request.

        The address is `REMOTE_ADDR` alone: anybody can send an `X-Forwarded-For`, and only the
        project knows which of its proxies to believe. Its own middleware may set `REMOTE_ADDR`.
        """
        agent = request.META.get("HTTP_USER_AGENT", "")
        return cls(ip_address=_address(request.META.get("REMOTE_ADDR")), user_agent=_agent(agent))

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read what `as_value` made; anything else is a client that is not known."""
        if not isinstance(value, dict):
            return cls()
        return cls(ip_address=_address(value.get("ip")), user_agent=_agent(value.get("agent")))

    @property
    def name(self) -> str:
        """The browser and system, such as "Chrome on Linux", or the user agent as it came.

        Named where the extra `devices` is installed; empty where nothing is known.
        """
        browser, system = _browser_and_system(self.user_agent)
        if browser and system:
            return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
        return browser or system or self.user_agent

    def as_value(self) -> dict[str, str]:
        """Return what the session holds."""
        return {"ip": self.ip_address, "agent": self.user_agent}


@lru_cache(maxsize=1024)
def _browser_and_system(user_agent: str) -> tuple[str, str]:
    try:
        from ua_parser import parse
    except ImportError:
        return "", ""
    found = parse(user_agent)
    browser = found.user_agent.family if found.user_agent else ""
    return browser, found.os.family if found.os else ""


def _address(value: object) -> str:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        return ""


def _agent(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_USER_AGENT]).strip()
