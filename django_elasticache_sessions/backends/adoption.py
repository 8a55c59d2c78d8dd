"""Taking sessions over from another engine, at their first visit or by `migratesessions`."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

from .. import keys, previous
from ..conf import get_configuration
from ..exceptions import SessionNotSerializable, SessionStoreUnavailable, SessionTooLarge
from ..fields import FieldMap
from ..marks import Found, Since
from ..operations import Operation, StoredSession
from ..previous import Ask
from ..serializers import make_serializer
from .saving import Overtaken, Saving, first_stored

#: How often a session that others have changed meanwhile is read anew.
_TAKES = 2

#: The stamp in the KEY of a session that was taken over, until its first rotation, is when it
#: expires in the other engine, in seconds since the epoch: less than any stamp.
_LAST_EXPIRY = 1 << 33

logger = logging.getLogger("django_elasticache_sessions")


class Adoption(Saving):
    """`PREVIOUS_ENGINES`: what is missing here may be there."""

    #: Whether a session that has ended here cannot be created here again.
    _remembers_ends: ClassVar[bool] = False

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
        new = replace(new, ttl=min(found.seconds_left, new.ttl), key=key, is_known=True)
        del self._session_cache
        is_new: bool = yield from self._operations.create(naming, name, new)
        if not is_new:
            return False
        is_there: bool = yield self._mark(found, new.created)
        if not is_there:
            # It was ended since it was read, there, or here by whoever had taken it over.
            yield from self._operations.delete(naming, first_stored(name, new))
        return is_there

    def _mark(self, found: Found, created: int) -> Ask[bool]:
        return Ask(found.mark, (0 if self._remembers_ends else created,))

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
            # Another request may have taken it over since this one looked here.
            if found.known is None:
                yield from self.take_over(found)
        except (SessionTooLarge, SessionNotSerializable) as problem:
            # It would fail at each visit. There it stays, for who goes back or raises the limit.
            logger.warning("Session %s stays in its previous engine. %s", name.sid, problem)
            self.__dict__.pop("_session_cache", None)
            return None
        stored: StoredSession | None = yield from self._operations.load(name, tuple, self._is_mine)
        return stored

    def _load(self) -> Operation[FieldMap]:
        for _ in range(_TAKES):
            # Another request may have taken the same change, and changed more since.
            with suppress(Overtaken):
                return (yield from self._load_and_take(is_next=True))
        # Or the hash does not show its row yet.
        return (yield from self._load_and_take(is_next=False))

    def _load_and_take(self, *, is_next: bool) -> Operation[FieldMap]:
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
            is_there = time.time() >= expires
        elif not self._remembers_ends and since.found.created not in (None, stored.created):
            # What was taken over has ended here; this one came late.
            is_there = False
        else:
            is_there = not since or (yield from self._take(since, data, stored, is_next=is_next))
        if is_there:
            return data
        # A process of the other engine has ended it.
        yield from self._operations.delete(get_configuration().naming, stored)
        self._session_key = None
        return self._empty()

    def _take(
        self, since: Since, data: FieldMap, stored: StoredSession, *, is_next: bool
    ) -> Operation[bool]:
        """Do to the session here what a process of the other engine did to it there.

        `False` when it has ended there meanwhile.
        """
        self._session_cache = data
        data.update(since.changed)
        for name in since.removed:
            data.pop(name, None)
        try:
            is_mine = not (since.changed or since.removed) or (
                yield from self._merge(stored, is_next=is_next)
            )
        finally:
            del self._session_cache
        # Ended here, or under another session key by now, it is nobody's to mark.
        is_there: bool = not is_mine or (yield self._mark(since.found, stored.created))
        return is_there

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
