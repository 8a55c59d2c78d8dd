"""Where sessions and their indexes lie in a cluster: on which nodes, and in which slots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import redis
from redis.crc import key_slot

KINDS = ("sessions", "indexes of buckets", "indexes of users", "counts over time")
_BATCH = 10_000


def kind_of(key: bytes) -> str:
    """Return which of the kinds a key of this package is, under the usual prefix."""
    if key.startswith(b"session:user:"):
        return "indexes of users"
    if key.startswith(b"session:events:"):
        return "counts over time"
    return "indexes of buckets" if key.endswith(b"}:live") else "sessions"


def look(nodes: Mapping[str, redis.Redis]) -> dict[str, Any]:
    """Count the keys of each node and in each slot, by kind."""
    by_node: dict[str, Counter[str]] = {}
    by_slot: dict[str, Counter[int]] = defaultdict(Counter)
    for name, node in nodes.items():
        counted: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        for key in node.scan_iter(count=_BATCH):
            kind = kind_of(key)
            counted[kind] += 1
            by_slot[kind][key_slot(key)] += 1
        by_node[name] = counted
    return {
        "nodes": {name: dict(counted) for name, counted in by_node.items()},
        "slots": {kind: _over_slots(by_slot[kind].values()) for kind in KINDS if by_slot[kind]},
    }


def _over_slots(counts: Iterable[int]) -> dict[str, int]:
    found = sorted(counts)
    return {"slots": len(found), "most": found[-1], "least": found[0]}


def shares(values: Mapping[str, float]) -> dict[str, float]:
    """Return what part of the sum each has; nothing of nothing is nothing."""
    total = sum(values.values())
    return {name: value / total if total else 0.0 for name, value in values.items()}
