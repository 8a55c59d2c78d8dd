"""A database that is stopped, crashed, cut off, read-only, full, slow to say anything, or flaps."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..stages import Stage
from .rhythm import flap


def restarted(stage: Stage) -> None:
    """Stop it and start it again at once, twice."""
    for _ in range(2):
        stage.database.stop()
        stage.database.start()
        time.sleep(1.2)


def stopped(stage: Stage) -> None:
    """Stop it, and start it after a while."""
    stage.database.stop()
    time.sleep(2)
    stage.database.start()


def crashed(stage: Stage) -> None:
    """Have it end without a word, and recover."""
    stage.database.stop(immediately=True)
    time.sleep(0.7)
    stage.database.start()
    time.sleep(0.7)


def connections_cut(stage: Stage) -> None:
    """End all connections, several times."""
    for _ in range(6):
        stage.database.cut_connections()
        time.sleep(0.4)


def read_only(stage: Stage) -> None:
    """Refuse to write, as a standby."""
    stage.database.set_read_only(True)
    time.sleep(2)
    stage.database.set_read_only(False)


def used_up(stage: Stage) -> None:
    """Have no connection left for anybody."""
    stage.database.set_full(True)
    time.sleep(2)
    stage.database.set_full(False)


def hanging(stage: Stage) -> None:
    """Say nothing, and do afterwards what it was told meanwhile."""
    for pipe in stage.pipes:
        pipe.hold()
    time.sleep(2)
    for pipe in stage.pipes:
        pipe.heal()


def flapping(stage: Stage) -> None:
    """Refuse 0.3 s of every 1.2 s."""
    flap(stage.cut_database, stage.heal_database)


def one_process_without(stage: Stage) -> None:
    """Have one process reach it no more."""
    stage.pipes[0].refuse()
    time.sleep(2.5)
    stage.pipes[0].heal()


def away_then_cache_lost(stage: Stage) -> None:
    """Stop it, and lose the cache well after it is back: what waited has been handed over."""
    stopped(stage)
    time.sleep(5)
    stage.empty_cache()


FAULTS: dict[str, Callable[[Stage], None]] = {
    "database restarted": restarted,
    "database stopped for 2 s": stopped,
    "database crashed": crashed,
    "database connections cut": connections_cut,
    "database read-only": read_only,
    "database connections used up": used_up,
    "database hanging for 2 s": hanging,
    "database flapping": flapping,
    "one process without the database": one_process_without,
    "database away, cache lost later": away_then_cache_lost,
}
