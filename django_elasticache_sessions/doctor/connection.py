"""How the session cache is reached, by the options of its connections."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from redis.connection import SSLConnection, UnixDomainSocketConnection

from .findings import Finding, advice, ok, problem

_TURN_ON = (
    "Turn on encryption in transit, and write the LOCATION of the session cache as "
    '"rediss://<host>:6379/0".'
)


def judge_transport(connection_class: type[Any], kwargs: Mapping[str, Any]) -> Iterator[Finding]:
    """Tell whether anybody on the way can read or change what is said."""
    if issubclass(connection_class, UnixDomainSocketConnection):
        yield ok("transport", "a socket of this machine")
    elif issubclass(connection_class, SSLConnection):
        yield _judge_certificate(kwargs)
    elif _is_here(kwargs.get("host")):
        yield advice("transport", "without TLS, within this machine", _TURN_ON)
    else:
        yield problem(
            "transport", "without TLS: passwords and sessions can be read on the way", _TURN_ON
        )


def _judge_certificate(kwargs: Mapping[str, Any]) -> Finding:
    if kwargs.get("ssl_cert_reqs", "required") in ("none", "optional", ssl.CERT_NONE, None):
        return problem(
            "transport",
            "TLS, but the server's certificate is not verified: anybody can stand in for it",
            "Remove ssl_cert_reqs from CONNECTION_POOL_KWARGS and LOCATION; an authority of your "
            "own goes into ssl_ca_certs.",
        )
    if kwargs.get("ssl_check_hostname") is False:
        return advice(
            "transport",
            "TLS, but it is not verified that the certificate is this host's",
            "Remove ssl_check_hostname from CONNECTION_POOL_KWARGS.",
        )
    return ok("transport", "TLS, with the server's certificate verified")


def judge_user(user: str | None, kwargs: Mapping[str, Any]) -> Finding:
    """Tell who we are to the server."""
    name = user or kwargs.get("username") or "default"
    if kwargs.get("credential_provider"):
        return ok("user", f"{_shown(user)}, by a credential provider")
    if not kwargs.get("password"):
        return problem(
            "user",
            f"{name!r}, without a password: whoever reaches the server can read, end and flood "
            "sessions",
            'Make a user and write "USERNAME" and "PASSWORD" in the OPTIONS of the session cache.',
        )
    if name == "default":
        return advice(
            "user",
            "'default', with a password: it may do everything",
            "Make a user for sessions; docs/server.rst has the rule.",
        )
    return ok("user", f"{name!r}, with a password")


def _shown(user: str | None) -> str:
    return repr(user) if user else "a user"


def _is_here(host: object) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
