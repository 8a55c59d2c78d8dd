"""`manage.py demo` and the shop, as a newcomer meets them."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.db import connections
from django.utils import formats

from django_elasticache_sessions.models import CacheServer, FallbackSession

from ..servers.databases import database
from ..servers.valkey import Valkey
from ..servers.waiting import wait_until
from .conftest import Visitor, introduced

PASSWORD = "leaf-and-kettle"


@pytest.fixture
def store(demo):
    """The demo's Valkey."""
    with redis.Redis(port=demo.valkey_port) as client:
        yield client


def hashes(store) -> list[bytes]:
    return list(store.scan_iter("session:{*}:*", _type="hash"))


def whole_dump(store) -> bytes:
    parts = []
    for key in hashes(store):
        parts.append(key)
        parts.extend(part for pair in store.hgetall(key).items() for part in pair)
    return b"\n".join(parts)


def test_it_says_where_everything_is(demo):
    for text in ("The shop", "Your session", "The admin", PASSWORD, "hgetall", "Ctrl-C"):
        assert text in demo.output


def test_live_sessions_are_there_as_hashes_with_a_ttl(demo, store):
    keys = hashes(store)
    assert len(keys) >= 12
    assert all(store.ttl(key) > 0 for key in keys)


def test_the_command_it_prints_shows_a_hash(demo, store):
    key = re.search(r"hgetall '([^']+)'", demo.output)[1]
    assert store.hgetall(key)


@pytest.mark.parametrize("area", ["", "/async"])
def test_a_cart_is_kept_and_belongs_to_one_browser(demo, visitor, area):
    page = visitor.post("/products/assam/", "/cart/1/")
    assert "Assam" in page
    visitor.post(f"{area}/cart/", f"{area}/cart/1/", count=7)
    assert 'value="7"' in visitor.get("/cart/")
    assert 'value="7"' in visitor.get("/async/cart/")
    assert "Your cart is empty" in Visitor(demo.url).get("/cart/")
    visitor.post(f"{area}/cart/", f"{area}/cart/1/", count=0)
    assert "Your cart is empty" in visitor.get("/cart/")


@pytest.mark.parametrize("area", ["", "/async"])
def test_the_button_beside_the_count_removes_the_line(visitor, area):
    visitor.post("/products/assam/", "/cart/1/")
    visitor.post("/products/sencha/", "/cart/7/")
    # A browser sends the count that stands in the line, then the button.
    page = visitor.post(f"{area}/cart/", f"{area}/cart/1/", count=[1, 0])
    assert "Sencha" in page
    assert "Assam" not in page


def test_looking_around_makes_no_session(visitor, store):
    before = len(hashes(store))
    for path in ("/", "/products/sencha/", "/cart/", "/async/cart/", "/session/", "/login/"):
        visitor.get(path)
    assert visitor.session_key == ""
    assert len(hashes(store)) == before


def test_logging_in_rotates_the_session_key_and_keeps_the_cart(visitor):
    visitor.post("/products/oolong/", "/cart/5/")
    before = visitor.session_key
    assert "Log out shopper" in visitor.log_in("shopper", PASSWORD)
    assert visitor.session_key not in ("", before)
    assert "Oolong" in visitor.get("/cart/")
    assert "to shopper" in visitor.get("/async/cart/")


def test_a_wrong_password_says_so(visitor):
    assert "do not match" in visitor.log_in("shopper", "wrong")


def test_after_logging_out_the_old_cookie_is_nobody(demo, visitor):
    visitor.log_in("shopper", PASSWORD)
    thief = Visitor(demo.url)
    for cookie in visitor.cookies:
        thief.cookies.set_cookie(cookie)
    assert "Log out shopper" in thief.get("/")
    visitor.post("/", "/logout/")
    assert "Log in" in visitor.get("/")
    assert "Log out" not in thief.get("/")


