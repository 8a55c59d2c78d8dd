"""A process that forks while its threads use sessions in a cluster."""

from __future__ import annotations

from ..test_forks import HOLD_EVERY_LOCK, IN_TIME, USE, lines
from ..test_processes import run_alone
from .conftest import FACTORY


def test_a_child_is_not_held_up_by_locks_of_its_parents_threads(steady_cluster):
    output = run_alone(
        lines(
            f"""
            settings.CACHES["sessions"]["OPTIONS"] = {{
                "CONNECTION_FACTORY": "{FACTORY}", "CLUSTER": True
            }}
            """,
            USE,
            HOLD_EVERY_LOCK,
            IN_TIME,
            """
            hold_every_lock()
            in_child(use_sessions)
            print("used")
            """,
        ),
        steady_cluster,
    )
    assert output == "used\n"
