"""Judging the server by what it told: pure, from `Facts` to findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from django.template.defaultfilters import filesizeformat
from redis.crc import key_slot

from .findings import Finding, Level, advice, as_number, ok, problem, unknown
from .probe import Facts, is_of_cluster

_OLDEST = {"valkey": (7, 2), "redis": (6, 2)}
_CLOCK_ADVICE_SECONDS, _CLOCK_PROBLEM_SECONDS = 1.0, 10.0
_MEMORY_ADVICE_SHARE, _MEMORY_PROBLEM_SHARE = 0.75, 0.9
_LAG_PROBLEM_SECONDS = 10
_LAG_ADVICE_BYTES = 10 * 1024 * 1024
_UNEVEN = 1.5
_SLOTS = 16_384
#: Fewer sessions say nothing about what they take and how they spread.
_ENOUGH_SESSIONS = 1000
_INFO = "Give the user +info."
_REPLICA = re.compile(r"slave\d+")
_FROM_BEST: tuple[Level, ...] = ("ok", "unknown", "advice", "problem")


def judge(
    facts: Facts, *, is_durable: bool, is_serverless: bool = False, is_behind: bool = False
) -> Iterator[Finding]:
    """Yield what there is to say about the server itself; do sessions wait there by intention?

    ElastiCache Serverless has no parameter group, no node types, and replicas that nobody sees.
    """
    yield _clock(facts)
    policy = _serverless_policy if is_serverless else _eviction_policy
    if not facts.infos:
        yield unknown("server", "its figures are not told (INFO)", _INFO)
    else:
        nodes = dict(zip(_names(facts, len(facts.infos)), facts.infos, strict=True))
        yield from _worst(nodes, lambda info: [_engine(info)])
        yield from _worst(
            nodes, lambda info: [policy(info, is_durable=is_durable, is_behind=is_behind)]
        )
        yield _evictions(facts.infos, is_durable=is_durable, is_behind=is_behind)
        yield _memory(nodes, sessions=sum(facts.counts or ()), is_serverless=is_serverless)
        if not is_serverless:
            yield from _worst(nodes, lambda info: _replication(info, is_durable=is_durable))
        if is_of_cluster(facts.infos[0]):
            yield _spread(facts)
    if not is_serverless:
        yield _listpacks(facts)
    if is_durable:
        if facts.is_identified is not None:
            yield _identity(is_identified=facts.is_identified)
        yield _pending(facts.pending)


def _names(facts: Facts, count: int) -> list[str]:
    names = list(dict.fromkeys(primary for *_, primary in sorted(facts.slots or ())))
    # They may have changed places in between.
    return names if len(names) == count else [f"primary {n + 1}" for n in range(count)]


def _worst(
    nodes: Mapping[str, Mapping[str, str]],
    judging: Callable[[Mapping[str, str]], Iterable[Finding]],
) -> Iterator[Finding]:
    """Yield the worst finding of each subject, with the node's name unless all are alike."""
    by_subject: dict[str, dict[str, Finding]] = {}
    for node, info in nodes.items():
        for finding in judging(info):
            by_subject.setdefault(finding.subject, {})[node] = finding
    for found in by_subject.values():
        node, worst = max(found.items(), key=lambda item: _FROM_BEST.index(item[1].level))
        if len(found) == len(nodes) and len(set(found.values())) == 1:
            yield worst
        else:
            yield replace(worst, found=f"{node}: {worst.found}")


def _engine(info: Mapping[str, str]) -> Finding:
    name = info.get("server_name", "redis")
    version = info.get("valkey_version") or info.get("redis_version")
    if version is None:
        return unknown("server", "its version is not told", _INFO)
    oldest = _OLDEST.get(name, _OLDEST["redis"])
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < oldest:
        return problem(
            "server",
            f"{name} {version} is older than what is supported",
            f"Upgrade to {name} {oldest[0]}.{oldest[1]} or newer, best to Valkey 8 or newer.",
        )
    return ok("server", f"{name} {version}")


def _clock(facts: Facts) -> Finding:
    ahead = facts.clock_ahead_seconds
    found = f"{abs(ahead):.3f} seconds {'ahead of' if ahead >= 0 else 'behind'} ours"
    mend = "Let a time service (chrony; Amazon Time Sync) set the clock of this machine."
    if abs(ahead) >= _CLOCK_PROBLEM_SECONDS:
        return problem("clock", f"{found}: sessions expire at the wrong time", mend)
    if abs(ahead) >= _CLOCK_ADVICE_SECONDS:
        return advice("clock", found, mend)
    return ok("clock", f"{found}; a round trip takes {facts.round_trip_seconds * 1000:.2f} ms")


