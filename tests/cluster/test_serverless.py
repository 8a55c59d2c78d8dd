"""Whether anything was asked for that ElastiCache Serverless does not offer.

Every server of the tests refuses that, unless a test says otherwise; here it tells what was asked.
"""

from __future__ import annotations

import asyncio
from importlib import import_module

import pytest
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command

from django_elasticache_sessions import live, rekey
from django_elasticache_sessions.synchronization import synchronize

from ..servers.cluster import ValkeyCluster
from .conftest import FACTORY, point_sessions_at


@pytest.fixture(scope="module")
def serverless():
    with ValkeyCluster(replicas=False) as cluster:
        yield cluster


@pytest.fixture(params=["cache", "cached_db"])
def engine(request, settings, serverless, fallback_database):
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{request.param}"
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
    if request.param == "cached_db":
        fallback_database("sqlite")
    serverless.flush()
    point_sessions_at(settings, serverless.url, CONNECTION_FACTORY=FACTORY, CLUSTER=True)
    return import_module(settings.SESSION_ENGINE).SessionStore


def test_every_operation_works(engine):
    session = engine()
    session.update({SESSION_KEY: "7", "cart": [1], "gone": 1})
    session.save()
    session["cart"].append(2)
    del session["gone"]
    session.save()
    session.cycle_key()
    assert engine(session.session_key)["cart"] == [1, 2]
    assert asyncio.run(engine(session.session_key).aget("cart")) == [1, 2]
    assert rekey.rekey_sessions(batch_size=10).seen == 1
    assert live.count() == (1, 0)
    assert len(live.page().sessions) == len(live.for_user(7)) == 1
    assert live.stats().problems == {}
    assert live.stats().cache.nodes == 3
    if engine.__module__.endswith("cached_db"):
        assert synchronize(batch_size=10).waiting == 0
    call_command("clearsessions_cache", "--reindex", "--idle-for", "1d", "--no-input")
    engine.clear_expired()
    session.flush()
    assert live.count() == (0, 0)


def test_nothing_was_asked_that_is_not_offered(engine, serverless):
    serverless.tell_all("ACL", "LOG", "RESET")
    test_every_operation_works(engine)
    assert [entry for log in serverless.tell_all("ACL LOG") for entry in log] == []
