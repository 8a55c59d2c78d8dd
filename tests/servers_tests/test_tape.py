"""A relay counts exactly what crosses it."""

import redis

from tests.servers.relay import Relay
from tests.servers.valkey import Valkey

from .conftest import Connect


def test_a_tape_has_a_reply_as_soon_as_the_client_has(relay: Relay, client: redis.Redis) -> None:
    for number in range(200):
        with relay.recording() as tape:
            client.set("key", number)
        assert tape.commands == [[b"SET", b"key", str(number).encode()]]
        assert tape.round_trips == 1
        assert tape.bytes_to_client == len(b"+OK\r\n")


def test_bytes_are_those_of_the_wire(relay: Relay, client: redis.Redis) -> None:
    with relay.recording() as tape:
        client.get("key")
    assert tape.bytes_to_server == len(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n")
    assert tape.bytes_to_client == len(b"_\r\n")


def test_a_pipeline_is_one_round_trip(relay: Relay, client: redis.Redis) -> None:
    pipeline = client.pipeline(transaction=True)
    pipeline.set("a", 1)
    pipeline.expire("a", 60)
    pipeline.get("a")
    with relay.recording() as tape:
        pipeline.execute()
    assert tape.names == ["MULTI", "SET", "EXPIRE", "GET", "EXEC"]
    assert tape.round_trips == 1


def test_a_pipeline_that_is_sent_in_pieces_is_one_round_trip(
    server: Valkey, connect: Connect
) -> None:
    large = b"x" * 3_000_000
    with Relay(server.host, server.port, gather_seconds=0.3) as relay:
        client = connect(relay)
        client.ping()
        with relay.recording() as tape:
            for _ in range(4):
                pipeline = client.pipeline(transaction=False)
                pipeline.get("a")
                pipeline.set("a", large[:7000])
                pipeline.get("a")
                pipeline.execute()
            client.set("b", large)
            assert client.get("b") == large
    assert tape.round_trips == 6
    assert len(tape.commands) == 14


def test_each_request_that_is_waited_for_is_a_round_trip(relay: Relay, client: redis.Redis) -> None:
    with relay.recording() as tape:
        client.incr("counter")
        client.incr("counter")
        client.incr("counter")
    assert tape.round_trips == 3


def test_connections_and_their_handshakes_are_counted(relay: Relay, connect: Connect) -> None:
    with relay.recording() as tape:
        connect(relay).get("key")
        connect(relay).get("key")
    assert tape.connections == 2
    assert tape.names.count("GET") == 2
    assert set(tape.names) > {"GET"}


def test_tapes_may_overlap_and_end_by_themselves(relay: Relay, client: redis.Redis) -> None:
    with relay.recording() as outer:
        client.get("a")
        with relay.recording() as inner:
            client.get("b")
        client.get("c")
    client.get("d")
    assert [command[1] for command in outer.commands] == [b"a", b"b", b"c"]
    assert [command[1] for command in inner.commands] == [b"b"]


def test_the_relay_counts_from_its_start(relay: Relay, connect: Connect) -> None:
    connect(relay).get("key")
    assert relay.connections == 1
    assert relay.requests[-1] == "GET"
    assert relay.round_trips >= 1
    assert relay.bytes_in > 0
    assert relay.bytes_out > 0


def test_a_request_that_a_fault_keeps_from_the_server_counts(
    relay: Relay, client: redis.Redis
) -> None:
    relay.inject_reply_once(b"+FORGED\r\n")
    with relay.recording() as tape:
        client.get("key")
    assert tape.names == ["GET"]
    assert tape.bytes_to_client == len(b"+FORGED\r\n")
