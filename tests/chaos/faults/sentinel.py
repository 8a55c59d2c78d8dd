"""Failovers by a Sentinel."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...servers.valkey import SERVICE_NAME
from ..cache_stages import SentinelStage


def primary_killed(stage: SentinelStage) -> None:
    """Lose a primary, which comes back as a replica."""
    lost = stage.primary
    lost.kill()
    stage.wait_until_led_by_another(lost)
    time.sleep(1)
    lost.start()
    stage.wait_until_whole()


def primary_frozen(stage: SentinelStage) -> None:
    """Have a primary stand still until another has its place, and go on as if nothing was."""
    lost = stage.primary
    lost.freeze()
    try:
        stage.wait_until_led_by_another(lost)
        time.sleep(1)
    finally:
        lost.thaw()
    stage.wait_until_whole()


def as_told(stage: SentinelStage) -> None:
    """Have the replica take over while the primary serves."""
    before = stage.primary
    with stage.sentinel.client() as client:
        client.execute_command("SENTINEL", "FAILOVER", SERVICE_NAME)
    stage.wait_until_led_by_another(before)
    stage.wait_until_whole()
    time.sleep(1)


def old_primary_lives_on(stage: SentinelStage) -> None:
    """Have the Sentinel lose sight of a primary for ten seconds that clients still reach."""
    lost = stage.primary
    lost.freeze()
    try:
        stage.wait_until_led_by_another(lost)
        # Nobody tells it that it is none any more.
        stage.sentinel.freeze()
    finally:
        lost.thaw()
    time.sleep(3)
    stage.sentinel.thaw()
    stage.wait_until_whole()


FAULTS: dict[str, Callable[[SentinelStage], None]] = {
    "Sentinel: primary killed": primary_killed,
    "Sentinel: primary frozen": primary_frozen,
    "Sentinel: failover as told": as_told,
    "Sentinel: old primary lives on": old_primary_lives_on,
}
