"""Every system check by its id, with the line that it says to write."""

from __future__ import annotations

import base64
from io import StringIO

import pytest
from django.core.checks import ERROR, WARNING, CheckMessage
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.db import connections

from django_elasticache_sessions.checks import check_fallback_table
from django_elasticache_sessions.database_checks import check_database_timeouts

from .servers.databases import database

PREFIX = "django_elasticache_sessions."
OUR_FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
JSON = "django.contrib.sessions.serializers.JSONSerializer"
KEYS = [base64.b64encode(bytes([n] * 32)).decode() for n in range(2)]


class UnpickledSerializer:
    """A serializer of a harmless name."""


UnpickledSerializer.__module__ = "project.pickled"


@pytest.fixture(autouse=True)
def production(settings):
    """Settings that no check objects to, `--deploy` included."""
    settings.SESSION_COOKIE_SECURE = True
    settings.ELASTICACHE_SESSIONS = {}
    store_at(settings, "rediss://app:password@sessions.example.org:6379/0")


def store_at(settings, location: object, **cache: object) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "sessions": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": location,
            **cache,
        },
    }


def found(*, deploy: bool = True) -> dict[str, CheckMessage]:
    """Return the messages by id of those registered checks that are ours."""
    ours = (
        check
        for check in registry.get_checks(include_deployment_checks=deploy)
        if check.__module__.startswith(PREFIX)
    )
    messages = [message for check in ours for message in check(app_configs=None, databases=None)]
    assert all(str(message.id).startswith(PREFIX) for message in messages)
    return {str(message.id).removeprefix(PREFIX): message for message in messages}


@pytest.mark.parametrize("location", [5, None, [7], {"a": 1}])
@pytest.mark.parametrize("options", [{}, {"CONNECTION_FACTORY": OUR_FACTORY}])
def test_a_location_that_is_no_text_is_only_told_of(settings, location, options):
    store_at(settings, location, OPTIONS=options)
    assert "E010" in found()


@pytest.mark.parametrize("pool_options", [["x"], 5, {"nonsense": 1}])
@pytest.mark.parametrize("factory", [{}, {"CONNECTION_FACTORY": OUR_FACTORY}])
def test_options_that_make_no_connection_are_e007(settings, pool_options, factory):
    location = "rediss://sessions.example.org:6379/0"
    store_at(settings, location, OPTIONS={**factory, "CONNECTION_POOL_KWARGS": pool_options})
    problem = found()["E007"]
    assert "CONNECTION_POOL_KWARGS" in f"{problem.msg} {problem.hint}"
    assert "nonsense" in problem.msg or not isinstance(pool_options, dict)


def test_a_bad_option_of_the_session_cache_is_told_in_its_own_words(settings):
    options = {"CONNECTION_FACTORY": OUR_FACTORY, "CLUSTER": "yes"}
    store_at(settings, "rediss://app:password@sessions.example.org:6379/0", OPTIONS=options)
    problem = found()["E007"]
    assert "'CLUSTER': expected True or False, found str" in problem.msg
    assert "BACKEND" not in problem.hint


def test_an_alias_that_is_no_text_is_e006(settings):
    settings.SESSION_CACHE_ALIAS = ["a"]
    assert list(found()) == ["E006"]


def test_good_settings_give_no_message():
    assert found() == {}


@pytest.mark.parametrize(
    "options",
    [
        {"KEY_PREFIX": "shop:sessions", "INDEX_BUCKETS": 4096},
        {"ENCRYPTION_KEYS": KEYS, "COMPRESS_ABOVE_BYTES": None, "MAX_SESSION_BYTES": 1},
        {"ABSOLUTE_AGE": 1, "ANONYMOUS_AGE": None, "REFRESH_AFTER": 3600},
        {"ON_UNAVAILABLE": "anonymous", "ENCRYPT": True},
    ],
)
def test_good_options_give_no_message(settings, options):
    settings.ELASTICACHE_SESSIONS = options
    assert found() == {}


def test_the_setting_may_be_absent(settings):
    del settings.ELASTICACHE_SESSIONS
    assert found() == {}


