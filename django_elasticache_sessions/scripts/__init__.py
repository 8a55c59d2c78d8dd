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
        body = folder.joinpath(f"{name}.lua").read_bytes()
        parts = [part for part, calls in _PARTS.items() if any(call in body for call in calls)]
        source = b"".join(folder.joinpath(part).read_bytes() for part in parts) + body
        # The server names scripts by SHA-1; nothing is secured by it.
        return cls(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())


#: What scripts are put together from, and the calls that ask for it.
_PARTS = {
    "_index.lua": (b"enter(", b"leave(", b"catch_up("),
    "_events.lua": (b"tally(",),
    "_metadata.lua": (b"read(", b"parse(", b"open("),
    "_twin.lua": (b"open(",),
    "_keys.lua": (b"stamp_of_key(",),
    "_pending.lua": (b"await", b"bury("),
    "_bury.lua": (b"bury(",),
    "_pruned.lua": (b"drop_expired(",),
    "_merge.lua": (b"merge(", b"is_repeat(", b"catch_up("),
    "_ended.lua": (b"is_ended(",),
    "_meant.lua": (b"is_meant(",),
    "_origin.lua": (b" origin()", b"is_of_here("),
    "_follow.lua": (b"catch_up(",),
}

CREATE = Script.read("create")
SAVE = Script.read("save")
DELETE = Script.read("delete")
INDEX_USER = Script.read("index_user")
PRUNE = Script.read("prune")
COUNT = Script.read("count")
DESCRIBE = Script.read("describe")
PURGE = Script.read("purge")
DOUBT = Script.read("doubt")
REINDEX = Script.read("reindex")
REKEY = Script.read("rekey")
NOTE = Script.read("note")
PROBE = Script.read("probe")
# Those of the cached_db engine.
LEASE = Script.read("lease")
FILL = Script.read("fill")
FOLLOW = Script.read("follow")
REFRESH = Script.read("refresh")
BEHIND = Script.read("behind")
DROP = Script.read("drop")
END = Script.read("end")
ORIGIN = Script.read("origin")
CREATE_PENDING = Script.read("create_pending")
SAVE_PENDING = Script.read("save_pending")
HANDED = Script.read("handed")

BY_SHA = {script.sha: script for script in globals().copy().values() if type(script) is Script}
