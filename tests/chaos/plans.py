"""Which faults befall which stages: a few in the test command, all of them in a long run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cache_stages import SentinelStage, ServerStage
from .cluster_stage import ClusterStage
from .drill import USERS, Drill, Report, Tell, nobody
from .faults import BY_CACHE, Fault, faults_of
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


#: What a process and its database have to do with a cache of several servers.
WITH_SEVERAL = (
    "none",
    "one process standing still",
    "half the processes killed",
    "database flapping",
    "database stopped for 2 s",
)


def _everything(setup: Setup) -> tuple[Setup, Sequence[str]]:
    return setup, tuple(faults_of(setup))


def _of_its_cache(setup: Setup) -> tuple[Setup, Sequence[str]]:
    return setup, (*WITH_SEVERAL, *BY_CACHE[setup.cache])


#: Every fault, with each pair of store, server and way of writing.
LONG: Sequence[tuple[Setup, Sequence[str]]] = (
    _everything(Setup()),
    _of_its_cache(Setup(cache="sentinel", is_async=True)),
    _everything(Setup(database="mysql", is_async=True)),
    _of_its_cache(Setup(cache="cluster", database="mysql", is_async=True)),
    _everything(Setup(is_async=True, writes="behind")),
    _of_its_cache(Setup(cache="sentinel", database="mysql", writes="behind")),
    _everything(Setup(database="mysql", writes="behind")),
    _of_its_cache(Setup(cache="cluster", writes="behind")),
)


def perform(
    setup: Setup, names: Sequence[str], *, is_thorough: bool = False, tell: Tell = nobody
) -> Report:
    """Have the named faults befall a stage; see Drill. Raises `Unavailable`."""
    known = faults_of(setup)
    faults: dict[str, Fault] = {name: known[name] for name in names}
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        STAGES[setup.cache](Path(folder), setup, USERS) as stage,
    ):
        return Drill(stage, is_thorough=is_thorough, tell=tell).run(faults)
