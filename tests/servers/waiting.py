"""Waiting on a condition."""

import asyncio
import time
from collections.abc import Callable

POLL_SECONDS = 0.005


def wait_until(
    condition: Callable[[], object], *, what: str, timeout_seconds: float = 30.0
) -> None:
    """Return as soon as ``condition()`` is true; raise TimeoutError naming ``what`` otherwise."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds:g} seconds")
        time.sleep(POLL_SECONDS)


async def until(
    condition: Callable[[], object], *, what: str, timeout_seconds: float = 30.0
) -> None:
    """Wait as wait_until() does, and let the event loop run."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds:g} seconds")
        await asyncio.sleep(0)