@pytest.mark.parametrize(
    ("options", "code", "message", "hint"),
    [
        ([], "E001", "must be a dict, found list", "Write ELASTICACHE_SESSIONS = {}"),
        (None, "E001", "must be a dict, found NoneType", "Write ELASTICACHE_SESSIONS = {}"),
        ({"KEY_PREFX": "a"}, "E002", "unknown key 'KEY_PREFX'", "Did you mean 'KEY_PREFIX'?"),
        ({"key_prefix": "a"}, "E002", "unknown key 'key_prefix'", "Did you mean 'KEY_PREFIX'?"),
        ({"ZZZ": 1}, "E002", "unknown key 'ZZZ'", "Known keys: KEY_PREFIX, "),
        ({7: 1}, "E002", "unknown key 7", "Known keys: "),
        ({"ENCRYPT": 1}, "E003", "expected True or False, found 1", "'ENCRYPT': True"),
        ({"ENCRYPT": None}, "E003", "True or False, found None", "'ENCRYPT': True"),
        ({"INDEX_BUCKETS": 0}, "E003", "from 1, found 0", "'INDEX_BUCKETS': 256"),
        ({"INDEX_BUCKETS": 4097}, "E003", "at most 4096, found 4097", "'INDEX_BUCKETS': 256"),
        ({"INDEX_BUCKETS": True}, "E003", "from 1, found True", "'INDEX_BUCKETS': 256"),
        ({"MAX_SESSION_BYTES": "1"}, "E003", "found '1'", "'MAX_SESSION_BYTES': 1048576"),
        ({"MAX_SESSION_BYTES": None}, "E003", "found None", "'MAX_SESSION_BYTES': 1048576"),
        ({"COMPRESS_ABOVE_BYTES": -1}, "E003", "found -1", "'COMPRESS_ABOVE_BYTES': 1024"),
        ({"ABSOLUTE_AGE": 0}, "E003", "found 0", "'ABSOLUTE_AGE': None"),
        ({"ANONYMOUS_AGE": 1.5}, "E003", "found 1.5", "'ANONYMOUS_AGE': None"),
        ({"REFRESH_AFTER": "1h"}, "E003", "found '1h'", "'REFRESH_AFTER': None"),
        ({"ON_UNAVAILABLE": "ignore"}, "E003", "found 'ignore'", "'ON_UNAVAILABLE': 'raise'"),
        ({"ON_UNAVAILABLE": []}, "E003", "found an empty list", "'ON_UNAVAILABLE': 'raise'"),
        ({"ENCRYPTION_KEYS": []}, "E004", "found an empty list", "secrets.token_bytes(32)"),
        ({"ENCRYPTION_KEYS": KEYS[0]}, "E004", "a list of keys", "secrets.token_bytes(32)"),
        ({"ENCRYPTION_KEYS": [KEYS[0]] * 2}, "E004", "twice", "secrets.token_bytes(32)"),
        ({"ENCRYPTION_KEYS": ["AAAA"]}, "E004", "32 bytes, found 3", "secrets.token_bytes(32)"),
        ({"ENCRYPTION_KEYS": [*KEYS, "?"]}, "E004", "key 2: ", "secrets.token_bytes(32)"),
        ({"ENCRYPTION_KEYS": [b"A" * 44]}, "E004", "found bytes", "secrets.token_bytes(32)"),
        ({"KEY_PREFIX": ""}, "E005", "not empty, found ''", '"KEY_PREFIX": "session"'),
        ({"KEY_PREFIX": 7}, "E005", "found 7", '"KEY_PREFIX": "session"'),
        ({"KEY_PREFIX": "a{b}"}, "E005", "without braces", '"KEY_PREFIX": "session"'),
        ({"KEY_PREFIX": "a b"}, "E005", "printable ASCII", '"KEY_PREFIX": "session"'),
        ({"KEY_PREFIX": "sitzung-ä"}, "E005", "printable ASCII", '"KEY_PREFIX": "session"'),
        ({"KEY_PREFIX": "a*"}, "E005", "without braces", '"KEY_PREFIX": "session"'),
    ],
)
def test_each_wrong_option_is_an_error_that_says_what_to_write(
    settings, options, code, message, hint
):
    settings.ELASTICACHE_SESSIONS = options
    [(name, problem)] = found(deploy=False).items()
    assert (name, problem.level) == (code, ERROR)
    assert message in problem.msg
    assert "ELASTICACHE_SESSIONS" in problem.msg
    assert hint in problem.hint


