"""Writing a session: making it, and merging changes into it."""

from __future__ import annotations

import time

from django.contrib.auth import SESSION_KEY as USER_ID_FIELD
from django.contrib.sessions.backends.base import CreateError

from .. import keys, listing, operations
from ..codec import SessionCodec
from ..conf import get_configuration
from ..exceptions import (
    SessionEnded,
    SessionStoreError,
    SessionStoreUnavailable,
    SessionTooLarge,
)
from ..fields import MAX_FIELDS, Changes, FieldMap, Plain, name_size
from ..operations import NewSession, Operation, Save, StoredSession
from ..signals import announce_creation, announce_ends
from .lifetime import is_user_index_due
from .loading import Loading

UNKNOWN_VERSION = -1
_CREATE_ATTEMPTS = 8


class Saving(Loading):
    """The save of a session, new or stored."""

    def _create(self) -> Operation[None]:
        self._session_cache = self._data()
        is_new = self.session_key is None
        for _ in range(_CREATE_ATTEMPTS):
            self._session_key = keys.new_session_key()
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
        raise SessionStoreError(
            f"No free session key was found in {_CREATE_ATTEMPTS} attempts: random numbers repeat. "
            "Restart the process after a snapshot or fork of its machine."
        )

    def _save(self, must_create: bool) -> Operation[None]:
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
        name = configuration.naming.session(str(self.session_key))
        new, changes = self._new_session(name, time.time_ns() // 1000)
        if not (yield from self._operations.create(configuration.naming, name, new)):
            raise CreateError
        self._take_as_stored(name, new, changes)
        yield from announce_creation(type(self), name.sid)
        yield from self._keep_to_limit(new.user_tag)

    def _new_session(self, name: keys.SessionName, created: int) -> tuple[NewSession, Changes]:
        data: FieldMap = self._session_cache
        changes = data.serialized()
        refuse_many_fields(len(data))
        codec = SessionCodec(get_configuration().policy, name.sid, created)
        fields = encode_fields(codec, changes.changed, kept_bytes=0)
        return NewSession(self._ttl(created), created, self._user_tag(), fields), changes

    def _take_as_stored(self, name: keys.SessionName, new: NewSession, changes: Changes) -> None:
        now = int(time.time())
        self._stored = StoredSession(
            name, new.created, now, now + new.ttl, 1, new.user_tag, new.fields
        )
        self._codec = self._make_codec(self._stored)
        self._session_cache.mark_saved(changes, new.fields)

    def _update(self) -> Operation[None]:
        yield from self._ensure_loaded()
        if self.is_detached:
            return
        stored = self._stored
        if stored is None:
            raise SessionEnded(ENDED)
        configuration = get_configuration()
        data = self._data()
        changes = data.changes()
        refuse_many_fields(len(data))
        encoded = encode_fields(self._codec, changes.changed, kept_bytes=data.size_after(changes))
        ttl = self._ttl(stored.created)
        is_same = not changes.replace and USER_ID_FIELD not in (*changes.changed, *changes.removed)
        tag = stored.user_tag if is_same else self._user_tag()
        is_other_user = tag != stored.user_tag
        is_due = ttl > 0 and (is_other_user or is_user_index_due(stored, ttl))
        save = Save(
            ttl,
            encoded,
            changes.removed,
            changes.replace,
            user_tag=tag if is_other_user else None,
            indexed_user_tag=tag if is_due else "",
        )
        version = yield from self._operations.save(configuration.naming, stored, save)
        if version == operations.MISSING:
            raise SessionEnded(ENDED)
        data.mark_saved(changes, encoded)
        now = int(time.time())
        self._session_cache = data
        # Where somebody else saved in between, their fields are not known here.
        is_known = version == stored.version + bool(changes)
        self._stored = StoredSession(
            stored.name,
            stored.created,
            now,
            now + ttl,
            version if is_known else UNKNOWN_VERSION,
            tag,
            stored.fields,
        )
        if is_other_user:
            yield from self._keep_to_limit(tag)

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
            ended, failure = yield from self._operations.end_all(naming, surplus)
            yield from announce_ends(type(self), (name.sid for name in ended), "limit")
            if failure:
                raise failure

    def _user_tag(self) -> str:
        data: FieldMap = self._session_cache
        user_id = data.get(USER_ID_FIELD)
        return "" if user_id is None else get_configuration().naming.user(str(user_id))


def _age_order(stored: StoredSession) -> tuple[int, str]:
    return stored.created, stored.name.sid


def encode_fields(codec: SessionCodec, plain: Plain, *, kept_bytes: int) -> dict[str, bytes]:
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
        encoded[name] = codec.encode(name, plain[name])
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