def _eviction_policy(info: Mapping[str, str], *, is_durable: bool, is_behind: bool) -> Finding:
    subject, policy = "eviction policy", info.get("maxmemory_policy")
    if policy is None:
        return unknown(subject, "not told", _INFO)
    if policy == "noeviction":
        return ok(subject, "noeviction: when memory is short, new sessions are refused, none lost")
    if policy.startswith("allkeys"):
        lost = "live indexes and what waits for the database" if is_durable else "live indexes"
        return problem(
            subject,
            f"{policy}: when memory is short, sessions and {lost} are dropped",
            "Set maxmemory-policy to noeviction in the parameter group"
            + (", or to volatile-ttl." if is_durable and not is_behind else "."),
        )
    if is_behind:
        return problem(
            subject,
            f"{policy}: when memory is short, changes that wait for the database are lost",
            'Set maxmemory-policy to noeviction in the parameter group, or "FALLBACK_WRITES" to '
            '"through".',
        )
    if is_durable:
        return ok(subject, f"{policy}: sessions that are dropped are read from the database again")
    return advice(
        subject,
        f"{policy}: when memory is short, users are signed out",
        "Set maxmemory-policy to noeviction in the parameter group, or use the engine cached_db.",
    )


def _serverless_policy(info: Mapping[str, str], *, is_durable: bool, is_behind: bool) -> Finding:
    finding = _eviction_policy(info, is_durable=is_durable, is_behind=is_behind)
    if finding.level in ("ok", "unknown"):
        return finding
    fixed = "The policy of a serverless cache is not to be changed."
    better = "Take a replication group." if is_durable else "Use the engine cached_db."
    if is_behind:
        better = 'Set "FALLBACK_WRITES" to "through", or take a replication group.'
    return replace(finding, mend=f"{better} {fixed}")


def _evictions(infos: Sequence[Mapping[str, str]], *, is_durable: bool, is_behind: bool) -> Finding:
    subject, evicted = "evictions", _sum(infos, "evicted_keys")
    if evicted is None:
        return unknown(subject, "not told", _INFO)
    if not evicted:
        return ok(subject, "none since the server started")
    found = f"{evicted:.0f} keys since the server started"
    mend = "Give the server more memory, or sessions a shorter life (ANONYMOUS_AGE for visitors)."
    if is_behind:
        return problem(subject, f"{found}: what waited in them for the database is lost", mend)
    if is_durable:
        return advice(subject, f"{found}; their sessions are read from the database again", mend)
    return problem(subject, f"{found}: their sessions are lost", mend)


def _memory(
    nodes: Mapping[str, Mapping[str, str]], *, sessions: int, is_serverless: bool
) -> Finding:
    subject, infos = "memory", list(nodes.values())
    used = _sum(infos, "used_memory")
    if used is None:
        return unknown(subject, "not told", _INFO)
    if not all(as_number(info, "maxmemory") for info in infos):
        if is_serverless:
            return ok(subject, f"{filesizeformat(used)} in use, by what the server tells")
        return advice(
            subject,
            f"{filesizeformat(used)} in use, no limit set",
            "Set maxmemory, lest the system end the server; ElastiCache sets it by the node type.",
        )
    node, info = max(nodes.items(), key=lambda item: _used_share(item[1]))
    share = _used_share(info)
    found = f"{share:.0%} of {filesizeformat(info['maxmemory'])} in use"
    if len(nodes) > 1:
        found = f"{node}, the fullest: {found}"
    found += _room(infos, used, sessions)
    more = (
        "Raise the maximum storage" if is_serverless else "Take a larger node type or more shards"
    )
    mend = f"{more}, or give sessions a shorter life."
    if share >= _MEMORY_PROBLEM_SHARE:
        return problem(subject, found, mend)
    if share >= _MEMORY_ADVICE_SHARE:
        return advice(subject, found, mend)
    return ok(subject, found)


def _room(infos: Sequence[Mapping[str, str]], used: float, sessions: int) -> str:
    if sessions < _ENOUGH_SESSIONS:
        return "; too few sessions to tell for how many there is room"
    # Whatever else lies there is counted with them: there is at least this much room.
    each = (used - (_sum(infos, "used_memory_startup") or 0)) / sessions
    # New ones spread over all nodes alike: it ends with the first that is full.
    left = min(float(info["maxmemory"]) - float(info["used_memory"]) for info in infos)
    more = max(0, left * len(infos)) // each if each > 0 else 0
    return f" by {sessions} sessions: room for at least {more:.0f} more"


def _used_share(info: Mapping[str, str]) -> float:
    return float(info["used_memory"]) / float(info["maxmemory"])


