"""The admin's live sessions, in a cluster."""

from __future__ import annotations

from ..test_admin import *  # noqa: F403
