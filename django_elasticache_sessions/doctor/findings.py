"""What an examination finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: `ok`: as it should be. `advice`: could be better. `unknown`: whoever was asked did not tell.
#: `problem`: sessions do not work, may be lost or are not safe; it makes the examination fail.
Level = Literal["ok", "advice", "unknown", "problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: what was found, and what mends it unless it is `ok`."""

    level: Level
    subject: str
    found: str
    mend: str = ""


def ok(subject: str, found: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(level="ok", subject=subject, found=found)


def advice(subject: str, found: str, mend: str) -> Finding:
    """Return that something could be better."""
    return Finding(level="advice", subject=subject, found=found, mend=mend)


def unknown(subject: str, found: str, mend: str) -> Finding:
    """Return that nobody told."""
    return Finding(level="unknown", subject=subject, found=found, mend=mend)


def problem(subject: str, found: str, mend: str) -> Finding:
    """Return that something has to be mended."""
    return Finding(level="problem", subject=subject, found=found, mend=mend)


def as_number(info: Mapping[str, str], name: str) -> float | None:
    """Read a number from a server's `INFO`; `None` where it does not tell."""
    try:
        return float(info[name])
    except (KeyError, ValueError):
        return None
