"""What a login ends, in a cluster."""

from __future__ import annotations

from ..test_login_rules import *  # noqa: F403
