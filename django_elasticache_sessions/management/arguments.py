"""Values of command line options."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST_SECONDS = 100 * 366 * 86_400
_LONGEST = 40


def positive(most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from 1 to `most`."""

    def read(text: str) -> int:
        is_number = text.isdecimal() and len(text) <= _LONGEST
        if not is_number or not 1 <= int(text) <= most:
            raise ArgumentTypeError(
                f"expected a whole number from 1 to {most}, found {_begin(text)}"
            )
        return int(text)

    return read


def duration(text: str) -> timedelta:
    """Read a duration: a whole number and its unit, such as `30d`."""
    found = re.fullmatch(r"(\d{1,10})([smhdw])", text, re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 0 < seconds <= _MOST_SECONDS:
        raise ArgumentTypeError(
            "expected a whole number and s, m, h, d or w for seconds to weeks, such as 30d, at "
            f"most 100 years; found {_begin(text)}"
        )
    return timedelta(seconds=seconds)


def _begin(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")
