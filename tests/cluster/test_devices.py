"""The devices of a user, in a cluster."""

from __future__ import annotations

from ..test_devices import *  # noqa: F403
