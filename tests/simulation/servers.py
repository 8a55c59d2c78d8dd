"""Real Valkeys whose clock, replication id and history are simulated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from tests.servers.valkey import Valkey

from .clock import Clock

TIME_KEY, INFO_KEY = b"simulated:time", b"simulated:info"
_TIME_CALL = re.compile(rb"redis\.p?call\('TIME'\)")
_INFO_CALL = re.compile(rb"redis\.p?call\('INFO'[^)]*\)")
_PRELUDE = b"""
local function simulated_time()
  local now = redis.call('GET', 'simulated:time')
  return {string.sub(now, 1, -7), string.sub(now, -6)}
end
local function simulated_info()
  return redis.call('GET', 'simulated:info')
end
"""
_PASS_TIME = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= tonumber(ARGV[1]) then
    redis.call('DEL', key)
  elseif left >= 0 then
    redis.call('PEXPIRE', key, left - ARGV[1])
  end
end
"""
_COARSE_SECONDS = 25
#: By key: what DUMP returned, and when it expires by the simulated clock; 0 for never.
Snapshot = dict[bytes, tuple[bytes, float]]


class Server:
    """One Valkey."""

    def __init__(self, valkey: Valkey, clock: Clock, sources: Sequence[bytes]) -> None:
        """Take a running server, and the scripts that it is to know."""
        self.valkey = valkey
        self.clock = clock
        self.client: redis.Redis = valkey.client()
        self.simulated_shas: Mapping[bytes, bytes] = {
            _sha(source): _sha(_simulated(source)) for source in sources
        }
        for source in sources:
            self.client.script_load(_simulated(source))
        self.reset()

    def reset(self) -> None:
        """Forget everything but the scripts."""
        self.client.flushall()
        self._owed_seconds = 0.0
        self._number = 0
        self._note_id(before="0" * 40)

    def _note_id(self, *, before: str) -> None:
        self._number += 1
        # The first eight digits are what the package goes by.
        self.id = f"{self._number:04x}{self.valkey.port:04x}".ljust(40, "0")
        self.info = (
            f"role:master\r\nmaster_replid:{self.id}\r\nmaster_replid2:{before}\r\n".encode()
        )

    def state(self) -> tuple[bytes | str, ...]:
        """Return the command that tells the server its time and id, before others."""
        return ("MSET", TIME_KEY, str(self.clock.microseconds), INFO_KEY, self.info)

    def pass_time(self, seconds: float) -> None:
        """Have keys expire as if so much time had passed, though not to the second."""
        self._owed_seconds += seconds
        if self._owed_seconds >= _COARSE_SECONDS:
            self.client.eval(_PASS_TIME, 0, int(self._owed_seconds * 1000))
            self._owed_seconds = 0.0

    def take_snapshot(self) -> Snapshot:
        """Return all that is stored."""
        now = self.clock.seconds
        everything: list[bytes] = self.client.keys()
        keys = [key for key in everything if not key.startswith(b"simulated:")]
        expiries = {key: self.client.pttl(key) for key in keys}
        return {
            key: (self.client.dump(key), now + left / 1000 if left > 0 else 0)
            for key, left in expiries.items()
        }

    def become(self, snapshot: Snapshot, *, after: str) -> None:
        """Hold what there was at the snapshot, as a primary that followed another one."""
        now = self.clock.seconds
        self.client.flushall()
        for key, (dumped, expiry) in snapshot.items():
            if not expiry or expiry > now:
                self.client.restore(key, round((expiry - now) * 1000) if expiry else 0, dumped)
        self._note_id(before=after)

    def translate(self, commands: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Return commands so that they are answered by the simulated clock and id."""
        return [self._translated(command) for command in commands]

    def _translated(self, command: tuple[Any, ...]) -> tuple[Any, ...]:
        if command[0] == b"EVALSHA":
            return (b"EVALSHA", self.simulated_shas[command[1]], *command[2:])
        if command == ("TIME",):
            return ("GET", TIME_KEY)
        if command[:1] == ("INFO",):
            return ("GET", INFO_KEY)
        return command


def parsed_reply(command: tuple[Any, ...], reply: Any) -> Any:
    """Return the reply to a translated command as to the command itself."""
    if command == ("TIME",) and isinstance(reply, bytes):
        return [reply[:-6], reply[-6:]]
    return reply


def _simulated(source: bytes) -> bytes:
    source = _TIME_CALL.sub(b"simulated_time()", source)
    return _PRELUDE + _INFO_CALL.sub(b"simulated_info()", source)


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
