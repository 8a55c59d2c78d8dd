"""The commands that a user of the server needs for sessions, and no others.

`docs/server.rst` and the CloudFormation template in `example_project/aws/` say the same.
"""

from __future__ import annotations

from .findings import Finding, advice, ok, problem

NEEDED = (
    "hgetall",
    "ttl",
    "hexists",
    "zrem",
    "evalsha",
    "eval",
    "scan",
    "exists",
    "expire",
    "hdel",
    "hget",
    "hincrby",
    "hkeys",
    "hmget",
    "hset",
    "hstrlen",
    "time",
    "type",
    "unlink",
    "zadd",
    "zcount",
    "zrange",
    "zscan",
)
#: By the `cached_db` engine, in addition.
NEEDED_BY_CACHED_DB = ("info", "sadd", "scard", "srem", "sscan")
#: To find out which node has which slot.
NEEDED_IN_CLUSTERS = ("cluster|slots",)
#: How each of them is tried out on a key that is not there, "@". None of these makes one.
TRIALS: tuple[tuple[str, ...], ...] = (
    ("hgetall", "@"),
    ("ttl", "@"),
    ("hexists", "@", "a"),
    ("zrem", "@", "a"),
    ("exists", "@"),
    ("expire", "@", "1"),
    ("hdel", "@", "a"),
    ("hget", "@", "a"),
    # Not a number: refused, after the permission was looked at.
    ("hincrby", "@", "a", "b"),
    ("hkeys", "@"),
    ("hmget", "@", "a"),
    # A field without a value is refused, after the permission was looked at.
    ("hset", "@", "a", "1", "b"),
    ("hstrlen", "@", "a"),
    ("time",),
    ("type", "@"),
    ("unlink", "@"),
    ("zadd", "@", "XX", "1", "a"),
    ("zcount", "@", "0", "0"),
    ("zrange", "@", "0", "0"),
    ("zscan", "@", "0"),
)
TRIALS_OF_CACHED_DB: tuple[tuple[str, ...], ...] = (
    ("scard", "@"),
    ("srem", "@", "a"),
    ("sscan", "@", "0"),
)
#: Makes a set of one and takes it away: only to be tried where the second is allowed.
TRIAL_OF_SADD: tuple[tuple[str, ...], ...] = (("sadd", "@", "a"), ("srem", "@", "a"))
#: Harmless ones that sessions never need: whoever may run them may run more.
BEYOND: tuple[tuple[str, ...], ...] = (
    ("DBSIZE",),
    ("LASTSAVE",),
    ("SCRIPT", "EXISTS", "0" * 40),
    ("ACL", "GETUSER", "default"),
)
#: The same in a script, as `TRIALS` are. The first two are refused for what follows, after the
#: permission was looked at; `KEYS` has no such form, and takes the server long.
BEYOND_IN_SCRIPTS: tuple[tuple[str, ...], ...] = (
    ("FLUSHALL", "x"),
    ("FLUSHDB", "x"),
    ("GET", "@"),
    ("SET", "@", "a", "XX"),
    ("RANDOMKEY",),
)


def rules(prefix: str, *, is_durable: bool, in_cluster: bool = False) -> str:
    """Return the access string of a user that may do what sessions need."""
    commands: tuple[str, ...] = NEEDED
    commands += NEEDED_BY_CACHED_DB if is_durable else ()
    commands += NEEDED_IN_CLUSTERS if in_cluster else ()
    return f"~{prefix}:* resetchannels -@all " + " ".join(f"+{command}" for command in commands)


def judge(
    *,
    refused: tuple[str, ...] | None,
    beyond: tuple[str, ...],
    reads_elsewhere: bool,
    rule: str,
) -> Finding:
    """Compare what a user may do with what sessions need, of which `rule` is the access string.

    `refused` is `None` for everything.
    """
    subject = "permissions"
    if refused is None:
        return problem(
            subject,
            "the user may not run the session scripts",
            f"Give it: {rule}",
        )
    if refused:
        lacking = " ".join(f"+{command}" for command in refused)
        return problem(subject, f"the user lacks {lacking}", f"Give it: {lacking}")
    more = [f"runs {' '.join(beyond)}"] if beyond else []
    more += ["reads the keys of others"] if reads_elsewhere else []
    if more:
        return advice(
            subject,
            f"more than sessions need: the user {' and '.join(more)}",
            f"Give sessions a user of their own: on >password {rule}",
        )
    return ok(subject, "what sessions need, and nothing more that was tried")
