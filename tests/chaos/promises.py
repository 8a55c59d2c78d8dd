"""What is promised of each fault: the one table that the suite asserts.

`docs/fallback.rst` says the same in words. *during* is what may be seen while the fault is there,
*afterwards* what may be found once both stores serve again and every process knows it. *behind*
may happen in addition with ``FALLBACK_WRITES = "behind"``, whose rows are older for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .ledger import Wrong

LOST, STALE, ZOMBIE, SIGNED_OUT = Wrong.LOST, Wrong.STALE, Wrong.ZOMBIE, Wrong.SIGNED_OUT
Allowed = tuple[Wrong, ...]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """Of one fault; nothing that is not named here may happen."""

    during: Allowed = ()
    afterwards: Allowed = ()
    #: A row is older until the next pass: whoever waited too long for the cache reads that.
    behind: Allowed = (STALE,)
    #: Whether visitors, or only staff, may be told that the store is unavailable.
    errors: bool = False
    staff_errors: bool = False
    longest_seconds: float = 2.0
    recovery_seconds: float = 3.0

    def of(self, writes: str) -> Promise:
        """Return what is promised under a setting of `FALLBACK_WRITES`."""
        if writes != "behind":
            return self
        seen = tuple(what for what in self.behind if what is not LOST)
        return replace(self, during=self.during + seen, afterwards=self.afterwards + self.behind)


#: While a database is away nobody knows of a session that is not in the cache.
DATABASE_AWAY = Promise(staff_errors=True, longest_seconds=3.0)
#: The rows are all there is meanwhile.
CACHE_AWAY = Promise(longest_seconds=3.0)
#: It is away for some processes, or for some of their commands. The others learn within a second of
#: what those saved and ended.
UNNOTICED = replace(CACHE_AWAY, during=(STALE,))
#: Under `behind` what was saved since the last pass goes with the cache.
CACHE_LOST = Promise(behind=(STALE, LOST), longest_seconds=3.0)
#: gunicorn listens before it serves: who comes too early waits until Django has been imported.
STARTING = Promise(longest_seconds=10.0)
BOTH_AWAY = Promise(errors=True, longest_seconds=4.0)
#: No faults, but looks at one of the homes.
HOMES = ("row as it is", "row alone", "cache alone")

PROMISES: dict[str, Promise] = {
    "none": Promise(),
    # The cache.
    "cache killed, restarted empty": CACHE_LOST,
    "cache frozen for 3 s": CACHE_AWAY,
    "cache restarted, old snapshot": CACHE_LOST,
    "replica promoted, writes missing": CACHE_LOST,
    "primary demoted (READONLY)": CACHE_AWAY,
    "replies cut in the middle": CACHE_AWAY,
    "cache slow (200 ms)": replace(CACHE_AWAY, longest_seconds=4.0),
    "cache emptied": CACHE_LOST,
    "cache flapping": CACHE_AWAY,
    "one process without the cache": replace(UNNOTICED, during=(STALE, ZOMBIE)),
    # One process goes on with the old primary: PROTOCOL.md, "on purpose open".
    "split view": Promise(during=(STALE, ZOMBIE), behind=(STALE, LOST), longest_seconds=2.5),
    # The database.
    "database restarted": DATABASE_AWAY,
    "database stopped for 2 s": DATABASE_AWAY,
    "database crashed": DATABASE_AWAY,
    "database connections cut": DATABASE_AWAY,
    "database read-only": DATABASE_AWAY,
    "database connections used up": DATABASE_AWAY,
    "database hanging for 2 s": replace(DATABASE_AWAY, longest_seconds=4.0),
    "database flapping": DATABASE_AWAY,
    "one process without the database": DATABASE_AWAY,
    "database away, cache lost later": replace(DATABASE_AWAY, behind=(STALE, LOST)),
    # Both.
    "both down": BOTH_AWAY,
    "both flapping": BOTH_AWAY,
    # The processes.
    "half the processes killed": STARTING,
    "one process standing still": Promise(longest_seconds=5.0),
    "killed while the database is away": replace(STARTING, staff_errors=True),
    "clocks 5 s apart": STARTING,
    "views failing in transactions": Promise(),
    # Sentinels.
    "Sentinel: primary killed": CACHE_LOST,
    "Sentinel: primary frozen": replace(CACHE_LOST, during=(STALE, ZOMBIE)),
    "Sentinel: failover as told": CACHE_LOST,
    "Sentinel: old primary lives on": replace(CACHE_LOST, during=(STALE, ZOMBIE)),
    # A cluster.
    "slots moved": UNNOTICED,
    "primary killed, comes back": CACHE_LOST,
    "primary frozen": CACHE_LOST,
    "primary cut off from clients": UNNOTICED,
    "primary cut off from all": CACHE_LOST,
    "primary cut off from its peers": replace(CACHE_LOST, during=(STALE, ZOMBIE)),
    "cluster killed, restarted empty": CACHE_LOST,
    # After each fault, without a look through the site, or `syncsessions`: where saves go through.
    "row as it is": Promise(),
    # At the end of each stage, with either home alone.
    "row alone": Promise(),
    "cache alone": Promise(errors=True),
}
