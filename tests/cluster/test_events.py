"""Counts over time, in a cluster."""

from __future__ import annotations

from ..test_events import *  # noqa: F403

#: One step of a SCAN, which sees one node.
test_counts_expire_and_have_a_key_that_is_no_sessions = None
