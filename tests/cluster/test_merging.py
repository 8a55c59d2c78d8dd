"""G1, in a cluster."""

from __future__ import annotations

from ..test_merge import *  # noqa: F403
