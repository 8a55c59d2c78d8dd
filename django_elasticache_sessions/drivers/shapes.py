"""What the reply to each command looks like; anything else comes from no Valkey or Redis.

A proxy that mixes up replies, or another kind of server, must not pass for a session that is
missing. Errors are replies of any command; commands that are not listed here may have any reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from .. import scripts
from ..operations import Command
from .replies import ErrorReply, WrongReply

Shape: TypeAlias = Callable[[Any], bool]


def check(commands: Sequence[Command], replies: Sequence[Any], connection: Any) -> None:
    """Raise `WrongReply` for the first reply of a wrong shape, which names the server."""
    # At each exchange: the usual ones are told apart as fast as possible.
    for command, reply in zip(commands, replies):  # noqa: B905 - there are as many
        word = command[0]
        if _INTEGERS.get(word) is type(reply):
            continue
        shape = _SHAPES.get(word) or _shape_of_script(command)
        if shape is None or shape(reply) or type(reply) is ErrorReply:
            continue
        raise WrongReply(_name(command), reply, _server(connection))


def _shape_of_script(command: Command) -> Shape | None:
    if command[0] == b"EVALSHA":
        return _BY_SHA.get(command[1])
    return _BY_SOURCE.get(command[1]) if command[0] == b"EVAL" else None


def _integer(reply: Any) -> bool:
    return type(reply) is int


def _bytes(reply: Any) -> bool:
    return type(reply) is bytes


def _bytes_or_nil(reply: Any) -> bool:
    return reply is None or type(reply) is bytes


def _tag_or_nil(reply: Any) -> bool:
    return reply is None or (type(reply) is bytes and reply.isascii())


def _list_of(*kinds: type[Any]) -> Shape:
    def shape(reply: Any) -> bool:
        # The fastest way there is: each load comes here.
        return type(reply) is list and all(map(isinstance, reply, repeat(kinds)))

    return shape


_words = _list_of(bytes)
_integers = _list_of(int)


def _pairs(reply: Any) -> bool:
    return (
        type(reply) is list and len(reply) % 2 == 0 and all(map(isinstance, reply, repeat(bytes)))
    )


def _time(reply: Any) -> bool:
    return _words(reply) and len(reply) == 2 and all(word.isdigit() for word in reply)


def _page(reply: Any) -> bool:
    return type(reply) is list and len(reply) == 2 and _bytes(reply[0]) and _words(reply[1])


def _page_of_pairs(reply: Any) -> bool:
    return _page(reply) and len(reply[1]) % 2 == 0


def _saved(reply: Any) -> bool:
    # A version, or the stamp that it is outpaced by.
    return _integer(reply) or (_integers(reply) and len(reply) == 1)


def _described(reply: Any) -> bool:
    if type(reply) is not list:
        return _integer(reply)
    if len(reply) != 3 or not _integer(reply[0]) or type(reply[1]) is not list:
        return False
    sizes = reply[2]
    return (
        all(map(_bytes_or_nil, reply[1]))
        and type(sizes) is list
        and len(sizes) % 2 == 0
        and all(map(_bytes, sizes[::2]))
        and all(map(_integer, sizes[1::2]))
    )


def _reindexed(reply: Any) -> bool:
    if type(reply) is not list:
        return _integer(reply)
    return len(reply) == 2 and _integer(reply[0]) and _tag_or_nil(reply[1])


def _name(command: Command) -> str:
    word = command[0]
    return word.decode() if isinstance(word, bytes) else str(word)


def _server(connection: Any) -> str:
    path = getattr(connection, "path", None)
    return path or f"{connection.host}:{connection.port}"


_OF_SCRIPTS: dict[str, Shape] = {
    **dict.fromkeys(("create", "index_user", "prune", "rekey", "note"), _integer),
    **dict.fromkeys(("fill", "follow", "refresh", "behind", "drop"), _integer),
    **dict.fromkeys(("create_pending", "handed"), _integer),
    **dict.fromkeys(("save", "save_pending"), _saved),
    "delete": _tag_or_nil,
    "count": _integers,
    "describe": _described,
    "purge": _list_of(bytes, int),
    "end": _list_of(bytes, int),
    "reindex": _reindexed,
    "probe": _words,
    "lease": _bytes,
    "origin": _bytes,
    "doubt": lambda reply: _integers(reply) and len(reply) == 2,
}
_BY_SHA: dict[Any, Shape] = {
    sha: _OF_SCRIPTS[script.name] for sha, script in scripts.BY_SHA.items()
}
_BY_SOURCE: dict[Any, Shape] = {
    script.source: _BY_SHA[sha] for sha, script in scripts.BY_SHA.items()
}
#: What is nothing else.
_INTEGERS: dict[Any, type[Any]] = dict.fromkeys(
    ("TTL", "EXISTS", "ZREM", "HSET", "HDEL", "EXPIRE", "SCARD", "ZCARD"), int
)
_SHAPES: dict[Any, Shape] = {
    **dict.fromkeys(_INTEGERS, _integer),
    "HGETALL": _pairs,
    "HGET": _bytes_or_nil,
    "INFO": _bytes,
    "TIME": _time,
    "ZRANGE": _words,
    "SCAN": _page,
    "SSCAN": _page,
    "ZSCAN": _page_of_pairs,
}
