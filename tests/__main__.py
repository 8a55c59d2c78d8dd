"""Run all the tests: `python3 -m tests`, with nothing but Python 3.11 or newer and pip.

Makes a virtual environment in `.venv-tests`, installs tox there and lets it run style, types, docs
and the tests on every supported interpreter this machine has (those of pyenv count). Arguments go
to tox: `python3 -m tests -e py313-dj61 -- -k merge`. Exits with tox's status.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv-tests"
MINIMUM = (3, 11)


def main(arguments: list[str]) -> int:
    """Set up, run tox, and return its exit status."""
    if sys.version_info < MINIMUM:
        print(
            f"Python {'.'.join(map(str, MINIMUM))} or newer is needed, this is "
            f"{sys.version.split()[0]}. Run: python3.11 -m tests",
            file=sys.stderr,
        )
        return 2
    python = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not _has_tox(python) and not _set_up(python):
        return 2
    return subprocess.run(
        [python, "-m", "tox", "run", *arguments],
        cwd=REPOSITORY,
        env=_environment(),
        check=False,
    ).returncode


def _set_up(python: Path) -> bool:
    print(f"Setting up {ENVIRONMENT.name}: installing tox ...", file=sys.stderr)
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "--quiet", "tox>=4.22"],
    )
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            print(
                f"This step failed: {' '.join(step)}\nOn Debian and Ubuntu the venv module is in "
                "the package python3-venv; pip needs a way to the package index.",
                file=sys.stderr,
            )
            return False
    return True


def _has_tox(python: Path) -> bool:
    probe = [str(python), "-c", "import tox"]
    return (
        python.exists()
        and subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 0
    )


def _environment() -> dict[str, str]:
    """Return the environment, with pyenv's interpreters on PATH for tox to find."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    versions = [str(folder) for folder in sorted(root.glob("versions/3.*/bin"))]
    own = [
        part
        for part in os.environ.get("PATH", "").split(os.pathsep)
        if Path(part) != root / "shims"
    ]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": os.pathsep.join([*versions, *own])}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
