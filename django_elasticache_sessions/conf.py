"""`ELASTICACHE_SESSIONS`: one typed, validated view of the settings, rebuilt when they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from hashlib import sha256
from math import inf
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.encoding import force_bytes

from .cloudwatch_options import CloudWatchOptions, read_cloudwatch
from .codec import CodecPolicy
from .key_settings import (
    ENCRYPTION_KEYS_ENTRY,
    read_encryption_keys,
    read_wrapped_keys,
    secrets_in_force,
    shown_type,
)
from .keyring import KeyRing, derive
from .keys import Naming

SETTING = "ELASTICACHE_SESSIONS"
CACHE_ENGINE = "django_elasticache_sessions.backends.cache"
CACHED_DB_ENGINE = "django_elasticache_sessions.backends.cached_db"
MAX_INDEX_BUCKETS = 4096
#: To connect, and for each wait for an answer: a store that takes longer is as good as down.
#: OPTIONS override it.
DEFAULT_TIMEOUT_SECONDS = 0.25
# Sessions saved under a higher MAX_SESSION_BYTES than today's are still read, up to this.
_LOAD_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in the settings: what was found, and the line that mends it."""

    code: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The keys of `ELASTICACHE_SESSIONS` in lower case, with their defaults.

    Ages in seconds, sizes in bytes; `None` switches a feature off.
    """

    key_prefix: str = "session"
    encrypt: bool = True
    encryption_keys: tuple[bytes, ...] | None = field(default=None, repr=False)
    kms_wrapped_keys: tuple[bytes, ...] | None = field(default=None, repr=False)
    compress_above_bytes: int | None = 1024
    max_session_bytes: int = 1024 * 1024
    absolute_age: int | None = None
    anonymous_age: int | None = None
    refresh_after: int | None = None
    on_unavailable: str = "raise"
    max_sessions_per_user: int | None = None
    end_sessions_on_password_change: bool = False
    record_client: bool = True
    sensitive_fields: tuple[str, ...] = (
        "_auth_user_hash",
        "*csrf*",
        "*token*",
        "*secret*",
        "*password*",
        "*otp*",
    )
    index_buckets: int = 256
    fallback_database: str = "default"
    fallback_writes: str = "through"
    database_timeout: float = 1.0
    previous_engines: tuple[str, ...] = ()
    previous_cache_alias: str = "default"
    cloudwatch: CloudWatchOptions | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the store needs to know besides its encryption keys."""

    options: Options
    alias: str
    naming: Naming
    #: The most bytes a stored session may have to be read.
    load_limit_bytes: int
    #: How long an answer of the session cache is waited for.
    patience_seconds: float
    #: What stands for how keys are named in the cache, whatever address it is reached at.
    place: str

    @property
    def is_anonymous_when_unavailable(self) -> bool:
        """Whether requests go on without a session while the store is unavailable."""
        return self.options.on_unavailable == "anonymous"

    @property
    def is_behind(self) -> bool:
        """Whether rows are written soon after the request, not in it."""
        return self.options.fallback_writes == "behind"

    @property
    def previous_engines(self) -> tuple[str, ...]:
        """The engines of others that sessions are taken over from."""
        return tuple(path for path in self.options.previous_engines if path != CACHE_ENGINE)

    @property
    def is_after_cache_engine(self) -> bool:
        """Whether hashes that the `cache` engine has made are taken over."""
        return CACHE_ENGINE in self.options.previous_engines


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration(Outline):
    """Everything the store needs to know, derived from the settings once."""

    policy: CodecPolicy


def get_configuration() -> Configuration:
    """Return the configuration in force. Raises `ImproperlyConfigured` for the first problem."""
    global _current
    if _current is None:
        _current = _build(get_outline())
    return _current


def get_outline() -> Outline:
    """Return what needs no encryption keys, and so nothing of KMS.

    Raises `ImproperlyConfigured` for the first problem.
    """
    global _outline
    if _outline is None:
        _outline = _build_outline()
    return _outline


