"""Each documented limit that the oracle knows is needed: without it, a simulation is violated."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from .drawing import draw, recorded
from .rules import RULES
from .running import run
from .schedule import Fault, Op, Schedule, Switch
from .stage import Stage

#: Where a rule is met soonest: engine, writes, theme.
_MET = {
    "unnoticed": ("cached_db", "behind", "split"),
    "waiting in the cache": ("cached_db", "behind", "history"),
    "waiting for days": ("cached_db", "behind", "ages"),
    "waiting out of reach": ("cached_db", "behind", "cache"),
    "row alone": ("cached_db", "behind", "cache"),
    "cut off crosswise": ("cached_db", "through", ""),
    "lost with the cache": ("cache", "through", "cache"),
    "two rotations": ("cached_db", "through", "calm"),
    "an end under an old key": ("cached_db", "through", "calm"),
    "killed during a logout": ("cached_db", "through", "moves"),
    "not written there": ("cached_db", "through", "migration"),
    "ended by its id while both are at work": ("cached_db", "through", "migration"),
    "saved there while it was migrated": ("cached_db", "through", "migration"),
    "changed back": ("cached_db", "through", "migration"),
    "the whole session is saved there": ("cached_db", "through", "migration"),
}
_MOST = 400
#: Those that are met too seldom.
_GIVEN = {
    "waiting for days": Schedule(
        actors=((Op("save", 1, "b"),), (), (Op("end others", 1, "b"), Op("prune", 1))),
        faults=(Fault((0, 0, 2), "jump", 700_000), Fault((2, 0, 10), "jump", 700_000)),
        writes="behind",
    ),
    "killed during a logout": Schedule(
        actors=((Op("logout", 0, "b"), Op("end for user")), (Op("load", 1),)),
        faults=(Fault((0, 0, 4), "move", 0), Fault((1, 0, 0), "move", 0)),
    ),
    "saved there while it was migrated": Schedule(
        actors=((Op("load", 1),), (Op("save", 1),)),
        switches=(Switch((0, 0, 0), 1), Switch((1, 0, 1), 0)),
        previous="db",
        old=(1,),
    ),
    "changed back": Schedule(
        actors=((Op("save", 0, "b"),), (Op("save", 0, "b"), Op("remove", 0, "b"))),
        previous="db",
        old=(1,),
    ),
    "the whole session is saved there": Schedule(
        actors=((Op("load"), Op("load")), (Op("save", 0, "b"),), (Op("save"),)),
        switches=(
            Switch((0, 1, 0), 1),
            Switch((1, 0, 1), 2),
            Switch((2, 0, 2), 1),
        ),
        previous="db",
        old=(1, 2),
    ),
    "cut off crosswise": Schedule(
        actors=((Op("logout", 1),), (Op("load"), Op("save", 1, "b"))),
        faults=(Fault((0, 0, 4), "refused"), Fault((1, 0, 0), "database away", 1)),
    ),
    "unnoticed": Schedule(
        actors=((Op("load", 1), Op("load", 1)), (Op("save", 1),)),
        switches=(Switch((0, 1, 0), 1), Switch((1, 1, 0), 0)),
        faults=(Fault((1, 0, 3), "cache away", 1),),
        writes="behind",
    ),
    "row alone": Schedule(
        actors=((Op("save"),), (Op("load"),)),
        faults=(Fault((1, 0, 0), "cache away", 1), Fault((1, 0, 0), "jump", 3)),
        writes="behind",
    ),
    "an end under an old key": Schedule(
        actors=((Op("logout", 1),), (Op("rotate", 1),)), switches=(Switch((0, 0, 3), 1),)
    ),
    "two rotations": Schedule(
        actors=((Op("rotate"),), (Op("rotate"),)),
        switches=(Switch((0, 0, 2), 1), Switch((1, 0, 3), 0)),
        faults=(Fault((0, 0, 0), "database away", 0),),
    ),
}


def schedules(rule: str, stage: Stage) -> Iterator[Schedule]:
    engine, writes, theme = _MET[rule]
    if rule in _GIVEN:
        yield _GIVEN[rule]
    for number in range(_MOST):
        drawn_schedule, drawn = draw(
            random.Random(number), engine=engine, writes=writes, database="sqlite", theme=theme
        )
        run(stage, drawn_schedule, drawn)
        yield recorded(drawn_schedule, drawn)


def is_needed(rule: str, stage: Stage, schedule: Schedule) -> bool:
    if not run(stage, schedule, without=[rule]).violations:
        return False
    return not run(stage, schedule).violations


def test_every_rule_is_watched():
    assert _MET.keys() == RULES.keys()


@pytest.mark.parametrize("rule", RULES)
def test_rule_is_needed(rule, django_db_blocker):
    engine, writes, _ = _MET[rule]
    with (
        django_db_blocker.unblock(),
        Stage(engine=engine, writes=writes, vendor="sqlite") as stage,
    ):
        assert any(is_needed(rule, stage, schedule) for schedule in schedules(rule, stage))
