"""Under a user that may not do what ElastiCache Serverless does not offer.

The list is that of "Supported and restricted Valkey, Memcached, and Redis OSS commands" in the
ElastiCache user guide: what no ElastiCache server offers, and what Serverless does not offer in
addition. https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/SupportedCommands.html
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

RESTRICTED = """
acl|setuser acl|load acl|save acl|deluser bgrewriteaof bgsave cluster|addslots cluster|addslotsrange
cluster|bumpepoch cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots
cluster|forget cluster|links cluster|meet cluster|setslot config debug migrate psync replicaof save
slaveof shutdown sync
acl|log client|caching client|getredir client|id client|info client|kill client|list client|no-evict
client|pause client|tracking client|trackinginfo client|unblock client|unpause
cluster|count-failure-reports commandlog fcall fcall_ro function keys lastsave latency memory
monitor
move object pfdebug pfselftest psubscribe punsubscribe pubsub|numpat script|kill slowlog swapdb wait
select
"""
USER = "app on >password ~* &* +@all " + " ".join(f"-{command}" for command in RESTRICTED.split())


@pytest.fixture(scope="module")
def serverless():
    with ValkeyCluster(replicas=False, acl=[USER]) as cluster:
        yield cluster


@pytest.fixture(params=["cache", "cached_db"])
def engine(request, settings, serverless, fallback_database):
    settings.SESSION_ENGINE = f"django_elasticache_sessions.backends.{request.param}"
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 16}
    if request.param == "cached_db":
        fallback_database("sqlite")
    serverless.flush()
    url = serverless.url.replace("redis://", "redis://app:password@")
    point_sessions_at(settings, url, CONNECTION_FACTORY=FACTORY, CLUSTER=True)
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
