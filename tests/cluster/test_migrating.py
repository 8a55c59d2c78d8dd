"""Adopting another engine's sessions, in a cluster."""

from __future__ import annotations

from ..test_migration import *  # noqa: F403
