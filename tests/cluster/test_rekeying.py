"""Rotation of keys, in a cluster."""

from __future__ import annotations

from ..test_rotation_of_keys import *  # noqa: F403
