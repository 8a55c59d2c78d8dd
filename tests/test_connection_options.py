"""Options of the session cache that people paste: what works has no finding, what fails has one."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

import pytest
from django.core.checks import ERROR, WARNING, CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django_redis.client import DefaultClient
from django_redis.compressors.zlib import ZlibCompressor
from django_redis.pool import ConnectionFactory
from django_redis.serializers.json import JSONSerializer
from redis import CredentialProvider
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_elasticache_sessions import checks
from django_elasticache_sessions.backends.cache import SessionStore

from .conftest import point_sessions_at
from .servers.relay import Relay
from .servers.tls import ServerIdentity
from .servers.valkey import Valkey
from .test_sentinel import keep_sessions_by

SENTINEL_FACTORY = "django_redis.pool.SentinelConnectionFactory"
OUR_FACTORY = "django_elasticache_sessions.elasticache.ConnectionFactory"
BLOCKING = {"CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool"}
WAITS = {"socket_timeout": 10, "socket_connect_timeout": 10}
ELSEWHERE = "redis://sessions.example.org:6379/0"
TLS = "rediss://sessions.example.org:6379/0"


def found(settings: Any, url: str = ELSEWHERE, **options: Any) -> dict[str, CheckMessage]:
    """Return what the checks find in the session cache, by id."""
    point_sessions_at(settings, url, is_patient=False, **options)
    messages = checks.check_cache_alias(None)
    assert all("CACHES['sessions']" in message.msg for message in messages)
    return {str(message.id).rpartition(".")[2]: message for message in messages}


def pool(**kwargs: Any) -> dict[str, Any]:
    return {"CONNECTION_POOL_KWARGS": kwargs}


@pytest.mark.parametrize(
    ("url", "options", "code", "option", "line"),
    [
        (
            f"{TLS}?ssl_cert_reqs=CERT_NONE",
            {},
            "E020",
            "'ssl_cert_reqs' in its LOCATION",
            '"ssl_cert_reqs=required" in the LOCATION',
        ),
        (
            f"{TLS}?ssl_cert_reqs=None",
            {},
            "E020",
            "'ssl_cert_reqs' in its LOCATION",
            '"ssl_cert_reqs=required" in the LOCATION',
        ),
        (
            TLS,
            pool(ssl_cert_reqs="CERT_NONE"),
            "E020",
            "found 'CERT_NONE'",
            '{"ssl_cert_reqs": "required"}',
        ),
        (
            TLS,
            pool(ssl_min_version="TLSv1_2"),
            "E020",
            "'ssl_min_version'",
            "ssl.TLSVersion.TLSv1_2",
        ),
        (
            ELSEWHERE,
            {"PARSER_CLASS": "redis.connection.HiredisParser"},
            "E021",
            "'PARSER_CLASS'",
            'Remove "PARSER_CLASS"',
        ),
        (
            ELSEWHERE,
            {"SERIALIZER": "no.Such"},
            "E021",
            "'no.Such' cannot be imported",
            '"SERIALIZER": "django_redis.serializers.pickle.PickleSerializer"',
        ),
        (
            ELSEWHERE,
            {"CLIENT_CLASS": 5},
            "E021",
            "int cannot be imported",
            '"CLIENT_CLASS": "django_redis.client.DefaultClient"',
        ),
        (
            ELSEWHERE,
            {"SOCKET_TIMEOUT": "5"},
            "E020",
            "'SOCKET_TIMEOUT' in its OPTIONS",
            'Write "SOCKET_TIMEOUT": 5 in',
        ),
        (
            ELSEWHERE,
            {"SOCKET_TIMEOUT": "fast"},
            "E020",
            "found 'fast'",
            'Write "SOCKET_TIMEOUT": 0.25 in',
        ),
        (
            ELSEWHERE,
            {"SOCKET_CONNECT_TIMEOUT": -1},
            "E020",
            "above 0, or None, found -1",
            'Write "SOCKET_CONNECT_TIMEOUT": 0.25 in',
        ),
        (
            ELSEWHERE,
            pool(socket_timeout="0.5"),
            "E020",
            "'socket_timeout' in its CONNECTION_POOL_KWARGS",
            '{"socket_timeout": 0.5}',
        ),
        (ELSEWHERE, pool(socket_timeout=-5), "E020", "found -5", '{"socket_timeout": 0.25}'),
        (
            ELSEWHERE,
            pool(socket_connect_timeout=float("inf")),
            "E020",
            "found inf",
            '{"socket_connect_timeout": 0.25}',
        ),
        (
            f"{ELSEWHERE}?socket_timeout=-5",
            {},
            "E020",
            "in its LOCATION",
            '"socket_timeout=0.25" in the LOCATION',
        ),
        (
            f"{ELSEWHERE}?socket_timeout=nan",
            {},
            "E020",
            "in its LOCATION",
            '"socket_timeout=0.25" in the LOCATION',
        ),
        (
            ELSEWHERE,
            pool(health_check_interval="30"),
            "E020",
            "'health_check_interval'",
            '{"health_check_interval": 30}',
        ),
        (
            ELSEWHERE,
            pool(max_connections="100"),
            "E020",
            "'max_connections'",
            '{"max_connections": 100}',
        ),
        (
            ELSEWHERE,
            pool(max_connections=-1),
            "E020",
            "from 1, or None, found -1",
            '{"max_connections": 100}',
        ),
        (ELSEWHERE, pool(max_connections=5.0), "E020", "found 5.0", '{"max_connections": 100}'),
        (ELSEWHERE, {**BLOCKING, **pool(timeout="20")}, "E020", "'timeout'", '{"timeout": 20}'),
        (
            ELSEWHERE,
            pool(socket_keepalive_options="TCP_KEEPIDLE=60"),
            "E020",
            "'socket_keepalive_options'",
            "{socket.TCP_KEEPIDLE: 60}",
        ),
        (
            ELSEWHERE,
            pool(socket_keepalive_options={"TCP_KEEPIDLE": 60}),
            "E020",
            "found dict",
            "{socket.TCP_KEEPIDLE: 60}",
        ),
        (
            ELSEWHERE,
            pool(socket_keepalive_options={socket.TCP_KEEPCNT: "3"}),
            "E020",
            "found dict",
            "{socket.TCP_KEEPIDLE: 60}",
        ),
        (
            f"{ELSEWHERE}?socket_keepalive_options=60",
            {},
            "E020",
            "in its LOCATION",
            'Remove it from the LOCATION, and write "CONNECTION_POOL_KWARGS"',
        ),
        (
            ELSEWHERE,
            pool(credential_provider="s3cret"),
            "E020",
            "get_credentials(), such as a redis.CredentialProvider, found str",
            '{"credential_provider": <your provider>}',
        ),
        (
            f"{ELSEWHERE}?credential_provider=s3cret",
            {},
            "E020",
            "found str",
            "Remove it from the LOCATION",
        ),
        (ELSEWHERE, pool(retry=3), "E020", "'retry'", '{"retry": Retry('),
        (ELSEWHERE, pool(retry_on_timeout=True, retry="3"), "E020", "'retry'", '{"retry": Retry('),
        (
            TLS,
            pool(ssl_ca_certs="/no/such.pem"),
            "E022",
            "'ssl_ca_certs'",
            '{"ssl_ca_certs": "/etc/ssl/own-ca.pem"}',
        ),
        (
            f"{TLS}?ssl_ca_certs=/no/such.pem",
            {},
            "E022",
            "in its LOCATION",
            '"ssl_ca_certs=/etc/ssl/own-ca.pem" in the LOCATION',
        ),
        (
            TLS,
            pool(ssl_ca_certs=__file__),
            "E022",
            "certificates in PEM",
            '{"ssl_ca_certs": "/etc/ssl/own-ca.pem"}',
        ),
        (TLS, pool(ssl_certfile="/no/such.pem"), "E022", "'ssl_certfile'", '{"ssl_certfile":'),
        (TLS, pool(ssl_keyfile="/no/such.key"), "E022", "'ssl_keyfile'", '{"ssl_keyfile":'),
        (
            ELSEWHERE,
            {"CONNECTION_FACTORY": SENTINEL_FACTORY, "SENTINELS": ["one:26379", "two:26379"]},
            "E023",
            "'SENTINELS'",
            '"SENTINELS": [("sentinel-1.example.com", 26379)]',
        ),
        (
            ELSEWHERE,
            {"CONNECTION_FACTORY": SENTINEL_FACTORY, "SENTINELS": "one:26379"},
            "E023",
            "'SENTINELS'",
            '"SENTINELS": [("sentinel-1.example.com", 26379)]',
        ),
        (
            ELSEWHERE,
            {"CONNECTION_FACTORY": SENTINEL_FACTORY},
            "E023",
            "'SENTINELS'",
            '"SENTINELS": [("sentinel-1.example.com", 26379)]',
        ),
        (
            ELSEWHERE,
            {"CLIENT_CLASS": "django_redis.client.SentinelClient"},
            "E023",
            "SentinelClient",
            f'"CONNECTION_FACTORY": "{SENTINEL_FACTORY}"',
        ),
        (
            ELSEWHERE,
            {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "CONNECTION_FACTORY": OUR_FACTORY,
            },
            "E023",
            "asks no Sentinels",
            f'"CONNECTION_FACTORY": "{SENTINEL_FACTORY}"',
        ),
        (
            ELSEWHERE,
            {
                "CONNECTION_FACTORY": SENTINEL_FACTORY,
                "SENTINELS": [("one", 1)],
                "SENTINEL_KWARGS": {"socket_timeout": "1"},
            },
            "E020",
            "in its SENTINEL_KWARGS",
            '"SENTINEL_KWARGS": {"socket_timeout": 1}',
        ),
        (
            "redis://sessions.example.org:6379/-1",
            {},
            "E024",
            "'db' in its LOCATION",
            '"db=0" in the LOCATION',
        ),
        (f"{ELSEWHERE}?db=-1", {}, "E024", "from 0, found -1", '"db=0" in the LOCATION'),
        ("redis://sessions.example.org:6379", pool(db="one"), "E024", "found 'one'", '{"db": 0}'),
        (
            "valkey://sessions.example.org:6379/0",
            {},
            "E010",
            "LOCATION",
            'Write "LOCATION": "rediss://<host>:6379/0"',
        ),
        (
            "valkeys://sessions.example.org:6379/0",
            {},
            "E010",
            "LOCATION",
            "django-redis serves Valkey as well as Redis",
        ),
    ],
)
def test_what_fails_at_the_first_session_is_an_error(settings, url, options, code, option, line):
    [(name, problem)] = found(settings, url, **options).items()
    assert (name, problem.level) == (code, ERROR)
    assert option in problem.msg
    assert line in problem.hint
    assert "CACHES['sessions']" in problem.hint or code == "E010"
    assert "s3cret" not in f"{problem.msg} {problem.hint}"


@pytest.mark.parametrize(
    ("url", "options", "code", "option", "line"),
    [
        (
            ELSEWHERE,
            {"DB": 3},
            "W021",
            "nothing reads 'DB'",
            '"LOCATION": "rediss://<host>:6379/<number>"',
        ),
        (
            ELSEWHERE,
            {"MAX_CONNECTIONS": 50},
            "W021",
            "'MAX_CONNECTIONS'",
            '"CONNECTION_POOL_KWARGS": {"max_connections": ...}',
        ),
        (
            ELSEWHERE,
            {"ssl_cert_reqs": None},
            "W021",
            "'ssl_cert_reqs'",
            '"CONNECTION_POOL_KWARGS": {"ssl_cert_reqs": ...}',
        ),
        (
            ELSEWHERE,
            {"SOCKET_TIMOUT": 5},
            "W021",
            "'SOCKET_TIMOUT'",
            'Write "SOCKET_TIMEOUT" in its place',
        ),
        (
            ELSEWHERE,
            {"CONNECTION_POOL_KWARG": {}},
            "W021",
            "'CONNECTION_POOL_KWARG'",
            'Write "CONNECTION_POOL_KWARGS" in its place',
        ),
        (ELSEWHERE, {"TIMEOUT": 60}, "W021", "'TIMEOUT'", "beside its OPTIONS"),
        (ELSEWHERE, {"KEY_PREFIX": "a"}, "W021", "'KEY_PREFIX'", "beside its OPTIONS"),
        (
            ELSEWHERE,
            {"CA_FILE": "/etc/ssl/own-ca.pem"},
            "W021",
            "'CA_FILE'",
            f'"CONNECTION_FACTORY": "{OUR_FACTORY}"',
        ),
        (
            ELSEWHERE,
            {"SENTINELS": [("one", 26379)]},
            "W021",
            "'SENTINELS'",
            f'"CONNECTION_FACTORY": "{SENTINEL_FACTORY}"',
        ),
        (
            ELSEWHERE,
            {"CONNECTION_FACTORY": OUR_FACTORY, "SENTINELS": [("one", 26379)]},
            "W021",
            "'SENTINELS'",
            f'"CONNECTION_FACTORY": "{SENTINEL_FACTORY}"',
        ),
        (
            ELSEWHERE,
            {"NONSENSE": 1},
            "W021",
            "nothing reads 'NONSENSE'",
            "Remove 'NONSENSE' from the OPTIONS",
        ),
        (ELSEWHERE, {7: 1}, "W021", "nothing reads 7", "Remove 7 from the OPTIONS"),
        (
            "redis://sessions.example.org:6379/16",
            {},
            "W020",
            "database 16",
            '"LOCATION": "rediss://<host>:6379/0"',
        ),
        (
            "redis://sessions.example.org:6379",
            pool(db=99),
            "W020",
            "database 99",
            '"LOCATION": "rediss://<host>:6379/0"',
        ),
    ],
)
def test_what_has_no_effect_or_may_not_be_there_is_a_warning(
    settings, url, options, code, option, line
):
    point_sessions_at(settings, url, is_patient=False)
    settings.CACHES["sessions"]["OPTIONS"] = dict(options)
    [message] = checks.check_cache_alias(None)
    assert (message.id, message.level) == (f"django_elasticache_sessions.{code}", WARNING)
    assert option in message.msg
    assert line in message.hint
    assert "CACHES['sessions']" in message.msg


WORKING = [
    ("", {}),
    ("", {"SOCKET_TIMEOUT": 10, "SOCKET_CONNECT_TIMEOUT": 2.5}),
    ("", {"SOCKET_TIMEOUT": 0, "SOCKET_CONNECT_TIMEOUT": None}),
    ("", {"SOCKET_TIMEOUT": True}),
    ("", pool(socket_timeout=None, socket_connect_timeout=None)),
    ("?socket_timeout=5&socket_connect_timeout=2.5", {}),
    # What a URL says wins over CONNECTION_POOL_KWARGS.
    ("?socket_timeout=5", pool(socket_timeout="5")),
    ("", pool(health_check_interval=30)),
    ("", pool(health_check_interval=1.5)),
    ("", pool(health_check_interval=None)),
    ("?health_check_interval=30", {}),
    ("", pool(max_connections=100)),
    ("", pool(max_connections=None)),
    ("", pool(max_connections=0)),
    ("?max_connections=5", {}),
    ("", {**BLOCKING, **pool(timeout=None, max_connections=3)}),
    ("", {**BLOCKING, **pool(timeout=0)}),
    ("?timeout=2.5", BLOCKING),
    ("", pool(socket_keepalive_options={socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPCNT: 3})),
    ("", pool(socket_keepalive_options={socket.TCP_KEEPIDLE: (60).to_bytes(4, "little")})),
    ("", pool(socket_keepalive_options={})),
    ("", pool(socket_keepalive_options=None)),
    ("", pool(socket_keepalive=False, socket_keepalive_options={"TCP_KEEPIDLE": 60})),
    ("", pool(credential_provider=None)),
    ("", pool(retry=Retry(NoBackoff(), 1))),
    ("", pool(retry=None)),
    ("", pool(db=0)),
    # redis-py takes the number of the URL.
    ("", pool(db="one")),
    ("", {"PARSER_CLASS": None}),
    ("", {"PARSER_CLASS": "redis._parsers._HiredisParser"}),
    ("", {"CONNECTION_FACTORY": None}),
    ("", {"CONNECTION_FACTORY": ""}),
    ("", {"CONNECTION_FACTORY": OUR_FACTORY}),
    ("", {"MAX_ENTRIES": 1000, "CULL_FREQUENCY": 3, "PICKLE_VERSION": -1}),
    ("", {"REPLICA_READ_ONLY": False, "CLOSE_CONNECTION": True, "REDIS_CLIENT_KWARGS": {}}),
    ("", {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}),
    ("", {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}),
    ("", {"CLIENT_CLASS": "django_redis.client.HerdClient"}),
]


@pytest.mark.parametrize(("query", "options"), WORKING)
def test_what_works_has_no_finding(server, valkey, settings, query, options):
    point_sessions_at(settings, f"{server.url}/0{query}", is_patient=False)
    settings.CACHES["sessions"]["OPTIONS"] = dict(options)
    assert checks.check_cache_alias(None) == []
    save_and_load()


def save_and_load() -> None:
    session = SessionStore()
    session["a"] = 1
    session.save()
    assert asyncio.run(SessionStore(session.session_key).aget("a")) == 1


class Provider(CredentialProvider):
    """Signs in as the server's user."""

    def get_credentials(self) -> tuple[str, str]:
        return ("default", "s3cret")


