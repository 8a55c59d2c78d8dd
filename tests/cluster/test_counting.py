"""Figures, in a cluster."""

from __future__ import annotations

from ..test_stats import *  # noqa: F403
