"""Moving a session to a new session key, and ending it."""

from __future__ import annotations

from .. import keys
from ..conf import get_configuration
from ..exceptions import InvalidValue, SessionEnded, SessionStoreUnavailable
from ..operations import Operation, StoredSession
from ..signals import announce_end
from .adoption import Adoption
from .saving import ENDED


class Rotation(Adoption):
    """Session keys: rotated at login (OWASP ASVS 5.0, 7.2.4), dead at logout."""

    def _cycle_key(self) -> Operation[None]:
        self.accessed = True
        yield from self._ensure_loaded()
        if self.is_detached:
            raise SessionStoreUnavailable(_DETACHED)
        ending = self._end_previous(self.session_key)
        if self._stored is None:
            yield from self._create()
        elif (yield from self._merge(self._stored, (yield from self._rotated_key()))):
            self.modified = True
            yield from self._once_saved(self._note_rotation)
            yield from ending
        elif self._user_tag():
            raise SessionEnded(ENDED)
        else:
            # Nobody was signed in: the data of an expired visit may begin a new one.
            yield from self._create()
            yield from ending

    def _note_rotation(self) -> None:
        self.is_rotated = True

    def _exists(self, session_key: str | None) -> Operation[bool]:
        if not keys.is_session_key(session_key):
            return False
        finding = self._find(session_key)
        del session_key  # Error reports show the variables of every frame.
        try:
            return (yield from finding) is not None
        except InvalidValue:
            # To be refused when it is read, so it is missing.
            return False

    def _find(self, session_key: str) -> Operation[StoredSession | None]:
        naming = get_configuration().naming
        name, *older = naming.session_everywhere(session_key)

        def is_meant(stored: StoredSession) -> bool:
            return naming.admits(stored.key, stored.created, session_key)

        found: Operation[StoredSession | None] = self._operations.load(
            name, lambda: tuple(older), is_meant
        )
        return found

    def _delete(self, session_key: str | None) -> Operation[None]:
        is_own = session_key is None or session_key == self.session_key
        if session_key is None:
            session_key = self.session_key
        if not keys.is_session_key(session_key):
            return
        ending, finding = self._end_previous(session_key), self._find(session_key)
        # Error reports show the variables of every frame.
        del session_key
        stored = self._stored if is_own else None
        if stored is None:
            try:
                stored = yield from finding
            except InvalidValue:
                stored = None
        naming = get_configuration().naming
        ended = stored is not None and (yield from self._operations.delete(naming, stored))
        yield from ending
        if ended and stored:
            reason = "logout" if is_own else "deleted"
            yield from announce_end(type(self), stored.name.sid, reason)


_DETACHED = "The session store did not serve this request, so its session key cannot be changed."
