"""What a new password ends, in a cluster."""

from __future__ import annotations

from ..test_passwords import *  # noqa: F403
