"""What happens in a forked child, before anything else runs there.

Connections belong to the parent. A lock that another thread of the parent held stays locked in the
child for ever, and what it protects may be half changed. So a child begins like a new process.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork(begin_anew: Callable[[], None]) -> Callable[[], None]:
    """Have a function called in every forked child; it must not wait for any lock."""
    # Windows has no fork.
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=begin_anew)
    return begin_anew
