"""Figures, in a cluster."""

from __future__ import annotations

import re

from ..test_ages import *  # noqa: F403
from ..test_stats import *  # noqa: F403


def test_the_table_says_of_how_many_servers_its_figures_are(sessions):
    assert re.search(r"^  server +valkey 9\S+, 3 primaries$", run(), re.M)  # noqa: F405
