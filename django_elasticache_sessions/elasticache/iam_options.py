"""`OPTIONS["IAM"]` of a cache alias, validated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches

from ..conf import Problem

EXAMPLE = '"IAM": {"USER": "app", "CACHE_NAME": "sessions", "REGION": "eu-central-1"}'
#: A user's or cache's name, by the ElastiCache API reference (CreateUser, CreateReplicationGroup,
#: CreateServerlessCache): letters, digits and single hyphens, from a letter.
_NAME = re.compile(r"[A-Za-z](-?[A-Za-z0-9])*")
_LONGEST_NAME = 40
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
    user, cache_name = raw.get("USER"), raw.get("CACHE_NAME")
    region, serverless = raw.get("REGION") or "", raw.get("SERVERLESS", False)
    if not _is_name(user):
        problems.append(_problem(f"'USER': {_expected_name(user)}, which is its id and its name"))
    if not _is_name(cache_name):
        problems.append(_problem(f"'CACHE_NAME': {_expected_name(cache_name)}"))
    elif cache_name != str(cache_name).lower():
        problems.append(_capitals(str(cache_name)))
    if not isinstance(region, str) or (region and not _REGION.fullmatch(region)):
        problems.append(_problem(f"'REGION': expected a region of AWS, found {_shown(region)}"))
    if not isinstance(serverless, bool):
        problems.append(
            _problem(f"'SERVERLESS': expected True or False, found {_shown(serverless)}")
        )
    if problems:
        return _NOT_READ, problems
    return IAMOptions(
        user=str(user), cache_name=str(cache_name), region=region, serverless=serverless
    ), []


def _is_name(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME and bool(_NAME.fullmatch(value))


def _expected_name(found: object) -> str:
    return (
        f"expected letters, digits and single hyphens, from a letter, at most {_LONGEST_NAME}, "
        f"found {_shown(found)}"
    )


def _problem(what: str) -> Problem:
    return Problem("E041", f"OPTIONS['IAM'] {what}.", f"Write {EXAMPLE} in OPTIONS.")


def _unknown(name: object) -> Problem:
    nearest = get_close_matches(str(name).upper(), _KEYS, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known keys: {', '.join(_KEYS)}."
    return Problem("E041", f"OPTIONS['IAM'] has an unknown key {_shown(name)}.", hint)


def _capitals(cache_name: str) -> Problem:
    return Problem(
        "E042",
        f"OPTIONS['IAM'] 'CACHE_NAME': {cache_name!r} has capitals; ElastiCache keeps names in "
        "lower case, and tokens are signed for those.",
        f'Write "CACHE_NAME": "{cache_name.lower()}".',
    )


def _shown(value: object) -> str:
    # Long text may be a secret that slipped into this line.
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST_NAME else f"{len(value)} characters"
    return type(value).__name__
