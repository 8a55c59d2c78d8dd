"""Connections that were idle: something on the way may have dropped them without a word.

A NAT gateway or a load balancer forgets a connection that was silent for a while (AWS's after 350
seconds), and what is sent over it then is never answered. Both drivers share what is decided here.
"""

from __future__ import annotations

import math

#: A connection that was idle for longer may be dead.
IDLE_SECONDS = 60.0
#: How much of the time that an exchange may take is for the first reply over such a connection;
#: a fresh one gets the rest.
FIRST_REPLY_SHARE = 0.4


def first_reply_seconds(idle_seconds: float, seconds: float) -> float | None:
    """Return how long the first reply may take; `None` for as long as the whole exchange."""
    if idle_seconds <= IDLE_SECONDS or seconds == math.inf:
        return None
    return seconds * FIRST_REPLY_SHARE
