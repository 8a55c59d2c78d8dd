"""Processes that are killed, stand still, have another clock, or whose views fail."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..nodes import Node
from ..stages import Stage

FAILING_VIEWS = "views failing in transactions"


def nothing(stage: Stage) -> None:
    """Have no fault."""
    time.sleep(2.5)


def half_killed(stage: Stage) -> None:
    """Kill one of two, in the middle of what it does, and then the other."""
    for node in stage.nodes:
        _replace(node)


def standing_still(stage: Stage) -> None:
    """Have one stand still, and go on with what it was doing."""
    stage.nodes[0].freeze()
    try:
        time.sleep(2)
    finally:
        stage.nodes[0].thaw()


def killed_while_the_database_is_away(stage: Stage) -> None:
    """Kill who remembers what waits for the database."""
    stage.database.stop()
    time.sleep(1)
    stage.nodes[0].kill()
    stage.database.start()
    stage.nodes[0].start()
    stage.nodes[0].wait()
    time.sleep(1)


def clocks_apart(stage: Stage) -> None:
    """Have the clock of one be ahead, and then behind."""
    for seconds in (5.0, -5.0):
        _replace(stage.nodes[1], clock_seconds=seconds)
        time.sleep(1.5)
    _replace(stage.nodes[1])


def _replace(node: Node, **changes: float) -> None:
    if changes:
        node.stop()
    else:
        node.kill()
    node.start(**changes)
    node.wait()
    time.sleep(0.3)


FAULTS: dict[str, Callable[[Stage], None]] = {
    "none": nothing,
    "half the processes killed": half_killed,
    "one process standing still": standing_still,
    "killed while the database is away": killed_while_the_database_is_away,
    "clocks 5 s apart": clocks_apart,
    FAILING_VIEWS: nothing,
}
