"""Saves that reach the database later, in a cluster."""

from __future__ import annotations

from ..test_behind import *  # noqa: F403
