"""The indexes, in a cluster."""

from __future__ import annotations

from ..test_indexes import *  # noqa: F403
