"""Reading a session: what is missing, what is refused, what an unavailable store means."""

from __future__ import annotations

import logging
from typing import Any, ClassVar
from weakref import ref

from django.contrib.sessions.backends.base import SessionBase

from .. import keys, listing, operations
from ..codec import SessionCodec
from ..conf import get_configuration
from ..exceptions import InvalidValue, SessionStoreUnavailable, UnknownFormat
from ..fields import FieldMap
from ..operations import Operation, StoredSession
from ..serializers import make_serializer
from .lifetime import Lifetime

security_logger = logging.getLogger("django.security.SuspiciousSession")


class _Rejection:
    """Tells a store that a field of its session is forged, without a reference cycle.

    Cycles would leave every request's session to the garbage collector.
    """

    __slots__ = ("_sid", "_store")

    def __init__(self, store: Loading, sid: str) -> None:
        self._store = ref(store)
        self._sid = sid

    def __call__(self, name: str, reason: str) -> None:
        store = self._store()
        if store is not None:
            store.reject(self._sid, f"field {name!r}: {reason}")


class Loading(Lifetime):
    """The session as it was read, and its session key."""

    #: The module whose operations keep this engine's sessions.
    _operations: ClassVar[Any] = operations
    #: What can be asked which sessions live, the most reliable first.
    _listings: ClassVar[tuple[Any, ...]] = (listing,)
    _session_cache: Any
    _codec: SessionCodec

    def __init__(self, session_key: str | None = None) -> None:
        """Take the session key from the cookie, whatever it holds; nothing is loaded yet."""
        super().__init__(session_key)
        #: Whether this request is served without its session (`ON_UNAVAILABLE = "anonymous"`).
        self.is_detached = False
        #: The problem last raised to this request, which our middleware answers with 503.
        self.unavailable: SessionStoreUnavailable | None = None
        #: Whether the session key that the visitor sent is dead since this request rotated it.
        self.is_rotated = False

    @property
    def session_id(self) -> str | None:
        """The hashed id by which staff, logs and signals name this session."""
        if self._stored is not None:
            return self._stored.name.sid
        if self.session_key is None:
            return None
        return get_configuration().naming.session(self.session_key).sid

    def _set_session_key(self, value: str | None) -> None:
        super()._set_session_key(value)
        self._stored = None

    _session_key = property(SessionBase._get_session_key, _set_session_key)

    def _validate_session_key(self, key: object) -> bool:
        return keys.is_session_key(key)

    def _get_new_session_key(self) -> str:
        return keys.new_session_key()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    @property
    def _makes_own_keys(self) -> bool:
        """Whether session keys are made otherwise than here."""
        ways = (self._get_new_session_key, self._aget_new_session_key)
        ours = (Loading._get_new_session_key, Loading._aget_new_session_key)
        return tuple(getattr(way, "__func__", None) for way in ways) != ours

    def _load(self) -> Operation[FieldMap]:
        configuration = get_configuration()
        if self.session_key is None:
            return self._empty()
        name = configuration.naming.session(self.session_key)
        try:
            stored = yield from self._operations.load(name, self._older_names, self._is_mine)
            if stored is None:
                stored = yield from self._missing(name)
        except InvalidValue as problem:
            self.reject(name.sid, str(problem))
            return self._empty()
        except SessionStoreUnavailable as problem:
            return self._without_store(problem)
        return self._adopt(stored)

    def _missing(self, name: keys.SessionName) -> Operation[StoredSession | None]:
        """Look elsewhere for a session that is not stored."""
        return None
        yield

    def _is_mine(self, stored: StoredSession) -> bool:
        """Tell whether a stored session's KEY is that of this session key."""
        naming, session_key = get_configuration().naming, self.session_key
        return session_key is not None and naming.admits(stored.key, stored.created, session_key)

    def _older_names(self) -> tuple[keys.SessionName, ...]:
        return get_configuration().naming.session_everywhere(str(self.session_key))[1:]

    def _adopt(self, stored: StoredSession | None) -> FieldMap:
        options = get_configuration().options
        if stored is None or (
            options.absolute_age and self._is_beyond_absolute_age(stored.created)
        ):
            self._session_key = None
            return self._empty()
        codec = self._codec = self._make_codec(stored)
        try:
            codec.check_all(stored.fields.values())
        except InvalidValue as problem:
            self.reject(stored.name.sid, str(problem))
            return self._empty()
        except UnknownFormat as problem:
            return self._without_store(problem)
        self._stored = stored
        if options.refresh_after and self._is_due_for_refresh(stored.saved):
            self.modified = True
        return FieldMap(
            make_serializer(self.serializer),
            stored.fields,
            codec=codec,
            rejected=_Rejection(self, stored.name.sid),
        )

    def _ensure_loaded(self) -> Operation[None]:
        """Load the session, or, where its data was replaced unseen, at least its metadata."""
        if "_session_cache" not in self.__dict__:
            self._session_cache = yield from self._load()
        elif self._stored is None and not self.is_detached:
            replacement = self._data()
            yield from self._load()
            self._session_cache = replacement

    def _without_store(self, problem: SessionStoreUnavailable) -> FieldMap:
        """Serve this request without a session, or raise; the session key stays, so the cookie."""
        if not get_configuration().is_anonymous_when_unavailable:
            raise problem
        self.is_detached = True
        if self.session_key is None:
            self._session_key = keys.new_session_key()
        return self._empty()

    def reject(self, sid: str, reason: str) -> None:
        """Log that a stored session was refused, and treat it as missing."""
        security_logger.warning("Session %s rejected: %s.", sid, reason)
        self._session_key = None

    def _empty(self) -> FieldMap:
        return FieldMap(make_serializer(self.serializer))

    def _data(self) -> FieldMap:
        """Return this session's data as a field map; a plain dict put in its place replaces all."""
        data = self.__dict__.get("_session_cache")
        if isinstance(data, FieldMap):
            return data
        fields = FieldMap(make_serializer(self.serializer), replace=True)
        fields.update(data or {})
        return fields

    def _make_codec(self, stored: StoredSession) -> SessionCodec:
        return SessionCodec(get_configuration().policy, stored.name.sid)
