"""`OPTIONS["IAM"]` of a cache alias, validated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches

from ..conf import Problem

EXAMPLE = '"IAM": {"USER": "app", "CACHE_NAME": "sessions", "REGION": "eu-central-1"}'
# By the ElastiCache API reference (CreateUser, CreateReplicationGroup, CreateServerlessCache). It
# keeps the names of caches and the ids of users in lower case.
_USER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_CACHE_NAME = re.compile(r"[A-Za-z](-?[A-Za-z0-9])*")
_LONGEST_NAME = 40
_MOST_SHOWN = 40
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IAMOptions:
    """Who signs in where. An empty region is that of the environment."""

    user: str
    cache_name: str
    region: str = ""
    serverless: bool = False


_KEYS = tuple(key.name.upper() for key in fields(IAMOptions))
_NOT_READ = IAMOptions(user="", cache_name="")


def read_iam_options(raw: object) -> tuple[IAMOptions, list[Problem]]:
    """Validate the dict; with problems, what is returned beside them is not to be used."""
    if not isinstance(raw, Mapping):
        return _NOT_READ, [_problem(f"must be a dict, found {type(raw).__name__}")]
    problems = [_unknown(name) for name in raw if name not in _KEYS]
    region, serverless = raw.get("REGION") or "", raw.get("SERVERLESS", False)
    problems += _problems_of_name(raw, "USER", _USER)
    problems += _problems_of_name(raw, "CACHE_NAME", _CACHE_NAME)
    if not isinstance(region, str) or (region and not _REGION.fullmatch(region)):
        problems.append(_problem(f"'REGION': expected a region of AWS, found {_shown(region)}"))
    if not isinstance(serverless, bool):
        problems.append(
            _problem(f"'SERVERLESS': expected True or False, found {_shown(serverless)}")
        )
    if problems:
        return _NOT_READ, problems
    return (
        IAMOptions(
            user=raw["USER"], cache_name=raw["CACHE_NAME"], region=region, serverless=serverless
        ),
        [],
    )


def _problems_of_name(
    raw: Mapping[str, object], key: str, pattern: re.Pattern[str]
) -> list[Problem]:
    name = raw.get(key)
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or not pattern.fullmatch(name):
        return [
            _problem(
                f"{key!r}: expected letters, digits and hyphens, from a letter, {_LONGEST_NAME} at "
                f"most, found {_shown(name)}"
            )
        ]
    if name == name.lower():
        return []
    return [
        Problem(
            "E042",
            f"OPTIONS['IAM'] {key!r}: {name!r} has capitals. ElastiCache keeps the names of caches "
            "and the ids of users in lower case, and a user who signs in by IAM has his id as his "
            "name.",
            f'Write "{key}": "{name.lower()}".',
        )
    ]


def _problem(what: str) -> Problem:
    return Problem("E041", f"OPTIONS['IAM'] {what}.", f"Write {EXAMPLE} in OPTIONS.")


def _unknown(name: object) -> Problem:
    nearest = get_close_matches(str(name).upper(), _KEYS, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known keys: {', '.join(_KEYS)}."
    return Problem("E041", f"OPTIONS['IAM'] has an unknown key {_shown(name)}.", hint)


def _shown(value: object) -> str:
    # Long text may be a secret that slipped into this line.
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= _MOST_SHOWN else f"{len(value)} characters"
    return type(value).__name__
