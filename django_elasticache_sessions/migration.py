"""Taking over all live sessions of another engine at once, so that nobody is logged out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from django.conf import settings

from .conf import get_configuration
from .drivers import sync
from .exceptions import SessionNotSerializable, SessionStoreUnavailable, SessionTooLarge
from .keys import is_session_key
from .marks import Found
from .previous import make_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of sessions: `seen` there, `adopted` here, or to be adopted in a dry run.

    `left` are not: taken over or ended already, expired, or empty. `refused` are too large, hold
    what `SESSION_SERIALIZER` cannot encode, or have a session key that is too short.
    """

    seen: int = 0
    adopted: int = 0
    left: int = 0
    refused: int = 0

    def __add__(self, other: Tally) -> Tally:
        mine, others = asdict(self), asdict(other)
        return Tally(**{name: mine[name] + others[name] for name in mine})


def migrate_sessions(
    engine: str,
    *,
    cache_alias: str,
    batch_size: int,
    dry_run: bool = False,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Take over every live session of an engine, keeping its session key, data and remaining life.

    May be stopped and run again at any time: what was taken over is recognised. `progress` is
    called after each batch. Raises `SessionStoreUnavailable` and `ImproperlyConfigured`.
    """
    source = make_source(engine, cache_alias)
    tally = Tally()
    for session_key in source.session_keys(batch_size):
        try:
            found = source.find(session_key)
        except Exception as error:
            raise SessionStoreUnavailable(
                f"{engine} did not serve ({type(error).__name__})."
            ) from None
        tally += Tally(seen=1) + (_take_over(found, dry_run=dry_run) if found else Tally(left=1))
        if tally.seen % batch_size == 0:
            progress(tally)
    progress(tally)
    return tally


def _take_over(found: Found, *, dry_run: bool) -> Tally:
    if not is_session_key(found.session_key):
        # It would never be read here.
        return Tally(refused=1)
    if dry_run:
        return Tally(adopted=1)
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore()
    try:
        is_new = sync.get_driver(get_configuration().alias).run(store.take_over(found))
    except (SessionTooLarge, SessionNotSerializable):
        return Tally(refused=1)
    return Tally(adopted=1) if is_new else Tally(left=1)
