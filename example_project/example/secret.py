"""The secret key of this checkout, made at the first start: none is written in the code."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from django.core.management.utils import get_random_secret_key


def secret_key(directory: Path) -> str:
    """Return the key kept in a directory; only the owner may read its file."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "secret_key"
    if not file.exists():
        _make(file)
    return file.read_text(encoding="ascii")


def _make(file: Path) -> None:
    # Two first starts at once: a link appears with its whole content, and the second one fails.
    with NamedTemporaryFile("w", dir=file.parent, encoding="ascii") as new:
        new.write(get_random_secret_key())
        new.flush()
        with contextlib.suppress(FileExistsError):
            os.link(new.name, file)