def test_every_wrong_option_is_told_at_once(settings):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": 1, "KEY_PREFIX": "", "NONSENSE": 1}
    assert set(found()) == {"E002", "E003", "E005"}


def test_a_cache_alias_that_is_not_there_is_e006(settings):
    settings.SESSION_CACHE_ALIAS = "nowhere"
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("E006", ERROR)
    assert "SESSION_CACHE_ALIAS is 'nowhere'" in problem.msg
    assert 'CACHES = {..., \'nowhere\': {"BACKEND": "django_redis.cache.RedisCache"' in problem.hint


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.locmem.LocMemCache",
        "django.core.cache.backends.redis.RedisCache",
        "django.core.cache.backends.dummy.DummyCache",
        "no.such.Backend",
    ],
)
def test_a_cache_that_is_not_of_django_redis_is_e007(settings, backend):
    store_at(settings, "rediss://app:password@sessions.example.org:6379/0", BACKEND=backend)
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("E007", ERROR)
    assert "CACHES['sessions']" in problem.msg
    assert backend.rpartition(".")[0] in problem.msg
    assert '"django_redis.cache.RedisCache"' in problem.hint


def test_keys_spread_over_servers_are_e007(settings):
    store_at(
        settings,
        ["rediss://a:b@one.example.org/0", "rediss://a:b@two.example.org/0"],
        OPTIONS={"CLIENT_CLASS": "django_redis.client.ShardClient"},
    )
    problem = found()["E007"]
    assert "ShardClient" in problem.msg
    assert "Remove CLIENT_CLASS" in problem.hint


@pytest.mark.parametrize(
    "location",
    [
        "rediss://app:pass/word@sessions.example.org:6379/0",
        "rediss://app:pass[word@sessions.example.org:6379/0",
        "rediss://app:password@sessions.example.org:port/0",
        "valkey://app:password@sessions.example.org:6379/0",
        "http://app:password@sessions.example.org",
        "sessions.example.org:6379",
        [],
        "",
        None,
    ],
)
def test_a_location_that_is_no_url_is_e010(settings, location):
    store_at(settings, location)
    problem = found()["E010"]
    assert problem.level == ERROR
    assert "The LOCATION of CACHES['sessions']" in problem.msg
    assert '"LOCATION": "rediss://' in problem.hint
    assert '"USERNAME" and "PASSWORD" in its OPTIONS' in problem.hint


def test_a_fallback_database_that_is_not_there_is_e011(settings):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    settings.ELASTICACHE_SESSIONS = {"FALLBACK_DATABASE": "elsewhere"}
    problem = found()["E011"]
    assert "'elsewhere', which DATABASES does not have" in problem.msg
    assert "'FALLBACK_DATABASE'" in problem.hint


def test_a_fallback_database_of_another_vendor_is_e012(settings, monkeypatch):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    problem = found()["E012"]
    assert "does not support" in problem.msg
    assert "PostgreSQL, MySQL, MariaDB or SQLite" in problem.hint


@pytest.mark.parametrize("is_migrated", [True, False])
def test_a_fallback_database_without_its_table_is_w006(
    settings, monkeypatch, django_db_blocker, is_migrated
):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    with django_db_blocker.unblock(), database("sqlite", migrated=is_migrated) as alias:
        monkeypatch.setitem(settings.DATABASES, alias, connections.settings[alias])
        settings.ELASTICACHE_SESSIONS = {"FALLBACK_DATABASE": alias}
        messages = check_fallback_table(None, databases=[alias])
        assert check_fallback_table(None) == []
    assert [message.id for message in messages] == (
        [] if is_migrated else ["django_elasticache_sessions.W006"]
    )
    assert all(f"migrate --database={alias}" in message.hint for message in messages)


