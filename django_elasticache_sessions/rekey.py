"""Re-encryption of stored sessions under the newest key of the key ring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from . import operations, row_upkeep, scripts
from .codec import CodecPolicy, SessionCodec, stamp_of
from .conf import CACHED_DB_ENGINE, SETTING, Configuration, get_configuration
from .drivers import sync
from .elasticache.kms import make_wrapped_key
from .exceptions import InvalidValue, UnknownFormat
from .fields import stored_name
from .homes import ask_database, get_homes
from .key_settings import ENCRYPTION_KEYS_ENTRY
from .keys import SessionName
from .operations import Command, Operation, StoredSession, Word

_WITHOUT_KMS = ENCRYPTION_KEYS_ENTRY.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of sessions: looked at, with values under an older key, and of those left as they are.

    `rekeyed` were re-encrypted, or would be in a dry run; `unreadable` hold a value that no key of
    the ring decrypts.
    """

    seen: int = 0
    rekeyed: int = 0
    unreadable: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            seen=self.seen + other.seen,
            rekeyed=self.rekeyed + other.rekeyed,
            unreadable=self.unreadable + other.unreadable,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A new encryption key, wrapped by the KMS key `kms_key`, and the settings that add it.

    `first` and `then` are what `KMS_WRAPPED_KEYS` is to be: before every process can read what the
    new key encrypts, and after.
    """

    kms_key: str
    wrapped_key: str
    first: list[str]
    then: list[str]


def make_new_key(kms_key: str) -> NewKey:
    """Have KMS make a key. Asks neither for the session store nor for the present keys.

    Raises `ImproperlyConfigured`, which says what mends it.
    """
    made = make_wrapped_key(kms_key)
    present = list(getattr(settings, SETTING, {}).get("KMS_WRAPPED_KEYS") or [_WITHOUT_KMS])
    return NewKey(
        kms_key=made.kms_key,
        wrapped_key=made.text,
        first=[*present, made.text],
        then=[made.text, *present],
    )


def rekey_sessions(
    *, batch_size: int, dry_run: bool = False, progress: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """Re-encrypt every value that is not under the newest key, `batch_size` sessions at a time.

    A value that a request changes meanwhile is left to that request. May be stopped and run again
    at any time: what is done is recognised and skipped. `progress` is called after each batch.
    The counts are those of the database's rows under the engine `cached_db`, whose hashes are then
    re-encrypted too; else of the hashes. Raises `SessionStoreUnavailable`.
    """
    configuration = get_configuration()
    driver = sync.get_driver(configuration.alias)
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        tally = driver.run(_rekey_rows(configuration, batch_size, progress, dry_run=dry_run))
        _rekey_hashes(configuration, batch_size, lambda _: None, dry_run=dry_run)
        return tally
    return _rekey_hashes(configuration, batch_size, progress, dry_run=dry_run)


def _rekey_hashes(
    configuration: Configuration,
    batch_size: int,
    progress: Callable[[Tally], None],
    *,
    dry_run: bool,
) -> Tally:
    driver = sync.get_driver(configuration.alias)
    tally = Tally()
    cursor = b"0"
    while True:
        cursor, names = driver.run(operations.scan(configuration.naming, cursor, batch_size))
        for batch in _batches(names, batch_size):
            tally += driver.run(_rekey(configuration, batch, dry_run=dry_run))
            progress(tally)
        if cursor == b"0":
            return tally


def _rekey_rows(
    configuration: Configuration,
    batch_size: int,
    progress: Callable[[Tally], None],
    *,
    dry_run: bool,
) -> Operation[Tally]:
    homes = get_homes()
    tally, last = Tally(), None
    while True:
        found = yield from ask_database(homes, row_upkeep.following, last, batch_size)
        for row in found:
            if isinstance(row, bytes):
                tally += Tally(seen=1, unreadable=1)
                continue
            name = configuration.naming.from_digest(row.sid)
            stored = StoredSession(name, *row[1:7], row.fields)
            examined, values = _examine_row(configuration.policy, stored)
            tally += examined
            if values and not dry_run:
                yield from ask_database(homes, row_upkeep.replace, row.sid, row.version, values)
        progress(tally)
        if len(found) < batch_size:
            return tally
        last = found[-1] if isinstance(found[-1], bytes) else found[-1].sid


def _examine_row(policy: CodecPolicy, stored: StoredSession) -> tuple[Tally, dict[str, bytes]]:
    try:
        words = tuple(_replacements(policy, stored))
    except (InvalidValue, UnknownFormat):
        return Tally(seen=1, unreadable=1), {}
    values = {field: value for field, _, value in words}
    return Tally(seen=1, rekeyed=1 if values else 0), values


def _rekey(
    configuration: Configuration, names: Sequence[SessionName], *, dry_run: bool
) -> Operation[Tally]:
    tally = Tally()
    try:
        replies = yield tuple(
            command for name in names for command in operations.read_commands(name)
        )
    except InvalidValue:
        if len(names) == 1:
            return Tally(seen=1, unreadable=1)
        for name in names:
            tally += yield from _rekey(configuration, (name,), dry_run=dry_run)
        return tally
    commands: list[Command] = []
    for name, fields, ttl in zip(names, replies[::2], replies[1::2], strict=True):
        found, words = _examine(configuration.policy, name, fields, ttl)
        tally += found
        if words:
            commands.append(operations.run(scripts.REKEY, (name.hash_key,), words))
    if commands and not dry_run:
        yield tuple(commands)
    return tally


def _examine(
    policy: CodecPolicy, name: SessionName, fields: Any, ttl: int
) -> tuple[Tally, tuple[Word, ...]]:
    try:
        stored = operations.parse_session(name, fields, ttl)
        if stored is None:
            return Tally(), ()
        found = tuple(_replacements(policy, stored))
    except (InvalidValue, UnknownFormat):
        return Tally(seen=1, unreadable=1), ()
    words = tuple(word for field, *values in found for word in (stored_name(field), *values))
    return Tally(seen=1, rekeyed=1 if words else 0), words


def _replacements(policy: CodecPolicy, stored: StoredSession) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield fields that are not under the newest key, each with its old and its new value."""
    codec = SessionCodec(policy, stored.name.sid)
    for field, value in stored.fields.items():
        if not codec.is_current(value):
            yield field, value, codec.encode(field, codec.decode(field, value), stamp_of(value))


def _batches(names: Sequence[SessionName], size: int) -> Iterator[Sequence[SessionName]]:
    # SCAN's COUNT is a hint: a reply may hold many more.
    return (names[start : start + size] for start in range(0, len(names), size))
