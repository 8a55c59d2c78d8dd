"""Django's `SessionBase` contract over the operations, sync and async from one body each."""

from __future__ import annotations

from typing import Any, NoReturn, Self, TypeVar

from ..conf import get_configuration
from ..current import note_session
from ..drivers import aio, sync
from ..exceptions import SessionStoreUnavailable
from ..fields import NOT_FOR_PICKLES, FieldMap
from ..operations import Operation
from ..serializers import make_serializer
from .rotation import Rotation

T = TypeVar("T")


class HashSessionStore(Rotation):
    """What the engines share. Every method that touches the store has its `a...` twin.

    Raises `SessionStoreUnavailable` wherever the store does not serve, unless `ON_UNAVAILABLE`
    is `"anonymous"`.
    """

    def load(self) -> FieldMap:  # type: ignore[override]
        """Read the session; an empty map, and no session key, when it is missing."""
        return self._run(self._load())

    async def aload(self) -> FieldMap:  # type: ignore[override]
        """See load()."""
        return await self._arun(self._load())

    def create(self) -> None:
        """Store this session's data under a new session key."""
        self._run(self._create())

    async def acreate(self) -> None:
        """See create()."""
        await self._arun(self._create())

    def save(self, must_create: bool = False) -> None:
        """Merge what changed into the stored session; with nothing changed, put off its expiry.

        Raises `SessionEnded` (an `UpdateError`) when it is gone, `CreateError` when `must_create`
        and it is there, `SessionTooLarge`, and `SessionNotSerializable`, which names the field.
        """
        self._run(self._save(must_create))

    async def asave(self, must_create: bool = False) -> None:
        """See save()."""
        await self._arun(self._save(must_create))

    def exists(self, session_key: str | None) -> bool:
        """Tell whether a session is stored under this session key."""
        operation = self._exists(session_key)
        del session_key  # Error reports show the variables of every frame.
        return self._run(operation)

    async def aexists(self, session_key: str | None) -> bool:
        """See exists()."""
        operation = self._exists(session_key)
        del session_key
        return await self._arun(operation)

    def delete(self, session_key: str | None = None) -> None:
        """End the session under this session key, or this one; nothing brings it back."""
        operation = self._delete(session_key)
        del session_key
        self._run(operation)

    async def adelete(self, session_key: str | None = None) -> None:
        """See delete()."""
        operation = self._delete(session_key)
        del session_key
        await self._arun(operation)

    def cycle_key(self) -> None:
        """Move the session to a new session key, in one step; the old key is dead at once.

        Raises `SessionEnded` for a signed-in session that is gone: it was logged out meanwhile.
        """
        self._run(self._cycle_key())

    async def acycle_key(self) -> None:
        """See cycle_key()."""
        await self._arun(self._cycle_key())

    def clear(self) -> None:
        """Drop all data, without loading it: the next save removes every stored field."""
        self._session_cache = FieldMap(make_serializer(self.serializer), replace=True)
        self.accessed = True
        self.modified = True

    def encode(self, session_dict: Any) -> str:
        """Sign and encode session data as Django does."""
        return super().encode(dict(session_dict))

    @classmethod
    def clear_expired(cls) -> None:
        """Drop expired entries from the live indexes; the server expires sessions by itself."""
        configuration = get_configuration()
        sync.get_driver(configuration.alias).run(cls._operations.prune(configuration.naming))

    @classmethod
    async def aclear_expired(cls) -> None:
        """See clear_expired()."""
        configuration = get_configuration()
        await aio.get_driver(configuration.alias).run(cls._operations.prune(configuration.naming))

    def _run(self, operation: Operation[T]) -> T:
        try:
            return sync.get_driver(get_configuration().alias).run(self._bounded(operation))
        except SessionStoreUnavailable as problem:
            self.unavailable = problem
            raise

    async def _arun(self, operation: Operation[T]) -> T:
        try:
            driver = aio.get_driver(get_configuration().alias)
            return await driver.run(self._bounded(operation))
        except SessionStoreUnavailable as problem:
            self.unavailable = problem
            raise

    def _bounded(self, operation: Operation[T]) -> Operation[T]:
        return operation

    def _get_session(self, no_load: bool = False) -> Any:
        self.accessed = True
        if "_session_cache" not in self.__dict__:
            self._note()
            is_new = self.session_key is None or no_load
            self._session_cache = self._empty() if is_new else self.load()
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> Any:
        self.accessed = True
        if "_session_cache" not in self.__dict__:
            self._note()
            is_new = self.session_key is None or no_load
            self._session_cache = self._empty() if is_new else await self.aload()
        return self._session_cache

    _session = property(_get_session)

    def _note(self) -> None:
        if get_configuration().options.end_sessions_on_password_change:
            note_session(self)

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(NOT_FOR_PICKLES)