def read_options(raw: object) -> tuple[Options, list[Problem]]:
    """Validate the setting; where a key is wrong its default stands in."""
    if not isinstance(raw, Mapping):
        return Options(), [
            Problem(
                "E001",
                f"{SETTING} must be a dict, found {type(raw).__name__}.",
                f"Write {SETTING} = {{}} or remove it.",
            )
        ]
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in raw.items():
        reader = _READERS.get(name)
        if reader is None:
            problems.append(_unknown(name))
            continue
        try:
            values[name.lower()] = reader(value)
        except ValueError as error:
            problems.append(_ill_typed(name, str(error)))
    options = Options(**values)
    return options, [*problems, *_unused_keys(options)]


def open_keys_at_start() -> None:
    """Have KMS open the keys that it wrapped, so that a process without its keys does not serve.

    Raises `ImproperlyConfigured`.
    """
    raw = getattr(settings, SETTING, {})
    if isinstance(raw, Mapping) and raw.get("KMS_WRAPPED_KEYS") is not None:
        get_configuration()


def _build_outline() -> Outline:
    options, problems = read_options(getattr(settings, SETTING, {}))
    if problems:
        raise ImproperlyConfigured(f"{problems[0].message} {problems[0].hint}")
    return Outline(
        options=options,
        alias=settings.SESSION_CACHE_ALIAS,
        naming=Naming(
            options.key_prefix,
            options.index_buckets,
            tuple(derive(secret, "index") for secret in _secret_keys()),
            is_clustered=bool(_cache_options(settings.SESSION_CACHE_ALIAS).get("CLUSTER")),
        ),
        load_limit_bytes=max(_LOAD_LIMIT_BYTES, 4 * options.max_session_bytes),
        patience_seconds=_patience(settings.SESSION_CACHE_ALIAS),
        place=_place(options),
    )


def _build(outline: Outline) -> Configuration:
    options = outline.options
    secrets = secrets_in_force(options.kms_wrapped_keys, options.encryption_keys, _secret_keys())
    return Configuration(
        options=options,
        alias=outline.alias,
        naming=outline.naming,
        load_limit_bytes=outline.load_limit_bytes,
        patience_seconds=outline.patience_seconds,
        place=outline.place,
        policy=CodecPolicy(
            ring=KeyRing.from_secrets(secrets),
            encrypt=options.encrypt,
            compress_above_bytes=options.compress_above_bytes,
            inflate_limit_bytes=outline.load_limit_bytes,
        ),
    )


def _secret_keys() -> tuple[bytes, ...]:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    # A fallback that repeats the key would be asked for twice.
    return tuple(dict.fromkeys(force_bytes(key) for key in keys))


def _cache_options(alias: str) -> Mapping[str, Any]:
    options: Any = settings.CACHES.get(alias, {}).get("OPTIONS", {})
    return options if isinstance(options, Mapping) else {}


def _patience(alias: str) -> float:
    found = _cache_options(alias).get("SOCKET_TIMEOUT")
    return float(found) if isinstance(found, (int, float)) else DEFAULT_TIMEOUT_SECONDS


def _place(options: Options) -> str:
    words = (options.key_prefix, options.index_buckets)
    return sha256(repr(words).encode()).hexdigest()[:16]


def _unused_keys(options: Options) -> list[Problem]:
    wrapped = options.kms_wrapped_keys
    if options.encryption_keys is None or wrapped is None or ENCRYPTION_KEYS_ENTRY in wrapped:
        return []
    return [
        Problem(
            "E047",
            f"{SETTING} has 'ENCRYPTION_KEYS' beside 'KMS_WRAPPED_KEYS', which take their place.",
            "Put \"ENCRYPTION_KEYS\" behind the wrapped keys in 'KMS_WRAPPED_KEYS' while they are "
            "needed, then remove 'ENCRYPTION_KEYS'.",
        )
    ]


