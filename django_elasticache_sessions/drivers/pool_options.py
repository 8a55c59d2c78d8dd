"""What the options of a connection must be, as a table.

Only what redis-py fails at is found wrong, and only where it would use it. Sources: `__init__` and
`_connect` of its connections and pools.
"""

from __future__ import annotations

import inspect
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from redis.connection import Connection, parse_url

IN_POOL, IN_SENTINELS, IN_LOCATION, IN_OPTIONS = (
    "CONNECTION_POOL_KWARGS",
    "SENTINEL_KWARGS",
    "LOCATION",
    "OPTIONS",
)
#: The code of what redis-py fails at by an error of Python's, before anything is sent.
RAISED = "E020"
_LONGEST_SHOWN = 40
_PROVIDER = "credential_provider"
_VERIFY_MODES = ("none", "optional", "required")
_KEEPALIVE_BY_DEFAULT: Any = (
    inspect.signature(Connection).parameters["socket_keepalive"].default or False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An option that no connection can be made with, and the line to write in its place."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an option must be. `example` is Python; `in_url` whether a URL can say it at all."""

    expected: str
    is_right: Callable[[Any], bool]
    example: str
    in_url: bool = True
    code: str = RAISED


def find_problems(alias: str, options: Mapping[str, Any], url: str) -> Iterator[Problem]:
    """Yield what is wrong in the `OPTIONS` of an alias and the `LOCATION` that is used.

    What is overridden elsewhere is not used, and so not looked at.
    """
    for name, rule in _OPTIONS.items():
        if name in options and not rule.is_right(options[name]):
            yield _problem(alias, IN_OPTIONS, name, options[name], rule)
    found = {
        name: (place, value)
        for place, values in ((IN_POOL, options.get(IN_POOL)), (IN_LOCATION, _query(url)))
        if isinstance(values, Mapping)
        for name, value in values.items()
    }
    yield from _wrong(alias, found)
    sentinels = options.get(IN_SENTINELS)
    if isinstance(sentinels, Mapping):
        named = {name: (IN_SENTINELS, value) for name, value in sentinels.items()}
        yield from _wrong(alias, named)


def _wrong(alias: str, found: Mapping[str, tuple[str, Any]]) -> Iterator[Problem]:
    _, keeps_alive = found.get("socket_keepalive", ("", _KEEPALIVE_BY_DEFAULT))
    for name, rule in _POOL.items():
        if name not in found or (name == "socket_keepalive_options" and not keeps_alive):
            continue
        place, value = found[name]
        if not rule.is_right(value):
            yield _problem(alias, place, name, value, rule)


def _query(url: str) -> Mapping[str, Any]:
    try:
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        # Not a URL: another check tells.
        return {}
    return options


def _problem(alias: str, place: str, name: str, value: Any, rule: _Rule) -> Problem:
    line = _number_in(value) if rule.example.replace(".", "").isdigit() else None
    line = line if line is not None and rule.is_right(float(line)) else rule.example
    of_alias = f"CACHES[{alias!r}]"
    if place == IN_OPTIONS:
        hint = f'Write "{name}": {line} in the OPTIONS of {of_alias}, or remove it.'
    elif place == IN_LOCATION and rule.in_url:
        text = line.strip('"')
        hint = f'Write "{name}={text}" in the LOCATION of {of_alias}, or remove it.'
    else:
        kwargs = IN_POOL if place == IN_LOCATION else place
        removing = "Remove it from the LOCATION, and write" if place == IN_LOCATION else "Write"
        hint = f'{removing} "{kwargs}": {{"{name}": {line}}} in the OPTIONS of {of_alias}.'
    return Problem(
        code=rule.code,
        message=f"{of_alias}: {name!r} in its {place} must be {rule.expected}, found "
        f"{_shown(name, value)}.",
        hint=hint,
    )


def _shown(name: str, value: Any) -> str:
    is_plain = value is None or isinstance(value, (str, int, float))
    if name == _PROVIDER or not is_plain or len(str(value)) > _LONGEST_SHOWN:
        return type(value).__name__
    return repr(value)


def _number_in(value: Any) -> str | None:
    """Return the number that a text holds, as it is written in Python."""
    try:
        number = float(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if number is None or number != number or number in (float("inf"), float("-inf")):
        return None
    return str(int(number)) if number == int(number) else str(number)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_wait(value: Any) -> bool:
    return value is None or (_is_number(value) and 0 <= value <= threading.TIMEOUT_MAX)


def _is_wait_above_0(value: Any) -> bool:
    return value is None or (_is_wait(value) and value > 0)


def _is_wait_of_django_redis(value: Any) -> bool:
    return not value or _is_wait_above_0(value)


def _is_interval(value: Any) -> bool:
    return not value or _is_number(value)


def _is_most(value: Any) -> bool:
    return not value or (isinstance(value, int) and value > 0)


def _is_database(value: Any) -> bool:
    try:
        return not value or (int(value) > 0 and str(int(value)) == str(value))
    except (TypeError, ValueError):
        return False


def _is_provider(value: Any) -> bool:
    return not value or not isinstance(value, (str, bytes, int, float, Mapping, list, tuple))


def _is_retry(value: Any) -> bool:
    return not value or callable(getattr(value, "call_with_retry", None))


def _is_keepalive(value: Any) -> bool:
    return not value or (
        isinstance(value, Mapping)
        and all(isinstance(option, int) for option in value)
        and all(isinstance(setting, (int, bytes)) for setting in value.values())
    )


def _is_verify_mode(value: Any) -> bool:
    return value is None or value in (*_VERIFY_MODES, *ssl.VerifyMode)


def _is_tls_version(value: Any) -> bool:
    return value is None or value in tuple(ssl.TLSVersion)


def _is_authorities(value: Any) -> bool:
    try:
        if value is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except (OSError, TypeError, ValueError):
        return False
    return True


def _is_file(value: Any) -> bool:
    try:
        if value:
            with open(value, "rb"):
                return True
    except (OSError, TypeError, ValueError):
        return False
    return True


_SECONDS = "a number of seconds above 0, or None"
_IN_FILE = '"/etc/ssl/own-ca.pem"'
#: Those of django-redis itself. Zero or nothing means that there is none.
_OPTIONS = {
    "SOCKET_TIMEOUT": _Rule(_SECONDS, _is_wait_of_django_redis, "0.25"),
    "SOCKET_CONNECT_TIMEOUT": _Rule(_SECONDS, _is_wait_of_django_redis, "0.25"),
}
#: Those of redis-py's connections and pools.
_POOL = {
    "socket_timeout": _Rule(_SECONDS, _is_wait, "0.25"),
    "socket_connect_timeout": _Rule(_SECONDS, _is_wait_above_0, "0.25"),
    "timeout": _Rule("a number of seconds from 0, or None", _is_wait, "20"),
    "health_check_interval": _Rule("a number of seconds", _is_interval, "30"),
    "max_connections": _Rule("a whole number from 1, or None", _is_most, "100"),
    "db": _Rule("the number of a database, from 0", _is_database, "0", code="E024"),
    _PROVIDER: _Rule(
        "an object with get_credentials(), such as a redis.CredentialProvider",
        _is_provider,
        "<your provider>",
        in_url=False,
    ),
    "retry": _Rule(
        "a redis.retry.Retry", _is_retry, "Retry(ExponentialWithJitterBackoff(), 3)", in_url=False
    ),
    "socket_keepalive_options": _Rule(
        "a dict of the socket module's constants and numbers",
        _is_keepalive,
        "{socket.TCP_KEEPIDLE: 60}",
        in_url=False,
    ),
    "ssl_cert_reqs": _Rule('"required", "optional" or "none"', _is_verify_mode, '"required"'),
    "ssl_min_version": _Rule(
        "an ssl.TLSVersion", _is_tls_version, "ssl.TLSVersion.TLSv1_2", in_url=False
    ),
    "ssl_ca_certs": _Rule(
        "a readable file of certificates in PEM", _is_authorities, _IN_FILE, code="E022"
    ),
    "ssl_certfile": _Rule("a readable file", _is_file, '"/etc/ssl/client.pem"', code="E022"),
    "ssl_keyfile": _Rule("a readable file", _is_file, '"/etc/ssl/client.key"', code="E022"),
}
