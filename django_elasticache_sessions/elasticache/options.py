"""The keys that `ConnectionFactory` reads in a cache's `OPTIONS`, validated."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Self

from django.core.exceptions import ImproperlyConfigured

#: Those of django-redis, which a misspelt key of ours may be taken for.
_OF_DJANGO_REDIS = frozenset(
    {
        "CLIENT_CLASS",
        "COMPRESSOR",
        "CONNECTION_FACTORY",
        "CONNECTION_POOL_CLASS",
        "CONNECTION_POOL_KWARGS",
        "IAM",
        "IGNORE_EXCEPTIONS",
        "MAX_ENTRIES",
        "CULL_FREQUENCY",
        "PARSER_CLASS",
        "PASSWORD",
        "REDIS_CLIENT_CLASS",
        "REDIS_CLIENT_KWARGS",
        "REPLICA_READ_ONLY",
        "REVERSE_KEY_FUNCTION",
        "SERIALIZER",
        "PICKLE_VERSION",
        "CLOSE_CONNECTION",
        "DB",
        "USERNAME",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactoryOptions:
    """What `OPTIONS` says; timeouts in seconds.

    `ca_file` holds the certificates of the authorities that are believed, in place of the system's.
    `client_name` is what `CLIENT LIST` calls our connections; to tell it needs a permission of its
    own.
    """

    cluster: bool = False
    client_name: str | None = None
    ca_file: str | None = None
    socket_timeout: float | None = None
    socket_connect_timeout: float | None = None
    problems: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Read them; what is wrong is left at its default and told in `problems`."""
        values: dict[str, Any] = {}
        problems = [*_misspelt(options), *_not_dicts(options)]
        for name, read in _READERS.items():
            if name in options:
                try:
                    values[name.lower()] = read(options[name])
                except ValueError as problem:
                    problems.append(f"{name!r}: {problem}")
        return cls(**values, problems=tuple(problems))

    @classmethod
    def read_or_raise(cls, options: Mapping[str, Any]) -> Self:
        """Read them. Raises `ImproperlyConfigured`."""
        found = cls.read(options)
        if found.problems:
            raise ImproperlyConfigured(f"OPTIONS of the cache: {found.problems[0]}.")
        return found


def _misspelt(options: Mapping[str, Any]) -> Iterator[str]:
    for name in options:
        if name in _READERS or name in _OF_DJANGO_REDIS:
            continue
        nearest = get_close_matches(str(name).upper(), _READERS, n=1, cutoff=0.75)
        if nearest:
            yield f"{name!r} is not known; the nearest is {nearest[0]!r}"


def _not_dicts(options: Mapping[str, Any]) -> Iterator[str]:
    for name in ("CONNECTION_POOL_KWARGS", "REDIS_CLIENT_KWARGS"):
        value = options.get(name, {})
        if not isinstance(value, Mapping):
            yield f"{name!r}: expected a dict, found {type(value).__name__}"


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, found {type(value).__name__}")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ValueError("expected text of ASCII letters")
    if " " in value:
        # https://valkey.io/commands/client-setname/
        raise ValueError("expected text without spaces")
    return value


def _authorities(value: object) -> str:
    text = str(value)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(text)
        return text
    except ssl.SSLError:
        raise ValueError("expected a file of certificates in PEM") from None
    except OSError as error:
        raise ValueError(f"expected a readable file ({type(error).__name__})") from None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
        raise ValueError("expected a number of seconds above 0")
    return value


_READERS: dict[str, Callable[[object], Any]] = {
    "CLUSTER": _boolean,
    "CLIENT_NAME": _word,
    "CA_FILE": _authorities,
    "SOCKET_TIMEOUT": _seconds,
    "SOCKET_CONNECT_TIMEOUT": _seconds,
}