@pytest.mark.parametrize(
    ("vendor", "options", "missing"),
    [
        ("postgresql", {}, '"connect_timeout": 2'),
        ("postgresql", {"connect_timeout": 130}, '"connect_timeout": 2'),
        ("postgresql", {"connect_timeout": "soon"}, '"connect_timeout": 2'),
        ("postgresql", {"connect_timeout": "3"}, ""),
        ("postgresql", {"connect_timeout": 3, "pool": True}, '"pool": {..., "timeout": 2}'),
        ("postgresql", {"connect_timeout": 3, "pool": {"max_size": 2}}, '"timeout": 2'),
        ("postgresql", {"connect_timeout": 3, "pool": {"timeout": 2}}, ""),
        ("mysql", {"connect_timeout": 5}, '"read_timeout": 5'),
        ("mysql", {"connect_timeout": 5, "read_timeout": 10}, ""),
        ("sqlite", {}, ""),
    ],
)
def test_a_fallback_database_that_may_let_callers_hang_is_w010(
    settings, monkeypatch, vendor, options, missing
):
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"
    monkeypatch.setattr(type(connections["default"]), "vendor", vendor)
    monkeypatch.setitem(settings.DATABASES["default"], "OPTIONS", options)
    found_ids = [message.id for message in check_database_timeouts(None)]
    assert found_ids == (["django_elasticache_sessions.W010"] if missing else [])
    assert all(missing in message.hint for message in check_database_timeouts(None))
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cache"
    assert check_database_timeouts(None) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"PREVIOUS_ENGINES": ["no.such.engine"]}, "no session engine that can be imported"),
        (
            {"PREVIOUS_ENGINES": ["django.contrib.sessions.backends.signed_cookies"]},
            "cannot be taken over",
        ),
        (
            {"PREVIOUS_ENGINES": ["django_elasticache_sessions.backends.cache"]},
            "SESSION_ENGINE and one of PREVIOUS_ENGINES",
        ),
        (
            {"PREVIOUS_ENGINES": ["django_elasticache_sessions.backends.cached_db"]},
            "need no taking over",
        ),
        (
            {
                "PREVIOUS_ENGINES": ["django.contrib.sessions.backends.cache"],
                "PREVIOUS_CACHE_ALIAS": "nowhere",
            },
            "'nowhere', which CACHES does not have",
        ),
    ],
)
def test_a_previous_engine_that_is_none_is_e013(settings, options, text):
    settings.ELASTICACHE_SESSIONS = options
    assert text in found()["E013"].msg


def test_previous_engines_that_can_be_taken_over_are_no_problem(settings):
    settings.ELASTICACHE_SESSIONS = {
        "PREVIOUS_ENGINES": [
            f"django.contrib.sessions.backends.{name}"
            for name in ("db", "cached_db", "cache", "file")
        ]
    }
    assert "E013" not in found()


@pytest.mark.parametrize("where", ["OPTIONS", "everywhere"])
def test_a_cache_that_ignores_exceptions_is_e009(settings, where):
    if where == "OPTIONS":
        store_at(
            settings, settings.CACHES["sessions"]["LOCATION"], OPTIONS={"IGNORE_EXCEPTIONS": True}
        )
    else:
        settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("E009", ERROR)
    assert "CACHES['sessions'] ignores exceptions" in problem.msg
    assert "\"IGNORE_EXCEPTIONS\": False in the OPTIONS of CACHES['sessions']" in problem.hint


def test_a_cache_of_its_own_may_heed_exceptions_that_others_ignore(settings):
    settings.DJANGO_REDIS_IGNORE_EXCEPTIONS = True
    store_at(
        settings, settings.CACHES["sessions"]["LOCATION"], OPTIONS={"IGNORE_EXCEPTIONS": False}
    )
    assert found() == {}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.such.Serializer", "cannot be imported: No module named 'no'"),
        ("django.contrib.sessions.serializers.PickleSerializer", "cannot be imported"),
        ("django_redis.serializers.pickle.PickleSerializer", "runs code from the store"),
        (f"{__name__}.UnpickledSerializer", "runs code from the store"),
    ],
)
def test_a_serializer_that_is_missing_or_runs_code_is_e008(settings, path, message):
    settings.SESSION_SERIALIZER = path
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("E008", ERROR)
    assert path in problem.msg
    assert message in problem.msg
    assert f'SESSION_SERIALIZER = "{JSON}"' in problem.hint