def test_what_is_stored_shows_neither_cart_nor_key_nor_user(visitor, store):
    visitor.log_in("shopper", PASSWORD)
    visitor.post("/products/rooibos/", "/cart/6/", count=42)
    dump = whole_dump(store)
    assert visitor.session_key.encode() not in dump
    # Not "42}" alone, which is also in the name of bucket 42: session:{42}:...
    for text in (b"ModelBackend", b"shopper", b":42}"):
        assert text not in dump


def test_the_session_page_shows_the_stored_hash(visitor, store):
    visitor.post("/products/assam/", "/cart/1/")
    page = visitor.get("/session/")
    key = re.search(r"session:\{\d+\}:[\w-]{22}", page)[0]
    assert store.type(key) == b"hash"
    assert visitor.session_key not in page


def test_the_admin_is_open_to_staff(visitor):
    visitor.log_in("admin", PASSWORD)
    assert "Products" in visitor.get("/admin/")


def test_a_forwarded_address_is_not_believed(visitor):
    visitor.send_always("X-Forwarded-For", "203.0.113.9")
    visitor.log_in("shopper", PASSWORD)
    devices = visitor.get("/devices/")
    assert "127.0.0.1" in devices
    assert "203.0.113.9" not in devices


def test_staff_sees_and_ends_sessions_but_no_values(visitor):
    visitor.log_in("staff", PASSWORD)
    assert "Products" in visitor.get("/admin/")
    sessions = visitor.get("/admin/django_elasticache_sessions/livesession/")
    one = re.search(r'livesession/([^/"]+)/change/', sessions)[1]
    detail = visitor.get(f"/admin/django_elasticache_sessions/livesession/{one}/change/")
    assert "Fields" in detail
    assert "Values" not in detail
    assert "/delete/" in detail


def test_times_are_those_of_utc(visitor):
    times = [datetime.now(UTC)]
    visitor.log_in("admin", PASSWORD)
    shown = visitor.get("/admin/django_elasticache_sessions/livesession/?whose=mine")
    while times[-1] < datetime.now(UTC):
        times.append(times[-1] + timedelta(minutes=1))
    saved = [formats.date_format(time, "DATETIME_FORMAT") for time in times]
    assert any(text in shown for text in saved)


@pytest.mark.parametrize("data", [None, b"count=1"])
def test_a_forged_form_changes_nothing(visitor, data):
    forged = urllib.request.Request(visitor.url + "/cart/1/", data=data)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(forged, timeout=20)
    with caught.value as error:
        assert error.code in (403, 405)
    assert "Your cart is empty" in visitor.get("/cart/")


def signal_it(process, signum) -> None:
    process.send_signal(signum)


def press_ctrl_c(process, signum) -> None:
    """A terminal sends it to the whole process group."""
    os.killpg(process.pid, signum)


@pytest.mark.parametrize(
    ("send", "signum"),
    [(signal_it, signal.SIGINT), (signal_it, signal.SIGTERM), (press_ctrl_c, signal.SIGINT)],
)
def test_a_signal_stops_all_that_was_started(launch, tmp_path, send, signum):
    process = launch(tmp_path, "--port", "0", "--sessions", "1")
    running = introduced(process)
    ports = (running.valkey_port, int(running.url.rpartition(":")[2]))
    send(process, signum)
    assert process.wait(timeout=30) == 0
    wait_until(lambda: not is_group_alive(process.pid), what="the process group to end")
    assert not any(is_open(port) for port in ports)
    assert not list(tmp_path.glob("valkey-*"))


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("is_shared", [True, False])
def test_first_starts_at_the_same_time_do_not_disturb_each_other(launch, tmp_path, is_shared):
    folders = [tmp_path / ("all" if is_shared else str(number)) for number in range(3)]
    processes = [launch(folder, "--port", "0", "--sessions", "2") for folder in folders]
    demos = [introduced(process) for process in processes]
    assert len({running.valkey_port for running in demos}) == len(demos)
    for running in demos:
        assert "Log out shopper" in Visitor(running.url).log_in("shopper", PASSWORD)


