"""The dashboard, in a cluster."""

from __future__ import annotations

from ..test_dashboard import *  # noqa: F403

#: Counted in front of one server; `test_round_trips` counts those of a cluster.
test_the_page_costs_few_round_trips_more_than_its_session = None