def test_a_credential_provider_has_no_finding(server, valkey, settings):
    assert found(settings, f"{server.url}/0", **pool(credential_provider=Provider())) == {}
    save_and_load()


@pytest.mark.parametrize(
    "forms",
    [
        {},
        {"ssl_cert_reqs": "required", "ssl_check_hostname": True},
        {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_min_version": ssl.TLSVersion.TLSv1_2},
        {"ssl_cert_reqs": "optional"},
        {"ssl_cert_reqs": "none"},
        {"ssl_cert_reqs": None},
        {"ssl_cert_reqs": ssl.CERT_NONE},
        {"ssl_cert_reqs": 0},
    ],
)
@pytest.mark.parametrize("as_path", [True, False])
def test_forms_of_tls_that_work_have_no_finding(server, valkey, settings, tmp_path, forms, as_path):
    identity = ServerIdentity.valid(tmp_path)
    ca_file = identity.ca_file if as_path else str(identity.ca_file)
    with Relay(server.host, server.port, tls=identity) as relay:
        url = f"rediss://:{server.password or ''}@localhost:{relay.port}/0"
        assert found(settings, url, **pool(ssl_ca_certs=ca_file, **WAITS, **forms)) == {}
        save_and_load()


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
        {"SENTINEL_KWARGS": None},
        {"SENTINEL_KWARGS": {"socket_timeout": 1, "password": None}},
    ],
)
def test_forms_of_sentinels_that_work_have_no_finding(settings, change):
    with Valkey() as primary, Valkey(sentinel=True, monitors=primary) as sentinel:
        keep_sessions_by(settings, sentinel, SOCKET_TIMEOUT=5, **change)
        options = settings.CACHES["sessions"]["OPTIONS"]
        options["SENTINELS"] = [[host, str(port)] for host, port in options["SENTINELS"]]
        assert checks.check_cache_alias(None) == []
        save_and_load()