def test_a_store_without_tls_is_w001(settings):
    store_at(settings, "redis://app:password@sessions.example.org:6379/0")
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("W001", WARNING)
    assert "CACHES['sessions'] is reached without TLS" in problem.msg
    assert 'LOCATION as "rediss://' in problem.hint


def test_a_store_without_a_password_is_w002(settings):
    store_at(settings, "rediss://sessions.example.org:6379/0")
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("W002", WARNING)
    assert "CACHES['sessions'] is reached without a password" in problem.msg
    assert "\"PASSWORD\" in the OPTIONS of CACHES['sessions']" in problem.hint


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("rediss://:password@sessions.example.org/0", {}),
        ("rediss://sessions.example.org/0?username=app&password=password", {}),
        ("rediss://sessions.example.org/0", {"PASSWORD": "password"}),
        (
            "rediss://sessions.example.org/0",
            {"CONNECTION_POOL_KWARGS": {"password": "password"}},
        ),
        (
            "rediss://sessions.example.org/0",
            {"CONNECTION_POOL_KWARGS": {"credential_provider": object()}},
        ),
        ("unix://:password@/run/valkey.sock", {}),
        (["rediss://app:password@sessions.example.org/0", "redis://replica.example.org/0"], {}),
        ("rediss://app:password@sessions.example.org/0,redis://replica.example.org/0", {}),
    ],
)
def test_tls_and_a_password_are_found_wherever_they_may_stand(settings, location, options):
    store_at(settings, location, OPTIONS=options)
    assert found() == {}


def test_a_cookie_over_plain_http_is_w003(settings):
    settings.SESSION_COOKIE_SECURE = False
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("W003", WARNING)
    assert "SESSION_COOKIE_SECURE is not set" in problem.msg
    assert problem.hint == "Write SESSION_COOKIE_SECURE = True."


def test_values_that_lie_readable_are_w004(settings):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": False}
    [(name, problem)] = found().items()
    assert (name, problem.level) == ("W004", WARNING)
    assert "ELASTICACHE_SESSIONS['ENCRYPT'] is False" in problem.msg
    assert problem.hint == "Remove 'ENCRYPT' from ELASTICACHE_SESSIONS."


@pytest.mark.parametrize("refresh_after", [1000, 1001])
def test_a_refresh_after_the_end_is_w005(settings, refresh_after):
    settings.SESSION_COOKIE_AGE = 1000
    settings.ELASTICACHE_SESSIONS = {"REFRESH_AFTER": refresh_after}
    [(name, problem)] = found(deploy=False).items()
    assert (name, problem.level) == ("W005", WARNING)
    assert f"is {refresh_after} seconds, not below SESSION_COOKIE_AGE (1000)" in problem.msg
    assert "'REFRESH_AFTER': 100}" in problem.hint


def test_a_refresh_before_the_end_gives_no_message(settings):
    settings.SESSION_COOKIE_AGE = 1000
    settings.ELASTICACHE_SESSIONS = {"REFRESH_AFTER": 999}
    assert found() == {}


def test_what_concerns_production_is_asked_for_with_deploy_only(settings):
    settings.SESSION_COOKIE_SECURE = False
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": False}
    store_at(settings, "redis://127.0.0.1:6379/0")
    assert found(deploy=False) == {}
    assert set(found()) == {"W001", "W002", "W003", "W004"}


