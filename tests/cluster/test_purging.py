"""Ending many sessions, in a cluster."""

from __future__ import annotations

from ..test_purge import *  # noqa: F403