@pytest.mark.parametrize("name", ["CLIENT_CLASS", "CONNECTION_FACTORY", "SERIALIZER", "COMPRESSOR"])
def test_classes_of_the_projects_own_may_read_any_option(settings, monkeypatch, name):
    stock = {
        "CLIENT_CLASS": DefaultClient,
        "CONNECTION_FACTORY": ConnectionFactory,
        "SERIALIZER": JSONSerializer,
        "COMPRESSOR": ZlibCompressor,
    }
    own = type("Own", (stock[name],), {"__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Own", own, raising=False)
    assert found(settings, **{name: f"{__name__}.Own", "SHELF": 3}) == {}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"SOCKET_TIMEOUT": "5"}, 'Write "SOCKET_TIMEOUT": 5'),
        (pool(health_check_interval="30"), '{"health_check_interval": 30}'),
        (pool(socket_timeout=-1), '{"socket_timeout": 0.25}'),
        (pool(credential_provider="s3cret"), "<your provider>"),
        ({"PARSER_CLASS": "redis.connection.HiredisParser"}, "Correct PARSER_CLASS"),
    ],
)
@pytest.mark.parametrize("way", ["load", "aload"])
def test_at_run_time_the_same_is_said(settings, options, line, way):
    point_sessions_at(settings, ELSEWHERE, is_patient=False, **options)
    session = SessionStore("some-session-key-" * 2)
    with pytest.raises(ImproperlyConfigured, match="CACHES") as caught:
        session.load() if way == "load" else asyncio.run(session.aload())
    assert line in str(caught.value)
    assert "s3cret" not in str(caught.value)


