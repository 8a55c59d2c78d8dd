"""Taking sessions over from another engine, at their first visit or by `migratesessions`."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from .. import keys, previous
from ..conf import get_configuration
from ..exceptions import SessionNotSerializable, SessionStoreUnavailable, SessionTooLarge
from ..fields import FieldMap
from ..operations import Operation, StoredSession
from ..previous import Ask, Found, Since
from ..serializers import make_serializer
from .saving import Saving, first_stored

#: The stamp in the KEY of a session that was taken over, until its first rotation, is when it
#: expires in the other engine, in seconds since the epoch: less than any stamp.
_LAST_EXPIRY = 1 << 33

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
        new, _ = self._new_session(name, found.session_key)
        expires = min(int(time.time()) + found.seconds_left, _LAST_EXPIRY - 1)
        key = naming.key(found.session_key, new.created, expires)
        new = replace(new, ttl=min(found.seconds_left, new.ttl), key=key)
        del self._session_cache
        is_new: bool = yield from self._operations.create(naming, name, new)
        is_there: bool = yield Ask(found.mark, ())
        if is_new and not is_there:
            # It was ended there since it was read.
            yield from self._operations.delete(naming, first_stored(name, new))
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
        stored: StoredSession | None = yield from self._operations.load(name, tuple, self._is_mine)
        return stored

    def _load(self) -> Operation[FieldMap]:
        data: FieldMap = yield from super()._load()
        stored, engines = self._stored, get_configuration().previous_engines
        if stored is None or not engines:
            return data
        expires = keys.stamp_of_key(stored.key)
        if expires >= _LAST_EXPIRY:
            return data
        alias = get_configuration().options.previous_cache_alias
        since: Since | None
        try:
            since = yield Ask(previous.since, (engines, alias, self.session_key))
        except SessionStoreUnavailable as problem:
            return self._without_store(problem)
        if since is None:
            if time.time() >= expires:
                return data
            # A process of the other engine has ended it.
            yield from self._operations.delete(get_configuration().naming, stored)
            self._session_key = None
            return self._empty()
        if since:
            yield from self._take(since, data, stored)
        return data

    def _take(self, since: Since, data: FieldMap, stored: StoredSession) -> Operation[None]:
        """Do to the session here what a process of the other engine did to it there."""
        self._session_cache = data
        data.update(since.changed)
        for name in since.removed:
            data.pop(name, None)
        is_there = not (since.changed or since.removed) or (yield from self._merge(stored))
        del self._session_cache
        if is_there:
            yield Ask(since.found.mark, ())

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
