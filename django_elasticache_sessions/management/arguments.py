"""Values of command line options."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def positive(most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from 1 to `most`."""

    def read(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise ArgumentTypeError(f"expected a whole number from 1 to {most}, found {text!r}")
        return int(text)

    return read
