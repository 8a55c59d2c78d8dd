"""`ELASTICACHE_SESSIONS` and what it stands on: defaults, wrong values at run time, changes."""

from __future__ import annotations

import asyncio
import base64
import traceback
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.conf import get_configuration

from .conftest import point_sessions_at
from .contents import stored_keys

CANARY = "canary0secret"
KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(2)]


def load() -> None:
    SessionStore("some-session-key").load()


def aload() -> None:
    asyncio.run(SessionStore("some-session-key").aload())


def save() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()


operations = pytest.mark.parametrize("operate", [load, aload, save])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key_prefix", "session"),
        ("encrypt", True),
        ("encryption_keys", None),
        ("kms_wrapped_keys", None),
        ("compress_above_bytes", 1024),
        ("max_session_bytes", 1024 * 1024),
        ("absolute_age", None),
        ("anonymous_age", None),
        ("refresh_after", None),
        ("on_unavailable", "raise"),
        ("index_buckets", 256),
    ],
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_key_that_is_left_out_has_its_documented_default(settings, name, value, is_there):
    settings.ELASTICACHE_SESSIONS = {}
    if not is_there:
        del settings.ELASTICACHE_SESSIONS
    assert getattr(get_configuration().options, name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KEY_PREFIX", "shop:sessions", "shop:sessions"),
        ("ENCRYPT", False, False),
        ("ENCRYPTION_KEYS", KEYS, (bytes(32), bytes([1] * 32))),
        ("ENCRYPTION_KEYS", tuple(KEYS[:1]), (bytes(32),)),
        ("ENCRYPTION_KEYS", [base64.urlsafe_b64encode(b"\xff" * 32).decode()], (b"\xff" * 32,)),
        ("COMPRESS_ABOVE_BYTES", None, None),
        ("MAX_SESSION_BYTES", 1, 1),
        ("ABSOLUTE_AGE", 3600, 3600),
        ("ABSOLUTE_AGE", timedelta(hours=1, milliseconds=900), 3600),
        ("ANONYMOUS_AGE", timedelta(minutes=1), 60),
        ("REFRESH_AFTER", timedelta(days=1), 86_400),
        ("ON_UNAVAILABLE", "anonymous", "anonymous"),
        ("INDEX_BUCKETS", 1, 1),
        ("INDEX_BUCKETS", 4096, 4096),
        ("DATABASE_TIMEOUT", 2, 2.0),
        ("DATABASE_TIMEOUT", timedelta(milliseconds=1500), 1.5),
    ],
)
def test_a_key_is_taken_as_it_is_written(settings, name, value, expected):
    settings.ELASTICACHE_SESSIONS = {name: value}
    assert getattr(get_configuration().options, name.lower()) == expected


@operations
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "ELASTICACHE_SESSIONS must be a dict, found list. Write ELASTICACHE_SESSIONS = {}"),
        (
            {"MAX_BYTES": 1},
            "ELASTICACHE_SESSIONS has an unknown key 'MAX_BYTES'. Did you mean "
            "'MAX_SESSION_BYTES'?",
        ),
        *(
            (
                {"DATABASE_TIMEOUT": value},
                "ELASTICACHE_SESSIONS['DATABASE_TIMEOUT']: expected a number of seconds above 0, "
                f"found {shown}. Write",
            )
            for value, shown in [(0, "0"), (True, "True"), ("1", "'1'"), (float("inf"), "inf")]
        ),
        (
            {"ABSOLUTE_AGE": timedelta(0)},
            "ELASTICACHE_SESSIONS['ABSOLUTE_AGE']: expected a whole number from 1, found 0. Write "
            "ELASTICACHE_SESSIONS = {..., 'ABSOLUTE_AGE': None} or leave it out for the default.",
        ),
        (
            {"KEY_PREFIX": "{all}"},
            "ELASTICACHE_SESSIONS['KEY_PREFIX']: expected printable ASCII without braces, spaces "
            "and * ? [ ] \\ (braces choose the cluster slot), found '{all}'. Write "
            'ELASTICACHE_SESSIONS = {..., "KEY_PREFIX": "session"}.',
        ),
        (
            {"ON_UNAVAILABLE": "ignore"},
            'ELASTICACHE_SESSIONS[\'ON_UNAVAILABLE\']: expected "raise" or "anonymous", found '
            "'ignore'. Write ELASTICACHE_SESSIONS = {..., 'ON_UNAVAILABLE': 'raise'}",
        ),
        (
            {"ENCRYPTION_KEYS": ["short"]},
            "ELASTICACHE_SESSIONS['ENCRYPTION_KEYS']: key 0: expected base64 text of 32 bytes, "
            'found other text. Make a key with: python -c "import base64, secrets;',
        ),
    ],
)
def test_a_wrong_option_stops_sessions_and_says_what_to_write(
    valkey, settings, operate, options, text
):
    settings.ELASTICACHE_SESSIONS = options
    with pytest.raises(ImproperlyConfigured) as caught:
        operate()
    assert text in str(caught.value)
    assert valkey.dbsize() == 0