class BrokenFactory(ConnectionFactory):
    """Fails in a way that nobody has thought of."""

    def get_connection_pool(self, params: dict[str, Any]) -> Any:
        raise RuntimeError("s3cret")


def test_whatever_else_keeps_a_pool_from_being_made_is_told(settings):
    problem = found(settings, CONNECTION_FACTORY=f"{__name__}.BrokenFactory")["E007"]
    assert "(RuntimeError)" in problem.msg
    assert "s3cret" not in f"{problem.msg} {problem.hint}"
    problem = found(settings, **pool(password="a", credential_provider=Provider()))["E007"]
    assert "(DataError)" in problem.msg


def test_a_cache_of_django_valkey_is_told_that_django_redis_serves_valkey(settings):
    backend = "django_valkey.cache.ValkeyCache"
    pytest.importorskip("django_valkey")
    point_sessions_at(settings, ELSEWHERE)
    settings.CACHES["sessions"]["BACKEND"] = backend
    [problem] = checks.check_cache_alias(None)
    assert (problem.id, problem.level) == ("django_elasticache_sessions.E007", ERROR)
    assert backend in problem.msg
    assert '"BACKEND": "django_redis.cache.RedisCache"' in problem.hint
    assert "django-redis serves Valkey" in problem.hint
    with pytest.raises(ImproperlyConfigured, match=r'"django_redis.cache.RedisCache"'):
        SessionStore("some-session-key-" * 2).load()
