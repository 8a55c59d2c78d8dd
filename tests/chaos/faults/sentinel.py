"""Failovers by a Sentinel."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...servers.configuration import SENTINEL_PERIODS
from ...servers.valkey import SERVICE_NAME
from ..cache_stages import SentinelStage

#: A Sentinel makes a replica of an old primary after four of these; its own are of two seconds.
OWN_PUBLISH_MS = 1000


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
    _tell(stage, "FAILOVER", SERVICE_NAME)
    stage.wait_until_led_by_another(before)
    stage.wait_until_whole()
    time.sleep(1)


def old_primary_lives_on(stage: SentinelStage) -> None:
    """Have a primary that lost its place be told so only after seconds, while clients reach it."""
    _tell(stage, "DEBUG", "PUBLISH-PERIOD", OWN_PUBLISH_MS)
    try:
        primary_frozen(stage)
    finally:
        _tell(stage, "DEBUG", *SENTINEL_PERIODS)


def _tell(stage: SentinelStage, *words: object) -> None:
    with stage.sentinel.client() as client:
        client.execute_command("SENTINEL", *words)


FAULTS: dict[str, Callable[[SentinelStage], None]] = {
    "Sentinel: primary killed": primary_killed,
    "Sentinel: primary frozen": primary_frozen,
    "Sentinel: failover as told": as_told,
    "Sentinel: old primary lives on": old_primary_lives_on,
}
