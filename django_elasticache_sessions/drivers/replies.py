"""What a failure of the store means, the same for both drivers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from hiredis import HiredisError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from ..breaker import TIMEOUTS
from ..exceptions import (
    CredentialsUnavailable,
    ForeignType,
    LimitReached,
    SessionStoreUnavailable,
    StoreRefused,
)
from ..operations import Command, Dispensable
from ..scripts import BY_SHA
from ..texts import Text, did_not_serve, text_of
from . import connecting, limits
from .connecting import NOT_OF_THE_PROTOCOL


class WrongReply(Exception):
    """A reply that no Valkey or Redis has for its command; shows nothing of either."""

    def __init__(self, command: str, reply: Any, server: str) -> None:
        """Take a command's name, its reply, and where the server is reached."""
        super().__init__(command)
        self.values = {"command": command, "found": type(reply).__name__, "server": server}


#: What moving bytes over a connection may raise.
WIRE_ERRORS = (RedisError, OSError, HiredisError, WrongReply)

_READ_ONLY = Text("it is a read-only replica, as after a failover.")
_SLOW_SCRIPT = Text("it is running a long script.")
_LACKS_WHAT_SCRIPTS_CALL = Text(
    "its user lacks a permission; the ACL must allow what the session scripts call."
)
# Redis before 7 wraps a script's error into a sentence of its own: codes are looked for anywhere.
_REASONS = {
    "READONLY": _READ_ONLY,
    "LOADING": Text("it is still loading its data."),
    "OOM": Text("it is out of memory; raise maxmemory or lower the age of sessions."),
    "'client|setname'": Text(
        "its user lacks a permission; allow it +client|setname, or remove CLIENT_NAME from the "
        "OPTIONS of the alias."
    ),
    "'cluster|slots'": Text("its user lacks a permission; allow it +cluster|slots."),
    "NOPERM": Text(
        "its user lacks a permission; the ACL must allow the commands of the session scripts."
    ),
    # What a script meets that may be run but not do what it does.
    "ACL failure": _LACKS_WHAT_SCRIPTS_CALL,
    "The user executing the script can't": _LACKS_WHAT_SCRIPTS_CALL,
    "NOAUTH": Text("it wants a password."),
    "WRONGPASS": Text("it refused the user name or password."),
    "CLUSTERDOWN": Text("its cluster is down."),
    "MASTERDOWN": Text("its primary is down."),
    "TRYAGAIN": Text("its slots are being moved."),
    "MISCONF": Text("it cannot save to disk and refuses writes."),
    "BUSY": _SLOW_SCRIPT,
    "NOREPLICAS": Text("it has too few replicas to accept writes."),
    "UNKILLABLE": _SLOW_SCRIPT,
    "MOVED": Text('it is a cluster; write "CLUSTER": True in the OPTIONS of its alias.'),
    "cluster support disabled": Text(
        "it is not in cluster mode; remove CLUSTER from the OPTIONS of its alias."
    ),
}
_NO_SECOND_ATTEMPT = (
    *TIMEOUTS,
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
)


class ErrorReply(Exception):
    """An error the server answered with, as a reply; its text is the server's."""


#: What comes at once. To be refused a connection, or a name, may take its time.
_REFUSALS = (ErrorReply, ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


@dataclass(frozen=True, slots=True)
class Again:
    """What to send once more; `fresh` asks for a new connection first."""

    commands: tuple[Command, ...]
    fresh: bool


def settle(
    commands: Sequence[Command], replies: list[Any]
) -> Generator[Again, list[Any], list[Any]]:
    """Mend what can be mended of replies that hold errors; every script may be run twice.

    Raises `SessionStoreUnavailable` for the first error left; `ForeignType` is a reply like others,
    and a `Dispensable` command that was refused has `None` for one.
    """
    if not _is_read_only(replies):
        yield from _send_sources(commands, replies)
    if _is_read_only(replies):
        # A demoted primary: its name leads to the new one, but only for a new connection.
        replies = yield Again(tuple(commands), fresh=True)
        yield from _send_sources(commands, replies)
    return [_settled(command, reply) for command, reply in zip(commands, replies, strict=True)]


def _settled(command: Command, reply: Any) -> Any:
    try:
        return settled(reply)
    except SessionStoreUnavailable:
        if isinstance(command, Dispensable):
            return None
        raise


def _is_read_only(replies: Sequence[Any]) -> bool:
    return any(is_code(reply, "READONLY") for reply in replies)


def _send_sources(
    commands: Sequence[Command], replies: list[Any]
) -> Generator[Again, list[Any], None]:
    """Replace the replies to scripts that the server does not know."""
    unknown = [place for place, reply in enumerate(replies) if is_code(reply, "NOSCRIPT")]
    if unknown:
        sources = tuple(with_source(commands[place]) for place in unknown)
        for place, reply in zip(unknown, (yield Again(sources, fresh=False)), strict=True):
            replies[place] = reply


def classify(error: BaseException) -> SessionStoreUnavailable:
    """Turn an error of the wire into ours; the text shows no key and no value."""
    limit = limits.reason(error)
    if limit is not None:
        return LimitReached(did_not_serve(limit))
    kind = StoreRefused if isinstance(error, _REFUSALS) else SessionStoreUnavailable
    return kind(did_not_serve(_reason(error)))


def is_replica() -> SessionStoreUnavailable:
    """Return what is raised where only a replica answers: what it holds may be behind."""
    return SessionStoreUnavailable(did_not_serve(_READ_ONLY))


def deserves_second_attempt(error: BaseException) -> bool:
    """Tell whether a connection that had been idle turned out dead: worth one fresh attempt.

    Not so after a timeout: the server is slow or gone, and another attempt doubles the wait.
    """
    return isinstance(error, (OSError, RedisConnectionError)) and not isinstance(
        error, _NO_SECOND_ATTEMPT
    )


def with_source(command: Command) -> Command:
    """Return the command for a server that does not know the script: with its source."""
    return (b"EVAL", BY_SHA[bytes(command[1])].source, *command[2:])  # type: ignore[arg-type]


def settled(reply: Any) -> Any:
    """Return a reply as operations know it. Raises `SessionStoreUnavailable` for an error."""
    if is_code(reply, "WRONGTYPE"):
        return ForeignType()
    if isinstance(reply, Exception):
        raise classify(reply)
    return reply


def is_code(error: object, code: str) -> bool:
    """Tell whether a reply, or an error of redis-py, has a code."""
    return isinstance(error, (ErrorReply, RedisError)) and code in _text(error)


def _text(error: BaseException) -> str:
    # redis-py takes the code off the text of the errors it has a class for.
    return f"{getattr(error, 'status_code', None) or ''} {error}"


def _reason(error: BaseException) -> Text:
    if isinstance(error, TIMEOUTS):
        return connecting.reason_of_timeout(error)
    if isinstance(error, CredentialsUnavailable):
        return Text("nothing to sign in with: %(reason)s", reason=text_of(error))
    if isinstance(error, WrongReply):
        return Text(
            "%(server)s answered %(command)s with a reply (%(found)s) that no Valkey or Redis has "
            "for it; look at what listens there, and at proxies on the way.",
            **error.values,
        )
    for code, reason in _REASONS.items():
        if is_code(error, code):
            return reason
    if isinstance(error, (RedisConnectionError, OSError, *NOT_OF_THE_PROTOCOL)):
        return connecting.reason(error)
    return Text("it answered with an error (%(error)s).", error=type(error).__name__)
