"""Each fault of a relay does what it says, to a real server and a real client."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
from redis.backoff import NoBackoff

from tests.servers.relay import Relay
from tests.servers.valkey import Valkey
from tests.servers.waiting import wait_until

from .conftest import Connect

READONLY = b"-READONLY You can't write against a read only replica.\r\n"


def test_without_faults_all_passes(client: redis.Redis, direct: redis.Redis) -> None:
    assert client.hset("hash", mapping={"a": "1", "b": b"\r\n\x00"}) == 2
    assert direct.hgetall("hash") == {b"a": b"1", b"b": b"\r\n\x00"}
    assert client.hgetall("hash") == direct.hgetall("hash")


def test_pushes_are_not_taken_for_replies(relay: Relay, client: redis.Redis) -> None:
    with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe("channel")
        wait_until(
            lambda: client.pubsub_numsub("channel") == [(b"channel", 1)], what="the subscription"
        )
        client.publish("channel", "message")
        wait_until(
            lambda: (subscription.get_message(timeout=0.1) or {}).get("data") == b"message",
            what="the message",
        )


def test_a_delay_delays(relay: Relay, client: redis.Redis) -> None:
    relay.delay(0.05)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.05


def test_a_delayed_write_is_applied_though_its_client_has_left(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    relay.delay(1.5)
    with pytest.raises(redis.TimeoutError):
        client.set("key", "late")
    assert direct.get("key") is None
    wait_until(lambda: direct.get("key") == b"late", what="the late write")


def test_a_cut_reply_ends_early_and_only_once(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    direct.set("key", "value" * 100)
    relay.cut_reply_after(20)
    with relay.recording() as tape, pytest.raises(redis.ConnectionError):
        client.get("key")
    assert tape.bytes_to_client == 20
    assert client.get("key") == b"value" * 100


def test_a_stalled_reply_does_not_end(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    direct.set("key", "value" * 100)
    relay.stall_reply_after(20)
    with relay.recording() as tape, pytest.raises(redis.TimeoutError):
        client.get("key")
    assert tape.bytes_to_client == 20
    assert client.get("key") == b"value" * 100


def test_healing_lets_a_stalled_reply_go_on(relay: Relay, direct: redis.Redis) -> None:
    direct.set("key", "value")
    with redis.Redis(port=relay.port, socket_timeout=5) as client, ThreadPoolExecutor() as pool:
        client.ping()
        relay.stall_reply_after(3)
        with relay.recording() as tape:
            reading = pool.submit(client.get, "key")
            wait_until(lambda: tape.bytes_to_client == 3, what="the first bytes")
            relay.heal()
            assert reading.result(5) == b"value"


def test_a_dropped_reply_is_that_of_a_write_which_was_applied(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    relay.drop_reply_once()
    with relay.recording() as tape, pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert tape.bytes_to_client == 0
    assert direct.get("counter") == b"1"
    assert client.incr("counter") == 2


def test_a_dropped_reply_of_a_transaction_is_that_of_all_of_it(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    pipeline = client.pipeline(transaction=True)
    pipeline.incr("a")
    pipeline.incr("b")
    relay.drop_reply_once()
    with pytest.raises(redis.ConnectionError):
        pipeline.execute()
    assert direct.mget("a", "b") == [b"1", b"1"]


def test_an_injected_reply_keeps_the_request_from_the_server(
    relay: Relay, client: redis.Redis, direct: redis.Redis
) -> None:
    relay.inject_reply_once(READONLY)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        client.set("key", "value")
    assert direct.get("key") is None
    assert client.set("key", "value")


def test_an_injected_reply_keeps_its_place_in_a_pipeline(relay: Relay, client: redis.Redis) -> None:
    relay.inject_reply_once(READONLY, on="incrby")
    pipeline = client.pipeline(transaction=False)
    pipeline.set("a", 1)
    pipeline.incr("a")
    pipeline.get("a")
    stored, refused, value = pipeline.execute(raise_on_error=False)
    assert stored is True
    assert isinstance(refused, redis.exceptions.ReadOnlyError)
    assert value == b"1"


def test_faults_wait_for_the_command_that_they_name(relay: Relay, client: redis.Redis) -> None:
    relay.drop_reply_once(on="SET")
    client.get("key")
    with pytest.raises(redis.ConnectionError):
        client.set("key", "value")


def test_faults_strike_in_the_order_in_which_they_were_set(
    relay: Relay, client: redis.Redis
) -> None:
    relay.inject_reply_once(b"+first\r\n")
    relay.inject_reply_once(b"+second\r\n")
    assert [client.get("key") for _ in range(3)] == [b"first", b"second", None]


def test_handshakes_are_spared(relay: Relay, connect: Connect) -> None:
    relay.inject_reply_once(READONLY)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        connect(relay).set("key", "value")


def test_an_injection_can_last_until_it_is_healed(
    relay: Relay, client: redis.Redis, connect: Connect
) -> None:
    relay.inject_always(b"-LOADING Valkey is loading the dataset in memory\r\n")
    for each in (client, client, connect(relay)):
        with pytest.raises(redis.exceptions.BusyLoadingError):
            each.get("key")
    relay.heal()
    assert client.get("key") is None


def test_an_injection_can_last_for_one_command_only(relay: Relay, client: redis.Redis) -> None:
    relay.inject_always(READONLY, on="SET")
    for _ in range(2):
        with pytest.raises(redis.exceptions.ReadOnlyError):
            client.set("key", "value")
        assert client.get("key") is None


def test_a_black_hole_swallows_old_and_new_connections(
    relay: Relay, client: redis.Redis, connect: Connect, direct: redis.Redis
) -> None:
    relay.black_hole()
    for each in (client, connect(relay)):
        with relay.recording() as tape, pytest.raises(redis.TimeoutError):
            each.set("key", "value")
        assert tape.bytes_to_server > 0
        assert tape.bytes_to_client == 0
    relay.heal()
    assert client.set("other", "value")
    assert direct.get("key") is None


def test_a_black_hole_does_not_need_the_server(connect: Connect) -> None:
    with Valkey() as doomed, Relay(doomed.host, doomed.port) as relay:
        doomed.kill()
        relay.black_hole()
        with pytest.raises(redis.TimeoutError):
            connect(relay).ping()


def test_refusing_resets_and_refuses_until_healed(
    relay: Relay, client: redis.Redis, connect: Connect
) -> None:
    port = relay.port
    relay.refuse()
    for each in (client, client, connect(relay)):
        with pytest.raises(redis.ConnectionError):
            each.ping()
    relay.heal()
    assert relay.port == port
    assert client.ping()


def test_a_client_is_cut_off_when_the_server_dies_and_served_when_it_is_back(
    connect: Connect,
) -> None:
    with Valkey() as doomed, Relay(doomed.host, doomed.port) as relay:
        client = connect(relay)
        client.ping()
        doomed.kill()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        doomed.restart(keep_data=False)
        assert client.ping()


def test_a_frozen_server_times_out_through_the_relay(connect: Connect) -> None:
    with Valkey() as frozen, Relay(frozen.host, frozen.port) as relay:
        client = connect(relay)
        client.ping()
        frozen.freeze()
        with pytest.raises(redis.TimeoutError):
            client.ping()


def test_async_clients_meet_the_same_faults(relay: Relay, direct: redis.Redis) -> None:
    async def lose_the_reply() -> None:
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        async with redis.asyncio.Redis(port=relay.port, retry=retry) as client:
            relay.drop_reply_once(on="INCRBY")
            with relay.recording() as tape, pytest.raises(redis.ConnectionError):
                await client.incr("counter")
            assert tape.names[-1] == "INCRBY"

    asyncio.run(lose_the_reply())
    assert direct.get("counter") == b"1"


def test_a_stopped_relay_can_be_told_nothing_that_needs_it(server: Valkey) -> None:
    relay = Relay(server.host, server.port)
    with relay:
        pass
    relay.stop()
    with pytest.raises(RuntimeError, match="is not running"):
        relay.heal()
