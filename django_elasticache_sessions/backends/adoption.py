"""Taking sessions over from another engine, at their first visit or by `migratesessions`."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from .. import keys, previous
from ..conf import get_configuration
from ..exceptions import SessionNotSerializable, SessionTooLarge
from ..fields import FieldMap
from ..operations import Operation, StoredSession
from ..previous import Ask, Found
from ..serializers import make_serializer
from .saving import Saving

logger = logging.getLogger("django_elasticache_sessions")


class Adoption(Saving):
    """`PREVIOUS_ENGINES`: what is missing here may be there."""

    def take_over(self, found: Found) -> Operation[bool]:
        """Store another engine's session here; `False` where it is already, or has ended.

        Raises `SessionTooLarge`, `SessionNotSerializable` and `SessionStoreUnavailable`.
        """
        naming = get_configuration().naming
        name = naming.session(found.session_key)
        self._session_cache = FieldMap(make_serializer(self.serializer))
        self._session_cache.update(found.data)
        new, _ = self._new_session(name, time.time_ns() // 1000)
        new = replace(new, ttl=min(found.seconds_left, self._ttl(new.created)))
        del self._session_cache
        is_new: bool = yield from self._operations.create(naming, name, new)
        is_there: bool = yield Ask(found.mark, ())
        if is_new and not is_there:
            # It was ended there since it was read.
            yield from self._operations.delete(naming, (name,), user_tag=new.user_tag)
        return is_new and is_there

    def _missing(self, name: keys.SessionName) -> Operation[StoredSession | None]:
        configuration = get_configuration()
        engines = configuration.previous_engines
        if not engines:
            return None
        alias = configuration.options.previous_cache_alias
        found = yield Ask(previous.find, (engines, alias, self.session_key))
        if found is None:
            return None
        try:
            yield from self.take_over(found)
        except (SessionTooLarge, SessionNotSerializable) as problem:
            # It would fail at each visit. There it stays, for who goes back or raises the limit.
            logger.warning("Session %s stays in its previous engine. %s", name.sid, problem)
            self.__dict__.pop("_session_cache", None)
            return None
        stored: StoredSession | None = yield from self._operations.load(name, tuple)
        return stored

    def _end_previous(self, session_key: str | None) -> Operation[None]:
        """End a session where it was taken over from: nobody may go back to it."""
        configuration = get_configuration()
        engines = configuration.previous_engines
        if engines and session_key:
            alias = configuration.options.previous_cache_alias
            step = Ask(previous.end, (engines, alias, session_key))
            # Error reports show the variables of every frame.
            del session_key
            yield step
