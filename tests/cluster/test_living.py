"""Live sessions, in a cluster."""

from __future__ import annotations

from ..test_live import *  # noqa: F403
