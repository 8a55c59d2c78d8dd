"""The counting relay, in front of a real server."""

from __future__ import annotations

import time

import pytest
import redis

from benchmarks.floor import Floor, count_commands
from benchmarks.relay import Relay, Traffic

PING, PONG = b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"


@pytest.fixture
def counting(server):
    with Relay(server.host, server.port) as relay:
        yield relay


@pytest.fixture
def client(counting):
    with redis.Redis(host=counting.host, port=counting.port, protocol=2) as client:
        client.ping()
        counting.reset()
        yield client


def test_a_command_is_one_round_trip(counting, client):
    client.ping()
    assert counting.traffic() == Traffic(1, len(PING), len(PONG))
    assert counting.requests() == PING


def test_a_pipeline_is_one_round_trip(counting, client):
    with client.pipeline(transaction=False) as pipeline:
        pipeline.ping().ping().ping()
        pipeline.execute()
    assert counting.traffic() == Traffic(1, 3 * len(PING), 3 * len(PONG))


def test_a_large_reply_is_one_round_trip(counting, client):
    client.set("large", b"x" * 1_000_000)
    counting.reset()
    assert len(client.get("large")) == 1_000_000
    assert counting.traffic().round_trips == 1
    assert counting.traffic().received_bytes > 1_000_000


def test_counts_are_shared_out_over_operations():
    assert Traffic(20, 100, 50).per(10) == Traffic(2, 10, 5)


def test_the_delay_is_added_to_each_round_trip(counting, client):
    counting.delay_seconds = 0.02
    began = time.monotonic()
    client.ping()
    client.ping()
    assert time.monotonic() - began >= 0.04


def test_the_floor_repeats_the_recorded_request(server, counting, client):
    with client.pipeline(transaction=False) as pipeline:
        pipeline.ping().echo("again")
        pipeline.execute()
    request = counting.requests()
    assert count_commands(request) == 2
    with Floor(server.host, server.port, (request, request)) as floor:
        assert floor.exchange() == floor.exchange() == [b"PONG", b"again"] * 2
        assert floor.measure(3).wall_us > 0
