"""Random schedules: nothing acknowledged is lost, nothing ended comes back.

`SIMULATED_SCHEDULES` in the environment is how many there are in all. `python3 -m tests.simulation`
runs more, of other seeds, and PostgreSQL.
"""

from __future__ import annotations

import os
import random

import pytest

from .drawing import THEMES, draw, recorded
from .exhausting import explore
from .running import run
from .schedule import Fault, Op, Schedule, Switch
from .searching import Search
from .shrinking import shrink
from .stage import Stage

SCHEDULES = int(os.environ.get("SIMULATED_SCHEDULES", "20000"))
_MODES = [("cached_db", "through", 9), ("cached_db", "behind", 8), ("cache", "through", 3)]
#: Each has a part of the schedules, so that several processes can share them.
_PARTS = [(engine, writes, part) for engine, writes, parts in _MODES for part in range(parts)]


@pytest.fixture
def stage(django_db_blocker):
    with (
        django_db_blocker.unblock(),
        Stage(engine="cached_db", writes="through", vendor="sqlite") as stage,
    ):
        yield stage


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("engine", "writes", "part"), _PARTS)
def test_no_order_of_steps_breaks_a_promise(engine, writes, part, django_db_blocker):
    with (
        django_db_blocker.unblock(),
        Stage(engine=engine, writes=writes, vendor="sqlite") as stage,
    ):
        search = Search(stage, shrinks=1)
        for _ in search.at_random(SCHEDULES // len(_PARTS), seed=part):
            pass
    assert not search.findings.by_kind, search.findings.shown()


@pytest.mark.parametrize("theme", THEMES)
def test_a_recorded_schedule_does_the_same_again(theme, stage):
    schedule, drawn = draw(
        random.Random(7), engine="cached_db", writes="through", database="sqlite", theme=theme
    )
    first = run(stage, schedule, drawn)
    second = run(stage, recorded(schedule, drawn))
    assert second.trace == first.trace
    assert [one.kind for one in second.violations] == [one.kind for one in first.violations]


def test_a_schedule_can_be_pasted():
    schedule = Schedule(
        actors=((Op("save", 0, "b"), Op("load")),),
        switches=(Switch((0, 0, 1), 0),),
        faults=(Fault((0, 1, 0), "jump", 3),),
        writes="behind",
    )
    names = {"Schedule": Schedule, "Op": Op, "Switch": Switch, "Fault": Fault}
    assert eval(str(schedule), names) == schedule


def test_shrinking_leaves_what_is_needed():
    schedule = Schedule(
        actors=((Op("load"), Op("save"), Op("touch")), (Op("logout"),), (Op("login", 1),)),
        switches=(Switch((0, 0, 1), 2), Switch((0, 1, 0), 1)),
        faults=(Fault((0, 1, 2), "lost"), Fault((0, 2, 0), "jump", 3)),
    )

    def is_bad(candidate):
        return any(
            fault.kind == "lost" and candidate.actors[fault.at[0]][fault.at[1]].kind == "save"
            for fault in candidate.faults
        )

    short = shrink(schedule, is_bad)
    assert short.actors == ((Op("save"),),)
    assert short.faults == (Fault((0, 0, 2), "lost"),)
    assert short.switches == ()


def test_all_schedules_of_two_operations_are_run_once(stage):
    seen = []

    def tried(schedule):
        seen.append(schedule)
        return run(stage, schedule)

    pair = Schedule(actors=((Op("load"),), (Op("load"),)))
    for _ in explore(pair, tried, preemptions=2):
        pass
    assert len(seen) == len(set(seen)) > 50
    # The first exchange of whoever comes in another's place can fail too.
    assert any(one.switches and one.faults and one.faults[0].at == (1, 0, 0) for one in seen)
