"""`ELASTICACHE_SESSIONS["CLOUDWATCH"]`: which cache of Amazon's to ask about, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

_KEYS = ("REPLICATION_GROUP_ID", "SERVERLESS_CACHE_NAME", "REGION", "NAMESPACE")
# CreateReplicationGroup and CreateServerlessCache, ElastiCache API Reference; ids are kept in lower
# case, and the dimensions of metrics are compared with case.
_NAME = re.compile(r"(?=.{1,40}\Z)[a-z](-?[a-z0-9])*")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d{1,2}")
# PutMetricData, CloudWatch API Reference.
_NAMESPACE = re.compile(r"[0-9A-Za-z._/#-][0-9A-Za-z._/#:-]{0,254}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchOptions:
    """One of the first two names the cache; a region of `None` is that of the environment."""

    replication_group_id: str | None = None
    serverless_cache_name: str | None = None
    region: str | None = None
    namespace: str = "ElastiCacheSessions"

    @property
    def name(self) -> str:
        """The name of the cache, of whichever kind it is."""
        return self.replication_group_id or self.serverless_cache_name or ""


def read_cloudwatch(value: object) -> CloudWatchOptions | None:
    """Read the setting. Raises `ValueError` with what is wrong with it."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a dict or None, found {type(value).__name__}")
    for key in value:
        if key not in _KEYS:
            raise ValueError(_unknown(key))
    named = [key for key in _KEYS[:2] if value.get(key) is not None]
    if len(named) != 1:
        found = "both" if named else "neither"
        raise ValueError(
            f"expected either 'REPLICATION_GROUP_ID' or 'SERVERLESS_CACHE_NAME', found {found}"
        )
    _match(
        value,
        named[0],
        _NAME,
        "a lower-case name of letters, digits and hyphens that stand alone in it, 40 at most,",
    )
    _match(value, "REGION", _REGION, 'a region such as "eu-central-1"')
    _match(value, "NAMESPACE", _NAMESPACE, "up to 255 of A-Z a-z 0-9 . - _ / # :")
    if str(value.get("NAMESPACE", "")).upper().startswith("AWS/"):
        raise ValueError("'NAMESPACE' begins with \"AWS/\", which Amazon keeps for itself")
    return CloudWatchOptions(
        **{key.lower(): found for key, found in value.items() if found is not None}
    )


def _match(value: Mapping[str, object], key: str, pattern: re.Pattern[str], expected: str) -> None:
    found = value.get(key)
    if found is None:
        return
    if not isinstance(found, str) or not pattern.fullmatch(found):
        shown = repr(found) if isinstance(found, str) else type(found).__name__
        raise ValueError(f"expected {expected} as {key!r}, found {shown}")


def _unknown(key: object) -> str:
    nearest = get_close_matches(str(key).upper(), _KEYS, n=1, cutoff=0.5)
    advice = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(_KEYS)}"
    return f"unknown key {key!r}; {advice}"
