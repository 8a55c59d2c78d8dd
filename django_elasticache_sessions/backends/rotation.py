"""Moving a session to a new session key, and ending it."""

from __future__ import annotations

import time

from django.contrib.auth import SESSION_KEY as USER_ID_FIELD

from .. import keys, operations
from ..conf import get_configuration
from ..exceptions import SessionEnded, SessionStoreUnavailable
from ..operations import Operation, StoredSession
from ..signals import announce_creation, announce_end
from .adoption import Adoption
from .saving import ENDED

_ROTATE_ATTEMPTS = 8


class Rotation(Adoption):
    """Session keys: rotated at login (OWASP ASVS 5.0, 7.2.4), dead at logout."""

    def _cycle_key(self) -> Operation[None]:
        yield from self._ensure_loaded()
        if self.is_detached:
            raise SessionStoreUnavailable(_DETACHED)
        ending = self._end_previous(self.session_key)
        for attempt in range(_ROTATE_ATTEMPTS):
            if self._stored is None:
                break
            is_last = attempt == _ROTATE_ATTEMPTS - 1
            if (yield from self._rotate(self._stored, fenced=not is_last)):
                yield from ending
                return
        yield from self._create()

    def _rotate(self, old: StoredSession, *, fenced: bool) -> Operation[bool]:
        naming = get_configuration().naming
        key = naming.neighbour(old.name.bucket)
        # A new key for the same signed-in user does not prolong the session's absolute age.
        user_id = str(self._session_cache.get(USER_ID_FIELD, ""))
        is_renewal = user_id and naming.is_user(old.user_tag, user_id)
        created = old.created if is_renewal else time.time_ns() // 1000
        new, changes = self._new_session(key.name, created)
        result = yield from self._operations.rotate(naming, old, key.name, new, fenced=fenced)
        if result == operations.OTHER_VERSION:
            yield from self._catch_up(old)
            return False
        if result == operations.MISSING:
            yield from self._begin_anew(new.user_tag)
            return True
        if result == operations.NAME_TAKEN:
            return False
        self._session_key = key.session_key
        self._take_as_stored(key.name, new, changes)
        self.modified = True
        yield from announce_end(type(self), old.name.sid, "rotated")
        yield from announce_creation(type(self), key.name.sid, replaces=old.name.sid)
        return True

    def _catch_up(self, old: StoredSession) -> Operation[None]:
        stored = yield from self._operations.load(old.name, tuple)
        if stored is not None:
            self._stored = stored
            self._codec = self._make_codec(stored)
            self._session_cache.rebase(stored.fields, self._codec)

    def _begin_anew(self, user_tag: str) -> Operation[None]:
        if user_tag:
            raise SessionEnded(ENDED)
        # Nobody was signed in: the data of an expired visit may begin a new one.
        yield from self._create()

    def _exists(self, session_key: str | None) -> Operation[bool]:
        if not keys.is_session_key(session_key):
            return False
        names = get_configuration().naming.session_everywhere(session_key)
        del session_key
        found: bool = yield from self._operations.exists(names)
        return found

    def _delete(self, session_key: str | None) -> Operation[None]:
        naming = get_configuration().naming
        if session_key is None or session_key == self.session_key:
            session_key = self.session_key
            stored, reason = self._stored, "logout"
        else:
            stored, reason = None, "deleted"
        if not keys.is_session_key(session_key):
            return
        names = (stored.name,) if stored else naming.session_everywhere(session_key)
        ending = self._end_previous(session_key)
        # Error reports show the variables of every frame.
        del session_key
        ended = yield from self._operations.delete(
            naming, names, user_tag=stored.user_tag if stored else ""
        )
        yield from ending
        if ended:
            yield from announce_end(type(self), names[0].sid, reason)


_DETACHED = "The session store did not serve this request, so its session key cannot be changed."
