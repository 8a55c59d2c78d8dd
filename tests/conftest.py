"""Fixtures: a real Valkey for the run, emptied for each test, and settings that point at it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
import redis
from django.utils import translation
from hypothesis import settings as hypothesis_settings

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.drivers import origin
from django_elasticache_sessions.elasticache import aws as asking
from django_elasticache_sessions.elasticache import iam, kms
from django_elasticache_sessions.scripts import BY_SHA
from tests.servers.aws import Aws, Moto
from tests.servers.databases import VENDORS, Unavailable, Vendor, database
from tests.servers.relay import Relay
from tests.servers.releases import CHOSEN, RELEASES
from tests.servers.valkey import Valkey

# No deadlines: this machine may be busy. In CI the same examples each time: a failure there is one
# of the change, and new examples are tried wherever else the tests run.
hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis_settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have the servers of the run be of another release than the newest."""
    parser.addoption("--release", choices=RELEASES, default=CHOSEN.release, help="of the servers")


def pytest_configure(config: pytest.Config) -> None:
    """Take the release that was asked for; it has to be there."""
    CHOSEN.release = config.getoption("release")
    if not Valkey.available(CHOSEN.release):
        raise pytest.UsageError(f"This machine has no server of release {CHOSEN.release}.")


PATIENT = {"SOCKET_TIMEOUT": 10, "SOCKET_CONNECT_TIMEOUT": 10}


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    """Begin in `LANGUAGE_CODE`: Django's middleware leaves a thread in its last reader's."""
    yield
    translation.deactivate()


@pytest.fixture(autouse=True)
def _asks_once(monkeypatch) -> None:
    """Ask a connection's server once whether it is a primary, however long the test may take."""
    monkeypatch.setattr(origin, "CONFIRMED_SECONDS", 3600.0)


@pytest.fixture(scope="session")
def server() -> Iterator[Valkey]:
    """One Valkey for the whole run; tests that stop or freeze a server start their own."""
    with Valkey() as valkey:
        yield valkey


@pytest.fixture
def valkey(server: Valkey, settings) -> Iterator[redis.Redis]:
    """An empty store that sessions are kept in, as its administrator sees it."""
    client = server.client()
    client.flushall()
    # Whichever test ran before: a script that the server does not know costs one more round trip.
    with client.pipeline(transaction=False) as pipeline:
        for script in BY_SHA.values():
            pipeline.script_load(script.source)
        pipeline.execute()
    point_sessions_at(settings, server.url)
    yield client
    client.close()


@pytest.fixture
def relay(server: Valkey, valkey: redis.Redis, settings) -> Iterator[Relay]:
    """The same store behind a relay that counts and breaks."""
    with Relay(server.host, server.port) as relay:
        point_sessions_at(settings, f"redis://{relay.host}:{relay.port}/0")
        yield relay


def point_sessions_at(settings, url: str, *, is_patient: bool = True, **options: object) -> None:
    """Set the address, and more django-redis `OPTIONS`, of the session cache.

    Waits longer for replies than by default, for this machine may be busy, unless told otherwise.
    """
    caches = copy.deepcopy(settings.CACHES)
    caches["sessions"]["LOCATION"] = url
    caches["sessions"]["OPTIONS"] = {**(PATIENT if is_patient else {}), **options}
    settings.CACHES = caches


@pytest.fixture
def fallback_database(settings, django_db_blocker) -> Iterator[Callable[[Vendor], str]]:
    """Make an empty database of a vendor and keep the rows of sessions there; its alias."""
    with ExitStack() as stack, django_db_blocker.unblock():

        def make(vendor: Vendor) -> str:
            try:
                alias = stack.enter_context(database(vendor))
            except Unavailable as missing:
                pytest.skip(f"this machine lacks {missing}")
            settings.ELASTICACHE_SESSIONS = {
                **getattr(settings, "ELASTICACHE_SESSIONS", {}),
                "FALLBACK_DATABASE": alias,
            }
            return alias

        yield make


@pytest.fixture(params=["cache", *(f"cached_db-{vendor}" for vendor in VENDORS)])
def engine(request, settings, valkey: redis.Redis, fallback_database):
    """The `SessionStore` of the engine in force; `cached_db` with a database of each vendor."""
    name, _, vendor = request.param.partition("-")
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{name}"
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 4}
    if vendor:
        fallback_database(vendor)
    return import_module(settings.SESSION_ENGINE).SessionStore


@pytest.fixture
def new_session(valkey: redis.Redis):
    """Make and save a session with the given data."""

    def make(**data: object) -> SessionStore:
        session = SessionStore()
        session.update(data)
        session.save()
        return session

    return make


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """One moto server for the whole run."""
    with Moto() as moto:
        yield moto


@pytest.fixture
def aws_profiles(monkeypatch, tmp_path) -> Path:
    """No credentials and no region but those that a test gives; the file of profiles."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    profiles = tmp_path / "config"
    profiles.touch()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    asking._client.cache_clear()
    iam._provider.cache_clear()
    kms._opened.clear()
    kms._failure_ends = 0.0
    return profiles


@pytest.fixture
def aws(moto: Moto, aws_profiles: Path) -> Iterator[Aws]:
    """The moto server, without faults."""
    with Aws(moto) as aws:
        yield aws
