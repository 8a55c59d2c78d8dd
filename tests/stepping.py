"""Running an operation step by step, so that others come in between."""

from __future__ import annotations

from typing import Any, TypeVar

from django_elasticache_sessions.drivers import sync
from django_elasticache_sessions.operations import Operation, Step

T = TypeVar("T")


def answer(step: Step) -> Any:
    """Do what an operation asks for, and return what it is told."""
    return sync.get_driver("sessions")._exchange(step) if isinstance(step, tuple) else step.run()


def finish(operation: Operation[T], step: Step) -> T:
    """Run an operation on from a step; return its result."""
    try:
        while True:
            step = operation.send(answer(step))
    except StopIteration as stop:
        return stop.value
