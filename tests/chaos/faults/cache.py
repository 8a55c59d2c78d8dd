"""A single server that is killed, frozen, replaced by an older one, slow, or flaps."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...servers.valkey import Valkey
from ..cache_stages import ServerStage
from . import database
from .rhythm import flap


def killed_and_restarted_empty(stage: ServerStage) -> None:
    """Lose all that it holds."""
    stage.valkey.kill()
    time.sleep(1.5)
    stage.valkey.restart(keep_data=False)
    time.sleep(0.7)


def frozen(stage: ServerStage) -> None:
    """Say nothing, and do afterwards what it was told meanwhile."""
    stage.valkey.freeze()
    time.sleep(3)
    stage.valkey.thaw()


def restarted_with_an_old_snapshot(stage: ServerStage) -> None:
    """Go back to what was some time ago."""
    with stage.valkey.client() as client:
        client.save()
    time.sleep(1.5)
    stage.valkey.kill()
    stage.valkey.start()
    time.sleep(0.7)


def replica_promoted_that_missed_writes(stage: ServerStage) -> None:
    """Have all go on with a replica that was behind."""
    with Valkey(replica_of=stage.valkey) as replica:
        time.sleep(0.7)
        replica.freeze()
        time.sleep(1)
        stage.valkey.kill()
        _promote(replica)
        stage.lead_to(replica)
        time.sleep(1.2)
        stage.valkey.restart(keep_data=False)
        stage.lead_to(stage.valkey)


def split_view(stage: ServerStage) -> None:
    """Have one process go on with the old primary, the other with the new; then both with that."""
    replica = Valkey(replica_of=stage.valkey).start()
    try:
        time.sleep(0.7)
        _promote(replica)
        stage.lead_to(replica, stage.relays[0])
        time.sleep(2.5)
        stage.lead_to(replica)
        time.sleep(0.5)
    except BaseException:
        replica.stop()
        raise
    _forget_primary(replica)
    stage.valkey.stop()
    stage.valkey = replica
    stage.callback(replica.stop)


def primary_demoted(stage: ServerStage) -> None:
    """Refuse to write, as a replica."""
    with stage.valkey.client() as client:
        client.replicaof(stage.valkey.host, 1)
        time.sleep(1.5)
        client.replicaof("NO", "ONE")


def replies_cut(stage: ServerStage) -> None:
    """Do what is told and lose the reply."""
    for _ in range(20):
        for relay in stage.relays:
            relay.cut_reply_after(5)
        time.sleep(0.1)
    stage.heal_cache()


def slow(stage: ServerStage) -> None:
    """Take 200 ms for each round trip."""
    for relay in stage.relays:
        relay.delay(0.2)
    time.sleep(2.5)
    stage.heal_cache()


def emptied(stage: ServerStage) -> None:
    """Forget everything, several times."""
    for _ in range(4):
        stage.empty_cache()
        time.sleep(0.5)


def flapping(stage: ServerStage) -> None:
    """Refuse 0.3 s of every 1.2 s."""
    flap(stage.cut_cache, stage.heal_cache)


def one_process_without(stage: ServerStage) -> None:
    """Have one process reach it no more."""
    stage.cut_cache(stage.relays[0])
    time.sleep(2.5)
    stage.heal_cache()


def both_down(stage: ServerStage) -> None:
    """Have neither store."""
    stage.valkey.freeze()
    database.stopped(stage)
    stage.valkey.thaw()


def both_flapping(stage: ServerStage) -> None:
    """Have now the one, now the other."""
    flap(stage.cut_cache, stage.heal_cache)
    for _ in range(3):
        stage.cut_database()
        time.sleep(0.3)
        stage.cut_cache()
        stage.heal_database()
        time.sleep(0.3)
        stage.heal_cache()
        time.sleep(0.3)


def _promote(replica: Valkey) -> None:
    replica.thaw()
    with replica.client() as client:
        client.replicaof("NO", "ONE")


def _forget_primary(replica: Valkey) -> None:
    """Have it be a primary when it starts again, too."""
    replica.replica_of = None
    with replica.client() as client:
        client.config_rewrite()


FAULTS: dict[str, Callable[[ServerStage], None]] = {
    "cache killed, restarted empty": killed_and_restarted_empty,
    "cache frozen for 3 s": frozen,
    "cache restarted, old snapshot": restarted_with_an_old_snapshot,
    "replica promoted, writes missing": replica_promoted_that_missed_writes,
    "primary demoted (READONLY)": primary_demoted,
    "replies cut in the middle": replies_cut,
    "cache slow (200 ms)": slow,
    "cache emptied": emptied,
    "cache flapping": flapping,
    "one process without the cache": one_process_without,
    "split view": split_view,
    "both down": both_down,
    "both flapping": both_flapping,
}