def _unknown(name: object) -> Problem:
    known = [key.name.upper() for key in fields(Options)]
    nearest = get_close_matches(str(name).upper(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Known keys: {', '.join(known)}."
    return Problem("E002", f"{SETTING} has an unknown key {name!r}.", hint)


def _ill_typed(name: str, problem: str) -> Problem:
    code, hint = _HINTS.get(name, ("E003", ""))
    default = next(key.default for key in fields(Options) if key.name == name.lower())
    return Problem(
        code,
        f"{SETTING}[{name!r}]: {problem}.",
        hint
        or f"Write {SETTING} = {{..., {name!r}: {default!r}}} or leave it out for the default.",
    )


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected text that is not empty, found {_shown(value)}")
    if not (value.isascii() and value.isprintable()) or set(value) & set("{} *?[]\\"):
        raise ValueError(
            "expected printable ASCII without braces, spaces and * ? [ ] \\ "
            f"(braces choose the cluster slot), found {value!r}"
        )
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, found {_shown_number(value)}")
    return value


def _count(value: object, *, at_most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"expected a whole number from 1, found {_shown_number(value)}")
    if at_most is not None and value > at_most:
        raise ValueError(f"expected at most {at_most}, found {value}")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < inf:
        raise ValueError(f"expected a number of seconds above 0, found {_shown_number(value)}")
    return float(value)


def _buckets(value: object) -> int:
    return _count(value, at_most=MAX_INDEX_BUCKETS)


def _optional_count(value: object) -> int | None:
    return None if value is None else _count(value)


def _alias_of(setting: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"expected an alias of {setting}, found {_shown(value)}")
        return value

    return read


def _engines(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(path, str) for path in value):
        raise ValueError(f"expected a list of session engines' modules, found {_shown(value)}")
    return tuple(value)


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"expected a list of field names or globs, found {shown_type(value)}")
    return tuple(value)


def _optional_age(value: object) -> int | None:
    if isinstance(value, timedelta):
        value = int(value.total_seconds())
    return None if value is None else _count(value)


def _one_of(*words: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            expected = " or ".join(f'"{word}"' for word in words)
            raise ValueError(f"expected {expected}, found {_shown(value)}")
        return str(value)

    return read


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, (str, int, float, type(None))) else shown_type(value)


def _shown_number(value: object) -> str:
    # Long text where a number or a truth value belongs may be a secret that slipped into this line.
    if isinstance(value, str) and len(value) > 8:
        return "text"
    return _shown(value)


_READERS: dict[str, Callable[[object], Any]] = {
    "KEY_PREFIX": _prefix,
    "ENCRYPT": _boolean,
    "ENCRYPTION_KEYS": read_encryption_keys,
    "KMS_WRAPPED_KEYS": read_wrapped_keys,
    "COMPRESS_ABOVE_BYTES": _optional_count,
    "MAX_SESSION_BYTES": _count,
    "ABSOLUTE_AGE": _optional_age,
    "ANONYMOUS_AGE": _optional_age,
    "REFRESH_AFTER": _optional_age,
    "ON_UNAVAILABLE": _one_of("raise", "anonymous"),
    "MAX_SESSIONS_PER_USER": _optional_count,
    "END_SESSIONS_ON_PASSWORD_CHANGE": _boolean,
    "RECORD_CLIENT": _boolean,
    "SENSITIVE_FIELDS": _patterns,
    "INDEX_BUCKETS": _buckets,
    "FALLBACK_DATABASE": _alias_of("DATABASES"),
    "FALLBACK_WRITES": _one_of("through", "behind"),
    "DATABASE_TIMEOUT": _seconds,
    "PREVIOUS_ENGINES": _engines,
    "PREVIOUS_CACHE_ALIAS": _alias_of("CACHES"),
    "CLOUDWATCH": read_cloudwatch,
}
_HINTS = {
    "ENCRYPTION_KEYS": (
        "E004",
        'Make a key with: python -c "import base64, secrets; '
        'print(base64.b64encode(secrets.token_bytes(32)).decode())"',
    ),
    "KMS_WRAPPED_KEYS": (
        "E046",
        "Make one with: manage.py rekeysessions --new-kms-key <key id, ARN or alias of a KMS key>",
    ),
    "CLOUDWATCH": (
        "E060",
        f'Write {SETTING} = {{..., "CLOUDWATCH": {{"REPLICATION_GROUP_ID": "<id>", "REGION": '
        '"<region>"}}.',
    ),
    "KEY_PREFIX": ("E005", f'Write {SETTING} = {{..., "KEY_PREFIX": "session"}}.'),
}

_SETTINGS = (SETTING, "CACHES", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "SESSION_CACHE_ALIAS")
_outline: Outline | None = None
_current: Configuration | None = None


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _outline, _current
    if setting in _SETTINGS:
        _outline = _current = None


setting_changed.connect(_forget, dispatch_uid="django_elasticache_sessions.conf")
