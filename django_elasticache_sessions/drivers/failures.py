"""Who takes note of an exchange that failed, the same for both drivers."""

from __future__ import annotations

from typing import Any, Protocol

from ..breaker import Patience
from ..exceptions import LimitReached, SessionStoreUnavailable
from ..health import Health
from .authentication import tell_refusal
from .replies import classify


class Watched(Protocol):
    """A driver, as far as it is watched."""

    pool: Any
    health: Health
    patience: Patience


def note_failure(driver: Watched, error: Exception, began: float) -> SessionStoreUnavailable:
    """Take note of an error of the wire in an exchange that began then; return what to raise."""
    failure = classify(error)
    if isinstance(failure, LimitReached):
        driver.health.limited(failure)
        return failure
    driver.patience.failed(error, began)
    tell_refusal(driver.pool.connection_kwargs, error)
    driver.health.failed(failure)
    return failure