def test_the_address_it_prints_answers_at_once(launch, tmp_path):
    running = introduced(launch(tmp_path, "--port", "0", "--sessions", "0"))
    assert "Leaf &amp; Kettle" in Visitor(running.url).get("/")


def test_where_the_usual_port_is_taken_it_says_which_one_it_took(launch, tmp_path):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Where this fails somebody else has the port, which is as good.
        with suppress(OSError):
            other.bind(("127.0.0.1", 8000))
            other.listen()
        running = introduced(launch(tmp_path, "--sessions", "0"))
        port = running.url.rpartition(":")[2]
        assert port != "8000"
        assert f"Port 8000 is taken; using {port}." in running.output


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port", "70000", "Port 70000"),
        ("--host", "0.0.0.0", "Expected a loopback address"),
    ],
)
def test_an_address_that_will_not_do_is_a_clear_error(launch, tmp_path, option, value, expected):
    arguments = (option, value) if option == "--port" else ("--port", "0", option, value)
    refused = introduced(launch(tmp_path, *arguments, "--sessions", "0"))
    assert refused.process.returncode == 1
    assert expected in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    "url", ["oracle://host/shop", "postgres://u:canary@host:port/shop", "sqlite://", "sqlite:///"]
)
def test_a_database_url_that_will_not_do_is_a_clear_error(launch, tmp_path, url):
    refused = introduced(launch(tmp_path, "--port", "0", DATABASE_URL=url))
    assert refused.process.returncode == 1
    assert "DATABASE_URL" in refused.output
    assert "postgres://user:password@host:5432/shop" in refused.output
    assert "Traceback" not in refused.output
    assert "canary" not in refused.output


def test_a_server_that_is_given_is_used_and_its_address_not_shown(demo, launch, tmp_path):
    url = f"redis://:canary@127.0.0.1:{demo.valkey_port}/0"
    refused = introduced(launch(tmp_path, "--port", "0", REDIS_URL=url))
    assert refused.process.returncode != 0
    assert "canary" not in refused.output
    given = f"redis://127.0.0.1:{demo.valkey_port}/0"
    running = introduced(launch(tmp_path, "--port", "0", "--sessions", "0", REDIS_URL=given))
    assert 'valkey-cli -u "$REDIS_URL" hgetall' in running.output
    assert not list(tmp_path.glob("valkey-*"))


def test_a_port_that_was_asked_for_and_is_taken_is_a_clear_error(demo, launch, tmp_path):
    port = demo.url.rpartition(":")[2]
    refused = introduced(launch(tmp_path, "--port", port, "--sessions", "1"))
    assert refused.process.returncode == 1
    assert f"Port {port}" in refused.output
    assert "--port" in refused.output


def test_it_runs_on_the_postgresql_and_the_valkey_that_it_is_given(
    tmp_path, launch, django_db_blocker
):
    with django_db_blocker.unblock(), database("postgresql") as alias, Valkey() as server:
        described = connections[alias].settings_dict
        with connections[alias].cursor() as cursor:
            for model in (FallbackSession, CacheServer):
                cursor.execute(f"DROP TABLE {model._meta.db_table}")
        connections[alias].close()
        demo = introduced(
            launch(
                tmp_path,
                *("--port", "0", "--sessions", "3"),
                DATABASE_URL=f"postgres://postgres@/{described['NAME']}?host={described['HOST']}",
                REDIS_URL=server.url,
            )
        )
        visitor = Visitor(demo.url)
        visitor.log_in("shopper", PASSWORD)
        visitor.post("/products/oolong/", "/cart/5/")
        # What an outage of the cache leaves.
        server.client().flushall()
        assert "Oolong" in visitor.get("/cart/")
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {FallbackSession._meta.db_table}")
            assert cursor.fetchone()[0] >= 4
        assert demo.stop() == 0
