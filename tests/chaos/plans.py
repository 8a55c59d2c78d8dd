"""Which faults befall which stages: a few in the test command, all of them in a long run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

from .cache_stages import SentinelStage, ServerStage
from .cluster_stage import ClusterStage
from .drill import USERS, Drill, Report
from .faults import Fault, faults_of
from .stages import Setup, Stage

STAGES: Mapping[str, type[Stage]] = {
    "server": ServerStage,
    "sentinel": SentinelStage,
    "cluster": ClusterStage,
}
#: What the test command does: every store, server and way of writing once.
SHORT: Sequence[tuple[Setup, Sequence[str]]] = (
    (
        Setup(),
        (
            "none",
            "cache killed, restarted empty",
            "replica promoted, writes missing",
            "database restarted",
            "database flapping",
            "one process without the database",
            "half the processes killed",
            "views failing in transactions",
        ),
    ),
    (
        Setup(database="mysql", is_async=True, writes="behind"),
        ("cache flapping", "database crashed", "database read-only", "one process standing still"),
    ),
    (
        Setup(cache="sentinel", is_async=True),
        ("Sentinel: primary frozen", "database connections used up"),
    ),
    (
        Setup(cache="cluster", writes="behind"),
        ("slots moved", "primary killed, comes back", "both down"),
    ),
)


def every_setup() -> list[Setup]:
    """Return all stages of a long run."""
    kinds: dict[str, tuple[Any, ...]] = {
        "cache": tuple(STAGES),
        "database": ("postgresql", "mysql"),
        "is_async": (False, True),
        "writes": get_args(Literal["through", "behind"]),
    }
    return [Setup(**dict(zip(kinds, values, strict=True))) for values in product(*kinds.values())]


def perform(setup: Setup, names: Sequence[str] | None = None, *, is_thorough: bool) -> Report:
    """Have the named faults, or all, befall a stage. Raises `Unavailable`."""
    known = faults_of(setup)
    faults: dict[str, Fault] = {name: known[name] for name in names or known}
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        STAGES[setup.cache](Path(folder), setup, USERS) as stage,
    ):
        return Drill(stage, is_thorough=is_thorough).run(faults)
