"""The server-side scripts, each an atomic step over one bucket's keys.

They run on Valkey 7.2 and Redis 6.2 or newer, standalone and in a cluster: every key a script
touches is passed in KEYS and lies in one slot, and none needs a privilege beyond its own commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, known to the server by the SHA-1 of its source."""

    name: str
    source: bytes
    sha: bytes

    @classmethod
    def read(cls, name: str) -> Script:
        """Read a script that lies beside this file."""
        folder = files(__name__)
        source = folder.joinpath(f"{name}.lua").read_bytes()
        for call, part in ((b"(KEYS[2], ", "_index.lua"), (b"read(", "_metadata.lua")):
            if call in source:
                source = folder.joinpath(part).read_bytes() + source
        # The server names scripts by SHA-1; nothing is secured by it.
        return cls(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())


CREATE = Script.read("create")
SAVE = Script.read("save")
ROTATE = Script.read("rotate")
DELETE = Script.read("delete")
INDEX_USER = Script.read("index_user")
PRUNE = Script.read("prune")
REKEY = Script.read("rekey")

BY_SHA = {script.sha: script for script in (CREATE, SAVE, ROTATE, DELETE, INDEX_USER, PRUNE, REKEY)}