def _sum(infos: Sequence[Mapping[str, str]], name: str) -> float | None:
    """Return a figure of all; `None` where one does not tell."""
    told = [as_number(info, name) for info in infos]
    known = [number for number in told if number is not None]
    return sum(known) if len(known) == len(told) else None


def _replication(info: Mapping[str, str], *, is_durable: bool) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield problem(
            "replication",
            "this is a replica: what is read may be old, and nothing can be written",
            "Write the primary endpoint in LOCATION.",
        )
        return
    replicas = {name: text for name, text in info.items() if _REPLICA.fullmatch(name)}
    if not replicas:
        mend = "Add a replica in another availability zone, with automatic failover."
        if is_durable:
            yield advice("replication", "no replica: the database has to do while it is away", mend)
        else:
            yield advice("replication", "no replica: its sessions are lost with the server", mend)
        return
    offset = as_number(info, "master_repl_offset") or 0
    for name, text in sorted(replicas.items()):
        yield _replica(f"replica {name.removeprefix('slave')}", text, offset)


def _replica(subject: str, text: str, offset: float) -> Finding:
    state = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    lag = as_number(state, "lag") or 0
    behind = max(0.0, offset - (as_number(state, "offset") or 0))
    found = f"{state.get('state', 'state not told')}, {filesizeformat(behind)} behind"
    mend = "A failover now loses the newest sessions. Look at the replica's load and network."
    if state.get("state") != "online":
        return problem(subject, found, mend)
    if lag >= _LAG_PROBLEM_SECONDS:
        return problem(subject, f"{found}, not heard of for {lag:.0f} seconds", mend)
    if behind >= _LAG_ADVICE_BYTES:
        return advice(subject, found, mend)
    return ok(subject, found)


def _spread(facts: Facts) -> Finding:
    subject = "cluster"
    if facts.slots is None:
        return unknown(subject, "its slots are not told", "Give the user +cluster|slots.")
    missing = _SLOTS - sum(last - first + 1 for first, last, _ in facts.slots)
    if missing:
        return problem(
            subject,
            f"{missing} of {_SLOTS} slots have no primary: sessions there do not work",
            "Bring back the shard, or restore the cluster.",
        )
    nodes = spread(facts.by_bucket or (), facts.slots)
    total, count = sum(nodes.values()), len(nodes)
    if total < _ENOUGH_SESSIONS:
        return ok(subject, f"{count} primaries; too few sessions to tell how they spread")
    share = max(nodes.values()) / total
    found = f"{count} primaries; the fullest has {share:.0%} of the sessions"
    if share * count > _UNEVEN:
        return advice(subject, found, "Raise INDEX_BUCKETS, or rebalance the slots.")
    return ok(subject, found)


def spread(by_bucket: Sequence[int], slots: Sequence[tuple[int, int, str]]) -> Counter[str]:
    """Return how many sessions each primary has; a bucket lies in the slot of its number."""
    nodes = Counter({primary: 0 for _, _, primary in slots})
    for bucket, sessions in enumerate(by_bucket):
        slot = key_slot(str(bucket).encode())
        for first, last, primary in slots:
            if first <= slot <= last:
                nodes[primary] += sessions
    return nodes


def _listpacks(facts: Facts) -> Finding:
    subject, encodings = "hash encoding", facts.encodings
    if encodings is None:
        return unknown(
            subject,
            "not told (OBJECT ENCODING)",
            "Give the user +object|encoding if you want this advice.",
        )
    if not encodings:
        return ok(subject, "no session to look at")
    tables = sum(encoding == "hashtable" for encoding in encodings)
    if tables:
        return advice(
            subject,
            f"{tables} of {len(encodings)} sessions are kept as tables, with more memory",
            "Set hash-max-listpack-value to 256 (hash-max-ziplist-value before Redis 7) in the "
            "parameter group, if your sessions are small.",
        )
    return ok(subject, f"all of {len(encodings)} sessions are kept compactly")


def _identity(*, is_identified: bool) -> Finding:
    subject = "replication id"
    if is_identified:
        return ok(subject, "the same for commands and scripts: a failover is noticed")
    return advice(
        subject,
        "not the same for commands and scripts (INFO replication): a failover goes unnoticed, and "
        "what the replica lacked may be shown until the session's next save",
        "Take a replication group, whose nodes tell it, if that matters; see The cached_db engine.",
    )


def _pending(pending: int | None) -> Finding:
    subject = "waiting for the database"
    if pending is None:
        return unknown(subject, "not told (SCARD)", "Give the user +scard.")
    if pending:
        return advice(
            subject,
            f"{pending} sessions are newer in the cache than in the database",
            "Run: manage.py syncsessions (with --loop where FALLBACK_WRITES is 'behind').",
        )
    return ok(subject, "no session")
