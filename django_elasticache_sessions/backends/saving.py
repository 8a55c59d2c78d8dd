"""Writing a session: making it, and merging changes into it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from django.contrib.sessions.backends.base import CreateError
from django.core.exceptions import ImproperlyConfigured

from .. import keys, listing, operations, transactions
from ..codec import SessionCodec
from ..conf import get_configuration
from ..exceptions import (
    SessionEnded,
    SessionStoreError,
    SessionStoreUnavailable,
    SessionTooLarge,
)
from ..fields import MAX_FIELDS, Changes, FieldMap, Plain, name_size
from ..operations import AsyncCall, NewSession, Operation, Outpaced, Rotated, Save, StoredSession
from ..signals import announce_creation, announce_ends
from ..stamps import LAST, new_stamp
from ..texts import Text
from .lifetime import is_user_index_due
from .loading import Loading

_CREATE_ATTEMPTS = 8
_STAMP_ATTEMPTS = 16
#: A save that is outpaced again while it waits for the row, under many tabs, gets a stamp that is
#: ahead by so much more, about 25 ms. In the cache nobody waits, and no stamp is ahead: a later
#: save, by somebody who does not see this one there, has to have the larger stamp.
_STAMP_LEAD = 1500

_USABLE = (
    f"Return {keys.SESSION_KEY_MIN_LENGTH} to {keys.SESSION_KEY_MAX_LENGTH} printable ASCII "
    f"characters, random from the first to the last, also random in its first "
    f"{keys.SELECTOR_LENGTH} characters alone: those name the session."
)


@dataclass(frozen=True, slots=True, repr=False)
class NewKey(AsyncCall):
    """A step of an operation: a session key, made as a subclass says."""

    store: Saving

    def run(self) -> str:
        """Make it."""
        return self.store._get_new_session_key()

    async def arun(self) -> str:
        """Make it as the async methods do."""
        return await self.store._aget_new_session_key()


class Overtaken(Exception):
    """Somebody has saved the session since it was read."""


class Saving(Loading):
    """The save of a session, new or stored."""

    def _create(self) -> Operation[None]:
        self.accessed = True
        self._session_cache = self._data()
        is_new = self.session_key is None
        for _ in range(_CREATE_ATTEMPTS):
            self._session_key = yield from self._new_key()
            try:
                yield from self._store_new()
            except CreateError:
                continue
            except SessionStoreError:
                if is_new:
                    # Nothing is stored under it: a second save is a first one, not a late one.
                    self._session_key = None
                raise
            self.modified = True
            return
        if self._makes_own_keys:
            raise ImproperlyConfigured(
                f"{type(self).__name__}._get_new_session_key() returned keys of other sessions "
                f"{_CREATE_ATTEMPTS} times. {_USABLE}"
            )
        raise SessionStoreError(
            f"No free session key was found in {_CREATE_ATTEMPTS} attempts: random numbers repeat. "
            "Restart the process after a snapshot or fork of its machine."
        )

    def _new_key(self) -> Operation[str]:
        """Return a session key, made as a subclass says. Raises `ImproperlyConfigured`."""
        if not self._makes_own_keys:
            return keys.new_session_key()
        session_key = yield NewKey(self)
        if keys.is_session_key(session_key):
            return session_key
        raise self._unusable_key()

    def _rotated_key(self) -> Operation[str]:
        """Return a session key of the same session; see _new_key()."""
        session_key = str(self.session_key)
        if not self._makes_own_keys:
            return keys.rotated(session_key)
        rotated = keys.rotated(session_key, (yield from self._new_key()))
        if rotated != session_key:
            return rotated
        del session_key, rotated  # Error reports show the variables of every frame.
        raise self._unusable_key()

    def _unusable_key(self) -> ImproperlyConfigured:
        return ImproperlyConfigured(
            f"{type(self).__name__}._get_new_session_key() returned a key that cannot be used. "
            f"{_USABLE}"
        )

    def _save(self, must_create: bool) -> Operation[None]:
        self.accessed = True
        if self.is_detached:
            return
        try:
            if self.session_key is None:
                yield from self._create()
            elif must_create:
                self._session_cache = self._data()
                yield from self._store_new()
            else:
                yield from self._update()
        except SessionStoreUnavailable as problem:
            self._without_store(problem)

    def _store_new(self) -> Operation[None]:
        configuration = get_configuration()
        session_key = str(self.session_key)
        name = configuration.naming.session(session_key)
        new, changes = self._new_session(name, session_key)
        del session_key  # Error reports show the variables of every frame.
        if not (yield from self._operations.create(configuration.naming, name, new)):
            raise CreateError
        self._stored = first_stored(name, new)
        self._codec = self._make_codec(self._stored)
        self._session_cache.mark_saved(changes, new.fields)
        yield from announce_creation(type(self), name.sid)
        yield from self._keep_to_limit(new.user_tag)

    def _new_session(self, name: keys.SessionName, session_key: str) -> tuple[NewSession, Changes]:
        data: FieldMap = self._session_cache
        changes = data.serialized()
        refuse_many_fields(len(data))
        configuration, created, stamp = get_configuration(), time.time_ns() // 1000, new_stamp()
        codec = SessionCodec(configuration.policy, name.sid)
        fields = encode_fields(codec, changes.changed, stamp, kept_bytes=0)
        key = configuration.naming.key(session_key, created, stamp)
        ttl = self._ttl(created)
        return NewSession(ttl, created, self._user_tag(), key, fields, stamp), changes

    def _update(self) -> Operation[None]:
        yield from self._ensure_loaded()
        if self.is_detached:
            return
        if self._stored is None or not (yield from self._merge(self._stored)):
            raise SessionEnded(ENDED)

    def _merge(
        self, stored: StoredSession, session_key: str | None = None, *, is_next: bool = False
    ) -> Operation[bool]:
        """Merge what changed into the stored session; with a session key, rotate to it.

        `False` where it has ended, or has another session key by now. With `is_next`, raises
        `Overtaken` where anybody has saved it since it was read.
        """
        data = self._data()
        changes = data.changes()
        refuse_many_fields(len(data))
        created = stored.created if session_key is None else self._rotated_created(stored)
        waits = 0
        for _ in range(_STAMP_ATTEMPTS):
            stamp = min(new_stamp(stored.clock) + max(0, waits - 1) * _STAMP_LEAD, LAST)
            stamp = stored.clock + 1 if is_next else stamp
            save = self._make_save(stored, data, changes, created, stamp, session_key)
            version = yield from self._operations.save(get_configuration().naming, stored, save)
            if not isinstance(version, Outpaced):
                break
            if is_next:
                raise Overtaken
            waits += version.has_waited
            stored = stored._replace(clock=version.clock)
        else:
            raise SessionStoreUnavailable(Text("The session kept changing while it was saved."))
        if version == operations.MISSING:
            return False
        yield from self._once_saved(partial(data.mark_saved, changes, save.changed))
        self._session_cache = data
        if session_key is not None:
            self._session_key = session_key
        self._stored = _after(stored, save, version)
        if save.user_tag is not None:
            yield from self._keep_to_limit(save.user_tag)
        return True

    def _once_saved(self, act: Callable[[], None]) -> Operation[None]:
        """Do what a save entitles to; inside a transaction, once it has committed."""
        stored = self._stored
        if stored is not None and transactions.may_be_changed():
            alias = get_configuration().options.fallback_database
            if (yield transactions.IsChanged(alias, (stored.name.digest,))):
                yield transactions.OnCommit(alias, act)
                return
        act()

    def _make_save(
        self,
        stored: StoredSession,
        data: FieldMap,
        changes: Changes,
        created: int,
        stamp: int,
        session_key: str | None,
    ) -> Save:
        naming = get_configuration().naming
        kept_bytes = data.size_after(changes)
        encoded = encode_fields(self._codec, changes.changed, stamp, kept_bytes=kept_bytes)
        ttl = self._ttl(created)
        is_same = not changes.replace and USER_ID_FIELD not in (*changes.changed, *changes.removed)
        tag = stored.user_tag if is_same else self._user_tag()
        is_other_user = tag != stored.user_tag
        is_due = ttl > 0 and (is_other_user or is_user_index_due(stored, ttl))
        return Save(
            ttl,
            encoded,
            changes.removed,
            changes.replace,
            user_tag=tag if is_other_user else None,
            indexed_user_tag=tag if is_due else "",
            stamp=stamp,
            rotated=None
            if session_key is None
            else Rotated(naming.key(session_key, created, stamp), created),
        )

    def _rotated_created(self, stored: StoredSession) -> int:
        # A new key for the same signed-in user does not prolong the session's absolute age.
        user_id = str(self._session_cache.get(USER_ID_FIELD, ""))
        is_renewal = user_id and get_configuration().naming.is_user(stored.user_tag, user_id)
        return stored.created if is_renewal else time.time_ns() // 1000

    def _keep_to_limit(self, user_tag: str) -> Operation[None]:
        """End the oldest others of a user who has just signed in (`MAX_SESSIONS_PER_USER`)."""
        limit = get_configuration().options.max_sessions_per_user
        if limit is None or not user_tag or self._stored is None:
            return
        naming, own = get_configuration().naming, self._stored.name.sid
        data: FieldMap = self._session_cache
        user_id = str(data[USER_ID_FIELD])
        found = yield from listing.ask(
            self._listings, lambda source: source.of_user(naming, user_id, wanted=())
        )
        others = [item.stored for item in found if item.stored.name.sid != own]
        newest = sorted((self._stored, *others), key=_age_order, reverse=True)
        # Of two logins at once the older one leaves the newer alone: else both might end.
        surplus = [stored.name for stored in newest[limit:] if stored is not self._stored]
        if surplus:
            ended = yield from self._operations.end_all(naming, surplus)
            yield from announce_ends(type(self), (name.sid for name in ended.names), "limit")
            if ended.failure:
                raise ended.failure

    def _user_tag(self) -> str:
        data: FieldMap = self._session_cache
        user_id = data.get(USER_ID_FIELD)
        return "" if user_id is None else get_configuration().naming.user(str(user_id))


def first_stored(name: keys.SessionName, new: NewSession) -> StoredSession:
    """Return a session as it is stored just after it was created."""
    now = int(time.time())
    expires = now + new.ttl
    return StoredSession(
        name, new.created, now, expires, 1, new.user_tag, new.key, new.fields, new.stamp
    )


def _after(stored: StoredSession, save: Save, version: int) -> StoredSession:
    now = int(time.time())
    key, created = save.rotated or (stored.key, stored.created)
    return stored._replace(
        created=created,
        saved=now,
        expires=now + save.ttl,
        version=version,
        user_tag=stored.user_tag if save.user_tag is None else save.user_tag,
        key=key,
        clock=max(stored.clock, save.stamp),
        # What was pending was handed over, or is found by whoever reads the session next.
        pending={},
    )


def _age_order(stored: StoredSession) -> tuple[int, str]:
    return stored.created, stored.name.sid


def encode_fields(
    codec: SessionCodec, plain: Plain, stamp: int, *, kept_bytes: int
) -> dict[str, bytes]:
    """Encode the fields to be saved; `kept_bytes` is the size of what stays as it is.

    Raises `SessionTooLarge` when the session would be above `MAX_SESSION_BYTES`.
    """
    limit = get_configuration().options.max_session_bytes
    encoded: dict[str, bytes] = {}
    total = kept_bytes
    for name in plain:
        # The length before compression counts too: it is what a reader has to hold.
        size = len(plain[name])
        if size > limit:
            raise SessionTooLarge(_too_large(f"field {name!r} has {size} bytes", limit))
        encoded[name] = codec.encode(name, plain[name], stamp)
        total += name_size(name) + len(encoded[name])
    # A touch or a removal adds nothing to what got above the limit by another save or setting.
    if plain and total > limit:
        raise SessionTooLarge(_too_large(f"it has {total} bytes", limit))
    return encoded


def refuse_many_fields(count: int) -> None:
    """Raise `SessionTooLarge` for a session of more fields than would be read again."""
    if count > MAX_FIELDS:
        raise SessionTooLarge(f"The session was not saved: it has over {MAX_FIELDS} fields.")


def _too_large(found: str, limit: int) -> str:
    return (
        f"The session was not saved: {found}, ELASTICACHE_SESSIONS['MAX_SESSION_BYTES'] is "
        f"{limit}. Keep large data elsewhere and its id in the session, or raise the setting."
    )


ENDED = (
    "The session was ended before it could be saved: the user may have logged out in another "
    "request, or the session expired or was evicted."
)
