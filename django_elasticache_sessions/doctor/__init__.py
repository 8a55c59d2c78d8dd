"""The doctor: looks at the server, the database and Amazon as sessions meet them, and tells."""

from __future__ import annotations

from .examination import examine
from .findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
