"""What befalls a stage, by what the table of promises calls it; each ends with all as it should be.

A fault returns in how many seconds what it took away was served by another, if it took any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..stages import Setup
from . import cache, cluster, database, processes, sentinel

Fault = Callable[[Any], float | None]

EVERYWHERE: Mapping[str, Fault] = {**processes.FAULTS, **database.FAULTS}
BY_CACHE: Mapping[str, Mapping[str, Fault]] = {
    "server": cache.FAULTS,
    "sentinel": sentinel.FAULTS,
    "cluster": cluster.FAULTS,
}


def faults_of(setup: Setup) -> dict[str, Fault]:
    """Return all faults that a stage can have."""
    faults = {**EVERYWHERE, **BY_CACHE[setup.cache]}
    if setup.is_async:
        # Django has no ATOMIC_REQUESTS for async views.
        del faults[processes.FAILING_VIEWS]
    return faults
