"""What the doctor makes of facts that no server here can be brought to tell."""

from __future__ import annotations

import ssl

import pytest
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot

from django_elasticache_sessions.doctor import server
from django_elasticache_sessions.doctor.connection import judge_transport, judge_user
from django_elasticache_sessions.doctor.findings import Finding
from django_elasticache_sessions.doctor.permissions import (
    NEEDED,
    NEEDED_BY_CACHED_DB,
    TRIAL_OF_SADD,
    TRIALS,
    TRIALS_OF_CACHED_DB,
)
from django_elasticache_sessions.doctor.probe import Facts
from django_elasticache_sessions.listing import Counts

HALVES = [(0, 8191, "a:6379"), (8192, 16383, "b:6379")]


TOLD = {"server_name": "valkey", "valkey_version": "8.1.0"}


def facts(*, info: dict[str, str] = TOLD, **more: object) -> Facts:
    told: dict[str, object] = {
        "round_trip_seconds": 0.001,
        "clock_ahead_seconds": 0.0,
        "infos": [info],
        "user": "app",
        "refused": (),
        "beyond": (),
        "reads_elsewhere": False,
        "counts": Counts(0, 0),
        "by_bucket": [0],
        "pending": 0,
        "encodings": [],
        "slots": None,
        **more,
    }
    return Facts(**told)  # type: ignore[arg-type]


def judged(**more: object) -> dict[str, Finding]:
    found = server.judge(facts(**more), is_durable=True)
    return {finding.subject: finding for finding in found}


@pytest.mark.parametrize(
    ("name", "version", "level"),
    [
        ("valkey", "7.2.4", "ok"),
        ("valkey", "8.0.1", "ok"),
        ("redis", "6.2.6", "ok"),
        ("redis", "6.0.5", "problem"),
        ("redis", "5.0.6", "problem"),
    ],
)
def test_an_engine_is_judged_by_its_version(name, version, level):
    info = {f"{name}_version": version} | ({"server_name": name} if name == "valkey" else {})
    assert judged(info=info)["server"].level == level


@pytest.mark.parametrize(
    ("ahead", "level"),
    [(0.1, "ok"), (-0.1, "ok"), (2.0, "advice"), (-3.0, "advice"), (60.0, "problem")],
)
def test_a_clock_is_judged_by_how_far_it_is_off(ahead, level):
    assert judged(clock_ahead_seconds=ahead)["clock"].level == level


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("ip=a,port=1,state=online,offset=1000,lag=0", "ok"),
        ("ip=a,port=1,state=online,offset=1000,lag=60", "problem"),
        ("ip=a,port=1,state=wait_bgsave,offset=0,lag=0", "problem"),
        ("nonsense", "problem"),
    ],
)
def test_a_replica_is_judged_by_its_state_and_lag(text, level):
    info = {"role": "master", "slave0": text, "master_repl_offset": "1000"}
    assert judged(info=info)["replica 0"].level == level


def test_a_replica_that_is_megabytes_behind_is_advised():
    text = "state=online,offset=1000,lag=1"
    info = {"role": "master", "slave0": text, "master_repl_offset": str(20 * 1024 * 1024)}
    assert judged(info=info)["replica 0"].level == "advice"


def test_what_a_server_does_not_tell_is_unknown_and_not_zero():
    found = judged(info={})
    assert {found[name].level for name in ("server", "eviction policy", "evictions", "memory")} == {
        "unknown"
    }


@pytest.mark.parametrize("is_serverless", [False, True])
def test_keys_that_were_evicted_while_saves_wait_are_a_problem(is_serverless):
    info = TOLD | {"maxmemory_policy": "volatile-lru", "evicted_keys": "1"}
    told = server.judge(
        facts(info=info), is_durable=True, is_serverless=is_serverless, is_behind=True
    )
    found = {finding.subject: finding for finding in told}
    assert found["evictions"].level == found["eviction policy"].level == "problem"
    assert ("parameter group" in found["eviction policy"].mend) != is_serverless


def test_a_bucket_lies_in_the_slot_of_its_number():
    by_bucket = [1] * 256
    nodes = server.spread(by_bucket, HALVES)
    expected = sum(key_slot(f"session:{{{n}}}:live".encode()) < 8192 for n in range(256))
    assert nodes == {"a:6379": expected, "b:6379": 256 - expected}


def test_an_uneven_spread_is_advised():
    info = {"cluster_enabled": "1"}
    even, uneven = [10] * 256, [0] * 255 + [5000]
    assert judged(info=info, slots=HALVES, by_bucket=even)["cluster"].level == "ok"
    assert judged(info=info, slots=HALVES, by_bucket=uneven)["cluster"].level == "advice"
    assert judged(info=info, slots=None, by_bucket=even)["cluster"].level == "unknown"


@pytest.mark.parametrize(
    ("connection_class", "kwargs", "level"),
    [
        (Connection, {"host": "shop.example.com"}, "problem"),
        (Connection, {"host": "127.0.0.1"}, "advice"),
        (Connection, {"host": "::1"}, "advice"),
        (UnixDomainSocketConnection, {"path": "/run/valkey"}, "ok"),
        (SSLConnection, {"host": "shop.example.com"}, "ok"),
        (SSLConnection, {"ssl_cert_reqs": "none"}, "problem"),
        (SSLConnection, {"ssl_cert_reqs": ssl.CERT_NONE}, "problem"),
        (SSLConnection, {"ssl_check_hostname": False}, "advice"),
    ],
)
def test_the_transport_is_judged_by_who_could_listen(connection_class, kwargs, level):
    [finding] = judge_transport(connection_class, kwargs)
    assert finding.level == level


def test_a_credential_provider_is_as_good_as_a_password():
    assert judge_user(None, {"credential_provider": object()}).level == "ok"


def test_every_command_that_is_needed_is_tried_out():
    tried = {trial[0] for trial in (*TRIALS, *TRIALS_OF_CACHED_DB, *TRIAL_OF_SADD)}
    # These are sent by themselves.
    assert tried | {"eval", "evalsha", "scan", "info"} == {*NEEDED, *NEEDED_BY_CACHED_DB}
