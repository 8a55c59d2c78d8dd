"""Copy what the tests need out of the repository, leaving the package's source behind.

    python tests/stage.py REPOSITORY DESTINATION

Tests that run beside the source import the source; beside a copy of themselves they import the
installed wheel. Needs nothing but the standard library.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

NEEDED = (
    "CHANGELOG.rst",
    "README.rst",
    "benchmarks",
    "docs",
    "example_project",
    "pyproject.toml",
    "tests",
)


def stage(repository: Path, destination: Path) -> None:
    """Copy afresh; what lay at the destination before is removed."""
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    for name in NEEDED:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, destination / name, ignore=_unneeded)
        elif source.exists():
            shutil.copy2(source, destination / name)


def _unneeded(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in ("__pycache__", ".demo", "_build", "results")}


if __name__ == "__main__":
    stage(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