@operations
@pytest.mark.parametrize(
    "keys",
    [
        [CANARY],
        CANARY,
        {CANARY: CANARY},
        [CANARY.encode()],
        [base64.b64encode(CANARY.encode()).decode()],
        [base64.b64encode(CANARY.ljust(32).encode()).decode()] * 2,
    ],
)
def test_a_wrong_encryption_key_is_not_shown(settings, operate, keys):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPTION_KEYS": keys}
    with pytest.raises(ImproperlyConfigured) as caught:
        operate()
    assert_hidden(caught.value)


def test_a_wrong_encryption_key_never_means_no_encryption(valkey, settings):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPTION_KEYS": []}
    with pytest.raises(ImproperlyConfigured):
        save()
    assert valkey.dbsize() == 0


@operations
@pytest.mark.parametrize(
    "location",
    [
        f"redis://app:{CANARY}@127.0.0.1:port/0",
        f"redis://:{CANARY}/unescaped@127.0.0.1:6379/0",
        f"redis://:{CANARY}[unescaped@127.0.0.1:6379/0",
        f"redis://:{CANARY}\N{ACCOUNT OF}@127.0.0.1:6379/0",
        f"http://app:{CANARY}@127.0.0.1",
        f"app:{CANARY}@127.0.0.1:6379",
        "",
        None,
        [],
    ],
)
def test_a_location_that_is_no_url_is_told_without_its_password(settings, operate, location):
    point_sessions_at(settings, location)
    with pytest.raises(ImproperlyConfigured) as caught:
        operate()
    assert_hidden(caught.value)


@operations
def test_a_connection_option_that_does_not_exist_is_told_without_its_value(
    server, settings, operate
):
    point_sessions_at(settings, server.url, CONNECTION_POOL_KWARGS={"pasword": CANARY})
    with pytest.raises((ImproperlyConfigured, TypeError), match="pasword") as caught:
        operate()
    assert_hidden(caught.value)


@operations
@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "dummy.DummyCache"])
def test_a_cache_that_is_not_of_django_redis_stops_sessions(settings, operate, backend):
    settings.CACHES = {"sessions": {"BACKEND": f"django.core.cache.backends.{backend}"}}
    with pytest.raises(ImproperlyConfigured) as caught:
        operate()
    assert "CACHES['sessions']" in str(caught.value)
    assert '"django_redis.cache.RedisCache"' in str(caught.value)


def test_representations_show_no_secret(settings):
    settings.SECRET_KEY = CANARY
    settings.ELASTICACHE_SESSIONS = {
        "ENCRYPTION_KEYS": [base64.b64encode(CANARY.ljust(32).encode()).decode()]
    }
    assert CANARY not in repr(get_configuration())


class TestAChange:
    """Settings that a test, or a console, changes are in force at once."""

    def test_of_the_options_is_in_force_at_once(self, settings):
        settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "one"}
        first = get_configuration().naming.prefix
        settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "two"}
        assert (first, get_configuration().naming.prefix) == ("one", "two")

    def test_of_the_prefix_separates_sessions(self, settings, new_session):
        settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "one"}
        session = new_session(a=1)
        settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "two"}
        assert SessionStore(session.session_key).get("a") is None

    def test_of_the_secret_key_makes_sessions_missing(self, settings, new_session):
        session = new_session(a=1)
        settings.SECRET_KEY = "another secret key, which secures nothing either"
        assert SessionStore(session.session_key).get("a") is None

    def test_of_the_secret_key_keeps_sessions_while_the_old_one_is_a_fallback(
        self, settings, new_session
    ):
        session = new_session(a=1)
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another secret key, which secures nothing either"
        assert SessionStore(session.session_key).get("a") == 1

    def test_of_the_caches_is_in_force_at_once(self, settings, server, new_session):
        session = new_session(a=1)
        point_sessions_at(settings, f"{server.administrators_url}/7")
        assert SessionStore(session.session_key).get("a") is None

    def test_back_to_good_ends_the_trouble(self, valkey, settings):
        settings.ELASTICACHE_SESSIONS = {"NONSENSE": 1}
        with pytest.raises(ImproperlyConfigured):
            save()
        settings.ELASTICACHE_SESSIONS = {}
        save()
        assert len(stored_keys(valkey)) == 2


def assert_hidden(error: BaseException) -> None:
    """Assert that neither an error nor what it was raised from shows a secret."""
    shown = "".join(traceback.format_exception(error)).replace(__file__, "")
    messages = [line for line in shown.splitlines() if not line.startswith(" ")]
    assert CANARY not in "\n".join(messages)
    assert base64.b64encode(CANARY.encode()).decode()[:12] not in "\n".join(messages)
