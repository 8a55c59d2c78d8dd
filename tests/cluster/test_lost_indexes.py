"""The tests of users' indexes that were lost, in a cluster."""

from __future__ import annotations

from ..test_lost_indexes import *  # noqa: F403
