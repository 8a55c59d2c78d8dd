"""Amazon CloudWatch: what it measured of the cache, and what it is told of the sessions."""

from __future__ import annotations

from . import dashboard
from .metrics import Metric
from .publishing import Datum, gather, publish
from .reading import Point, Readings, Series, read
from .targets import Node, Target

__all__ = [
    "Datum",
    "Metric",
    "Node",
    "Point",
    "Readings",
    "Series",
    "Target",
    "dashboard",
    "gather",
    "publish",
    "read",
]
