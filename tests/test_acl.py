"""The documented user of the server is allowed what the engine needs, and nothing more."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
import redis
from django.contrib.auth import SESSION_KEY
from django.core.management import call_command

from django_elasticache_sessions import live, rekey, rows
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.doctor import permissions
from django_elasticache_sessions.homes import get_homes
from django_elasticache_sessions.statements import Statement
from django_elasticache_sessions.synchronization import synchronize

from . import template
from .conftest import point_sessions_at
from .contents import stored_keys
from .servers.valkey import RELEASES, Valkey

PAGE = Path(__file__).resolve().parent.parent / "docs" / "server.rst"


def documented_user(*, durable: bool = False) -> str:
    """Return what the page on the server says after ACL SETUSER, for `cached_db` too if asked."""
    found = re.findall(r"ACL SETUSER (.*?)\n\n", PAGE.read_text(encoding="utf-8"), re.S)
    words = " ".join(found[0].split()).replace(" -@all", "")
    return words + (found[1].removeprefix("app") if durable else "")


def template_user() -> str:
    """Return the same of the user that the CloudFormation template makes, for both engines."""
    return f"app >password {template.access_string()}"


USERS = {"page": documented_user, "template": template_user}


@pytest.fixture(params=[(release, user) for release in RELEASES for user in USERS])
def restricted(request, settings):
    """A server of each release there is, and sessions kept in it by a user made for that."""
    release, user = request.param
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    with Valkey(release, acl=[USERS[user]()]) as server:
        point_sessions_at(settings, f"redis://app:password@{server.host}:{server.port}/0")
        yield server


def test_every_operation_works_under_it(restricted):
    session = SessionStore()
    session.update({SESSION_KEY: "7", "cart": [1], "gone": 1})
    session.save()
    session["cart"].append(2)
    del session["gone"]
    session.save()
    session.set_expiry(100)
    session.save()
    session.cycle_key()
    assert SessionStore(session.session_key)["cart"] == [1, 2]
    assert SessionStore().exists(session.session_key)
    session.clear()
    session["new"] = 1
    session.save()
    assert rekey.rekey_sessions(batch_size=10).seen == 1
    session[SESSION_KEY] = "7"
    session.save()
    assert live.count() == (1, 0)
    assert live.get(live.page().sessions[0].session_id, with_values=True).values["new"] == 1
    assert len(live.for_user(7)) == 1
    call_command("clearsessions_cache", "--reindex", "--idle-for", "1d", "--no-input")
    SessionStore.clear_expired()
    session.flush()
    assert stored_keys(restricted.client()) == []


@pytest.mark.parametrize(
    "user", [documented_user(durable=True), template_user()], ids=["page", "template"]
)
@pytest.mark.parametrize("release", RELEASES)
def test_every_operation_of_cached_db_works_under_it(settings, fallback_database, release, user):
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    alias = fallback_database("sqlite")
    with Valkey(release, acl=[user]) as server:
        point_sessions_at(settings, f"redis://app:password@{server.host}:{server.port}/0")
        settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind"}
        session = DurableSessionStore()
        session.update({SESSION_KEY: "7", "cart": [1], "gone": 1})
        session.save()
        session["cart"].append(2)
        del session["gone"]
        session.save()
        assert synchronize(batch_size=10).saved == 1
        server.client().flushall()
        assert DurableSessionStore(session.session_key)["cart"] == [1, 2]
        session = DurableSessionStore(session.session_key)
        session["cart"] = []
        session.save()
        # What waits is saved, rotated and ended while the database is away.
        get_homes().database.failed()
        session.cycle_key()
        session["more"] = 1
        session.save()
        other = DurableSessionStore()
        other["a"] = 1
        other.save()
        session.flush()
        assert synchronize(batch_size=10).waiting == 0
        settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "through"}
        other["a"] = 2
        other.save()
        run = Statement(alias, rows.mark_stale, (other._stored.name.digest,)).run
        run()
        assert synchronize(batch_size=10).waiting == 0
        DurableSessionStore.clear_expired()
        DurableSessionStore("no-such-session-" * 2).get("a")
        refused = {entry["object"] for entry in server.client().acl_log()}
        # By another name where a command's entries do not tell the subcommand.
        assert refused <= {"client" if release == "redis-6.2" else "client|setinfo"}


def test_the_page_the_template_and_the_doctor_say_the_same():
    said = {word for word in documented_user(durable=True).split() if word[0] == "+"}
    made = {word for word in template_user().split() if word[0] == "+"}
    looked_at = {f"+{name}" for name in permissions.NEEDED + permissions.NEEDED_BY_CACHED_DB}
    assert said == looked_at
    assert made == looked_at | {f"+{name}" for name in permissions.NEEDED_IN_CLUSTERS}


def test_the_template_keeps_to_its_prefix():
    assert "~shop:web:* " in template.access_string("shop:web")


def test_asynchronous_operations_work_under_it(restricted):
    async def use() -> object:
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        await session.acycle_key()
        return await SessionStore(session.session_key).aget("a")

    assert asyncio.run(use()) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("HSET", "other:key", "a", "1"),
        ("GET", "session:key"),
        ("CONFIG", "GET", "*"),
        ("HGETALL", "other:key"),
        ("SCRIPT", "FLUSH"),
        ("ACL", "LIST"),
    ],
)
def test_it_is_refused_everything_else(restricted, command):
    client = restricted.client(username="app", password="password")
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)
