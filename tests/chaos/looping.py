"""`syncsessions --loop`, which write-behind needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

from .nodes import Places


class Looping:
    """One process of it; ends with its `with` block."""

    def __init__(self, places: Places, log: Path) -> None:
        self._places = places
        self._log = log

    def __enter__(self) -> Self:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "django", "syncsessions", "--loop"],
                env=self._places.environment(),
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()
