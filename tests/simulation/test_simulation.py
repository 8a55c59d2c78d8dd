"""Random schedules: nothing acknowledged is lost, nothing ended comes back.

`SIMULATED_SCHEDULES` in the environment is how many in all; `python3 -m tests.simulation` runs more,
other seeds and PostgreSQL.
"""

from __future__ import annotations

import os

import pytest

from .drawing import THEMES
from .searching import Search
from .stage import Stage

SCHEDULES = int(os.environ.get("SIMULATED_SCHEDULES", "20000"))
_MODES = [("cached_db", "through", 9), ("cached_db", "behind", 8), ("cache", "through", 3)]
#: Each has a part of the schedules, so that several processes can share them.
_PARTS = [(engine, writes, part) for engine, writes, parts in _MODES for part in range(parts)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("engine", "writes", "part"), _PARTS)
def test_no_order_of_steps_breaks_a_promise(engine, writes, part, django_db_blocker):
    with (
        django_db_blocker.unblock(),
        Stage(engine=engine, writes=writes, vendor="sqlite") as stage,
    ):
        search = Search(stage)
        for _ in search.at_random(SCHEDULES // len(_PARTS), seed=part):
            pass
    assert not search.findings.by_kind, search.findings.shown()


def test_every_theme_is_drawn():
    assert {"calm", "split", "transactions"} <= THEMES.keys()
