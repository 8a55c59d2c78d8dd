"""A progress bar, for people only: nothing is shown where the stream is no terminal."""

from __future__ import annotations

import time
from typing import TextIO

_WIDTH = 30
_SECONDS_BETWEEN = 0.1


class ProgressBar:
    """Shows how many of `total` sessions are done; a total of 0 is not known."""

    def __init__(self, stream: TextIO, total: int) -> None:
        """Take the stream to show it on, standard error as a rule."""
        self._stream = stream
        self._total = total
        self._is_shown = stream.isatty()
        self._next = 0.0

    def show(self, done: int) -> None:
        """Show how many are done, ten times a second at most."""
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _SECONDS_BETWEEN
        text = f"{done} sessions"
        if self._total:
            share = min(1.0, done / self._total)
            filled = int(share * _WIDTH)
            text = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {share:4.0%}  {text}"
        self._stream.write(f"\r{text}")
        self._stream.flush()

    def clear(self) -> None:
        """Take it off the screen."""
        if self._is_shown:
            self._stream.write("\r\033[K")
            self._stream.flush()
