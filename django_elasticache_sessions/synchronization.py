"""Both outboxes of the `cached_db` engine: what waits for the database, and what for the cache."""

from __future__ import annotations

from dataclasses import dataclass

from .conf import get_configuration
from .drivers import sync
from .homes import Homes, get_homes, reconcile
from .operations import Operation
from .outbox import count_waiting, drain_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass did, in sessions.

    `saved` were brought from the cache into the database, `dropped` were older in the cache than in
    the database; `waiting` kept changing and are left for the next pass.
    """

    saved: int
    dropped: int
    waiting: int


def synchronize(*, batch_size: int) -> Pass:
    """Bring cache and database together, `batch_size` sessions at a time.

    May be cut off at any point and repeated. Raises `SessionStoreUnavailable`.
    """
    return sync.get_driver(get_configuration().alias).run(_synchronize(get_homes(), batch_size))


def _synchronize(homes: Homes, batch_size: int) -> Operation[Pass]:
    naming = get_configuration().naming
    homes.give_another_chance()
    dropped = yield from reconcile(homes)
    saved = yield from drain_all(homes, naming, batch_size=batch_size)
    waiting = yield from count_waiting(homes, naming)
    return Pass(saved=saved, dropped=dropped, waiting=waiting)