def test_another_engine_is_none_of_our_business(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.SESSION_COOKIE_SECURE = False
    settings.SESSION_CACHE_ALIAS = "nowhere"
    settings.SESSION_SERIALIZER = "no.such.Serializer"
    settings.ELASTICACHE_SESSIONS = {"ENCRYPT": False, "REFRESH_AFTER": 10**9}
    assert found() == {}


@pytest.mark.parametrize("at", ["plain", "deploy"])
def test_no_check_opens_a_connection(server, valkey, settings, at):
    store_at(settings, server.url)
    before = valkey.info("stats")["total_connections_received"]
    found(deploy=at == "deploy")
    assert valkey.info("stats")["total_connections_received"] == before


def test_the_command_fails_and_names_id_and_hint(settings):
    settings.ELASTICACHE_SESSIONS = {"KEY_PREFX": "a"}
    with pytest.raises(CommandError, match=r"E002.*\n.*HINT: Did you mean 'KEY_PREFIX'"):
        call_command("check", "--tag", "caches", stdout=StringIO(), stderr=StringIO())


CANARY = "canary0secret"


@pytest.mark.parametrize(
    "keys",
    [
        [CANARY],
        CANARY,
        {CANARY: CANARY},
        [CANARY.encode()],
        [base64.b64encode(CANARY.encode()).decode()],
        [base64.b64encode(CANARY.encode() * 3).decode()],
        [base64.b64encode(CANARY.ljust(32).encode()).decode()] * 2,
        [[CANARY]],
        [None, CANARY],
    ],
)
def test_no_message_shows_an_encryption_key(settings, keys):
    settings.ELASTICACHE_SESSIONS = {"ENCRYPTION_KEYS": keys}
    messages = found()
    assert set(messages) == {"E004"}
    assert_hidden(messages, CANARY, base64.b64encode(CANARY.encode()).decode()[:12])


SHARDS = {"OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"}}


@pytest.mark.parametrize("cache", [{}, SHARDS], ids=["one server", "shards"])
@pytest.mark.parametrize(
    "location",
    [
        f"redis://app:{CANARY}@sessions.example.org:6379/0",
        f"rediss://app:{CANARY}@sessions.example.org:port/0",
        f"rediss://app:{CANARY}/unescaped@sessions.example.org:6379/0",
        f"rediss://app:{CANARY}[unescaped@sessions.example.org:6379/0",
        f"rediss://app:{CANARY}\N{ACCOUNT OF}@sessions.example.org:6379/0",
        f"http://app:{CANARY}@sessions.example.org",
        f"app:{CANARY}@sessions.example.org",
        f"redis://sessions.example.org/0?password={CANARY}",
        [f"redis://:{CANARY}@one.example.org/0", f"redis://:{CANARY}@two.example.org/0"],
        [],
        "",
        None,
    ],
)
def test_no_location_breaks_a_check_or_has_its_password_shown(settings, location, cache):
    store_at(settings, location, **cache)
    assert_hidden(found(), CANARY)


@pytest.mark.parametrize(
    "cache",
    [
        {"BACKEND": "no.such.Backend"},
        {"BACKEND": "django.core.cache.backends.redis.RedisCache"},
        {"OPTIONS": {"CLIENT_CLASS": "no.such.Client", "PASSWORD": CANARY}},
        {"OPTIONS": {"CLIENT_CLASS": "django_redis.client.SentinelClient", "PASSWORD": CANARY}},
        {"OPTIONS": {"CONNECTION_FACTORY": "no.such.Factory", "PASSWORD": CANARY}},
        {"OPTIONS": {"CONNECTION_POOL_KWARGS": {"password": CANARY}, "IGNORE_EXCEPTIONS": True}},
        {"OPTIONS": {"CONNECTION_POOL_KWARGS": {"pasword": CANARY}}},
        {"OPTIONS": CANARY},
    ],
)
def test_no_message_shows_a_password(settings, cache):
    settings.SECRET_KEY = CANARY
    settings.SECRET_KEY_FALLBACKS = [CANARY]
    store_at(settings, f"redis://app:{CANARY}@sessions.example.org:6379/0", **cache)
    assert_hidden(found(), CANARY)


def assert_hidden(messages: dict[str, CheckMessage], *secrets: str) -> None:
    shown = "\n".join(f"{message} {message.obj!r}" for message in messages.values())
    for secret in secrets:
        assert secret not in shown
