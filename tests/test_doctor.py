"""`checksessions` against servers that are as they should be, and against others."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE
from django_elasticache_sessions.doctor import Finding, examine, permissions
from django_elasticache_sessions.management.commands.checksessions import Command
from django_elasticache_sessions.models import CacheServer, FallbackSession

from .conftest import point_sessions_at
from .servers.relay import Relay
from .servers.tls import ServerIdentity
from .servers.valkey import RELEASES, Valkey

PASSWORD = "canary0secret"
ROOMY = {"maxmemory": "64mb"}


def user(*, durable: bool = False, without: str = "", more: str = "") -> str:
    """Return the rule of the user `app` with just what sessions need, or nearly."""
    rules = permissions.rules("session", is_durable=durable)
    words = [word for word in rules.split() if word != f"+{without}"]
    return f"app on >{PASSWORD} {' '.join(words)} {more}".strip()


def point_at(settings, server: Valkey | Relay, **options: object) -> None:
    scheme = "rediss" if "CONNECTION_POOL_KWARGS" in options else "redis"
    point_sessions_at(
        settings,
        f"{scheme}://127.0.0.1:{server.port}/0",
        USERNAME="app",
        PASSWORD=PASSWORD,
        **options,
    )


def found(engine: str = CACHE_ENGINE) -> dict[str, Finding]:
    """Examine; the findings by subject, of which each is there once but for wrong settings."""
    return {finding.subject: finding for finding in examine(engine)}


def levels(engine: str = CACHE_ENGINE) -> dict[str, str]:
    return {subject: finding.level for subject, finding in found(engine).items()}


@pytest.fixture
def durable(settings, fallback_database) -> Callable[..., str]:
    """The `cached_db` engine, with the table made by `migrate`; the alias of its database."""
    settings.SESSION_ENGINE = CACHED_DB_ENGINE
    alias = fallback_database("sqlite")
    with connections[alias].cursor() as cursor:
        for model in (FallbackSession, CacheServer):
            cursor.execute(f"DROP TABLE {model._meta.db_table}")
    call_command("migrate", "django_elasticache_sessions", database=alias, verbosity=0)
    return alias


@pytest.fixture
def store(settings):
    """A server of our own, with a user, and sessions kept there."""
    with Valkey(acl=[user()], config=ROOMY) as server:
        point_at(settings, server)
        yield server


def test_all_is_well_behind_tls_with_a_user_a_replica_and_a_database(settings, durable, tmp_path):
    identity = ServerIdentity.valid(tmp_path)
    with (
        Valkey(acl=[user(durable=True)], config=ROOMY) as server,
        Valkey(replica_of=server),
        Relay(server.host, server.port, tls=identity) as relay,
    ):
        tls = {"ssl_ca_certs": str(identity.ca_file)}
        point_at(settings, relay, CONNECTION_POOL_KWARGS=tls)
        DurableSessionStore().create()
        assert levels(CACHED_DB_ENGINE) == {
            "settings": "ok",
            "transport": "ok",
            "user": "ok",
            "permissions": "ok",
            "clock": "ok",
            "server": "ok",
            "eviction policy": "ok",
            "evictions": "ok",
            "memory": "ok",
            "replica 0": "ok",
            "hash encoding": "unknown",
            "replication id": "ok",
            "waiting for the database": "ok",
            f"database {durable!r}": "ok",
            "waiting for the cache": "ok",
        }


@pytest.mark.parametrize("release", RELEASES)
def test_a_server_is_left_as_it_was(settings, durable, release):
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    with Valkey(release) as server:
        point_sessions_at(settings, server.url)
        client = server.client()
        list(examine(CACHE_ENGINE))
        assert client.info("persistence")["rdb_changes_since_last_save"] == 0
        list(examine(CACHED_DB_ENGINE))
        # A member of a set, that came and went within one script.
        assert client.info("persistence")["rdb_changes_since_last_save"] == 2
        assert client.dbsize() == 0


@pytest.mark.parametrize("release", RELEASES)
def test_a_user_with_the_documented_permissions_has_neither_too_few_nor_too_many(
    settings, durable, release
):
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    with Valkey(release, acl=[user(durable=True)]) as server:
        point_at(settings, server)
        assert found(CACHED_DB_ENGINE)["permissions"].level == "ok"
        assert found(CACHED_DB_ENGINE)["user"].found == "'app', with a password"


@pytest.mark.parametrize("release", RELEASES)
def test_every_permission_that_is_missing_is_named(settings, durable, release):
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    names = set(permissions.NEEDED + permissions.NEEDED_BY_CACHED_DB) - {"eval", "evalsha", "time"}
    with Valkey(release, acl=[user(durable=True)]) as server:
        point_at(settings, server)
        admin = server.client()
        for name in sorted(names):
            admin.execute_command("ACL", "SETUSER", "app", f"-{name}")
            finding = found(CACHED_DB_ENGINE)["permissions"]
            admin.execute_command("ACL", "SETUSER", "app", f"+{name}")
            assert (finding.level, finding.mend) == ("problem", f"Give it: +{name}")


def test_a_user_who_may_not_run_scripts_gets_the_whole_rule(settings):
    with Valkey(acl=[user(without="evalsha")]) as server:
        point_at(settings, server)
        finding = found()["permissions"]
        assert finding.level == "problem"
        assert finding.mend == f"Give it: {permissions.rules('session', is_durable=False)}"


def test_a_user_of_another_prefix_gets_the_whole_rule(settings, store):
    settings.ELASTICACHE_SESSIONS = {"KEY_PREFIX": "other"}
    assert "~other:* resetchannels" in found()["permissions"].mend


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("+dbsize", "the user runs DBSIZE"),
        ("+@dangerous", "LASTSAVE"),
        ("~*", "the user reads the keys of others"),
    ],
)
def test_a_user_who_may_do_more_is_advised(settings, more, text):
    with Valkey(acl=[user(more=more)]) as server:
        point_at(settings, server)
        finding = found()["permissions"]
        assert finding.level == "advice"
        assert text in finding.found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            "+@all -dbsize -lastsave -script -acl",
            "the user runs FLUSHALL FLUSHDB GET SET RANDOMKEY",
        ),
        ("+@read", "the user runs DBSIZE GET RANDOMKEY"),
        ("+flushdb", "the user runs FLUSHDB"),
    ],
)
def test_a_user_who_may_do_worse_is_advised(settings, release, more, text):
    if not Valkey.available(release):
        pytest.skip(f"release {release} is not on this machine")
    with Valkey(release, acl=[user()]) as server:
        server.client().execute_command("ACL", "SETUSER", "app", *more.split())
        server.client().set("kept", 1)
        point_at(settings, server)
        finding = found()["permissions"]
        assert finding.level == "advice"
        assert text in finding.found
        assert server.client().keys() == [b"kept"]


def test_a_server_open_to_all_is_a_problem(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        finding = found()["user"]
        assert finding.level == "problem"
        assert "without a password" in finding.found


def test_the_default_user_with_a_password_is_advised(settings):
    with Valkey(password=PASSWORD) as server:
        point_sessions_at(settings, server.url)
        assert found()["user"].level == "advice"


@pytest.mark.parametrize(
    ("policy", "with_database", "level"),
    [
        ("noeviction", False, "ok"),
        ("noeviction", True, "ok"),
        ("allkeys-lru", False, "problem"),
        ("allkeys-lru", True, "problem"),
        ("volatile-lru", False, "advice"),
        ("volatile-ttl", True, "ok"),
    ],
)
def test_the_eviction_policy_is_judged_by_what_would_be_lost(
    settings, durable, policy, with_database, level
):
    with Valkey(config={"maxmemory-policy": policy}) as server:
        point_sessions_at(settings, server.url)
        engine = CACHED_DB_ENGINE if with_database else CACHE_ENGINE
        finding = found(engine)["eviction policy"]
        assert finding.level == level
        assert policy in finding.found


@pytest.mark.parametrize(
    ("policy", "level"),
    [("noeviction", "ok"), ("allkeys-lru", "problem"), ("volatile-ttl", "problem")],
)
def test_an_eviction_that_loses_what_waits_by_intention_is_a_problem(
    settings, durable, policy, level
):
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind"}
    with Valkey(config={"maxmemory-policy": policy}) as server:
        point_sessions_at(settings, server.url)
        finding = found(CACHED_DB_ENGINE)["eviction policy"]
        assert finding.level == level
        assert "volatile" not in finding.mend


def test_the_policy_is_never_asked_of_config(store):
    list(examine(CACHE_ENGINE))
    refused = {entry["object"] for entry in store.client().acl_log()}
    assert not any("config" in str(name).lower() for name in refused)


def test_sessions_that_were_evicted_are_a_problem_without_a_database(settings, durable):
    with Valkey(config={"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru"}) as server:
        point_sessions_at(settings, server.url)
        client = server.client()
        while not client.info("stats")["evicted_keys"]:
            client.mset({f"filler:{time.monotonic_ns()}:{n}": "x" * 10_000 for n in range(20)})
        assert levels()["evictions"] == "problem"
        assert levels(CACHED_DB_ENGINE)["evictions"] == "advice"


@pytest.mark.parametrize(("filled", "level"), [(0, "ok"), (80, "advice"), (93, "problem")])
def test_memory_that_runs_short_is_told_with_the_room_for_sessions(settings, filled, level):
    with Valkey(config={"maxmemory": "20mb"}) as server:
        point_sessions_at(settings, server.url)
        client = server.client()
        soon = int(time.time()) + 1000
        client.zadd("session:{0}:live", {f"{n:022}": -soon for n in range(1000)})
        at = 0
        while client.info("memory")["used_memory"] < filled / 100 * 20 * 1024 * 1024:
            at += 1
            client.set(f"filler:{at}", "x" * 100_000)
        finding = found()["memory"]
        assert finding.level == level
        assert "by 1000 sessions: room for at least" in finding.found


def test_few_sessions_tell_nothing_of_the_room(store):
    store.client().execute_command("ACL", "SETUSER", "app", "+info")
    assert "too few sessions to tell" in found()["memory"].found


def test_a_server_without_a_limit_of_memory_is_advised(settings):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        assert found()["memory"].level == "advice"


def test_figures_that_are_not_told_are_unknown_and_not_a_problem(store):
    findings = found()
    assert findings["server"].level == "unknown"
    assert findings["server"].mend == "Give the user +info."
    assert "problem" not in {finding.level for finding in findings.values()}


def test_a_replica_in_the_place_of_the_primary_is_a_problem(settings):
    with Valkey() as primary, Valkey(replica_of=primary) as replica:
        point_sessions_at(settings, replica.url)
        finding = found()["replication"]
        assert finding.level == "problem"
        assert "primary endpoint" in finding.mend


def test_a_replica_that_is_not_heard_of_is_a_problem(settings):
    with Valkey() as primary, Valkey(replica_of=primary) as replica:
        point_sessions_at(settings, primary.url)
        assert levels()["replica 0"] == "ok"
        replica.freeze()
        try:
            client = primary.client()
            while client.info("replication")["slave0"]["lag"] < 10:
                time.sleep(0.1)
            assert levels()["replica 0"] == "problem"
        finally:
            replica.thaw()


@pytest.mark.parametrize("buckets", [1, 256])
def test_large_values_are_advised_of_the_compact_encoding(settings, buckets):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": buckets}
    with Valkey(restricted=False) as server:
        point_sessions_at(settings, server.url)
        # The metadata of every session is longer than the 64 bytes that servers come with.
        server.client().config_set("hash-max-ziplist-value", 128)
        for size in (10, 150):
            session = SessionStore()
            session["a"] = "x" * size
            session.save()
        finding = found()["hash encoding"]
        assert finding.level == "advice"
        assert finding.found.startswith("1 of 2 sessions")
        assert "hash-max-listpack-value" in finding.mend
        server.client().config_set("hash-max-ziplist-value", 256)
        SessionStore().create()
        server.client().flushall()
        session.create()
        session["a"] = "x" * 150
        session.save()
        assert found()["hash encoding"].found == "all of 1 sessions are kept compactly"


def test_a_cluster_tells_where_its_sessions_lie(settings):
    with Valkey(config={"cluster-enabled": "yes"}) as server:
        point_sessions_at(settings, server.url)
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTS", *range(8001))
        client.config_set("cluster-require-full-coverage", "no")
        finding = found()["cluster"]
        assert finding.level == "problem"
        assert "8383 of 16384 slots" in finding.found
        client.execute_command("CLUSTER", "ADDSLOTS", *range(8001, 16384))
        assert found()["cluster"].found.startswith("1 primaries")


def test_sessions_that_wait_for_the_database_are_told(settings, durable, valkey):
    settings.ELASTICACHE_SESSIONS |= {"FALLBACK_WRITES": "behind"}
    session = DurableSessionStore()
    session.save()
    session["a"] = 1
    session.save()
    finding = found(CACHED_DB_ENGINE)["waiting for the database"]
    assert finding.level == "advice"
    assert "1 sessions" in finding.found
    assert "syncsessions" in finding.mend


def test_sessions_that_are_older_in_the_cache_are_told(durable, valkey):
    DurableSessionStore().create()
    FallbackSession.objects.using(durable).update(cache_stale=True)
    assert found(CACHED_DB_ENGINE)["waiting for the cache"].level == "advice"


def test_a_missing_table_is_a_problem_with_the_command_to_run(durable, valkey):
    with connections[durable].cursor() as cursor:
        cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")
    finding = found(CACHED_DB_ENGINE)[f"database {durable!r}"]
    assert finding.level == "problem"
    assert finding.mend == f"Run: manage.py migrate --database={durable}"


def test_migrations_that_are_not_applied_are_a_problem(durable, valkey):
    with connections[durable].cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'django_elasticache_sessions'")
    finding = found(CACHED_DB_ENGINE)[f"database {durable!r}"]
    assert finding.level == "problem"
    assert "0001_" in finding.found


def test_a_server_that_is_away_is_a_finding_and_the_database_is_examined(settings, durable):
    with Valkey() as server:
        point_sessions_at(settings, server.url)
    levels_found = levels(CACHED_DB_ENGINE)
    assert levels_found["session cache"] == "problem"
    assert levels_found[f"database {durable!r}"] == "ok"


def test_a_server_that_does_not_answer_is_given_up_in_time(settings):
    with Valkey() as server:
        server.freeze()
        point_sessions_at(settings, server.url, is_patient=False)
        finding = found()["session cache"]
        assert "did not answer in time" in finding.found


@pytest.mark.parametrize(
    ("identity", "found_text", "mend"),
    [
        (ServerIdentity.expired, "certificate has expired.", "Renew it there"),
        (None, "it does not speak TLS with us.", "Turn on encryption in transit there"),
    ],
)
def test_tls_that_was_not_established_is_not_praised(
    settings, store, tmp_path, identity, found_text, mend
):
    believed = identity(tmp_path) if identity else ServerIdentity.valid(tmp_path)
    with Relay(store.host, store.port, tls=believed if identity else None) as relay:
        point_at(settings, relay, CONNECTION_POOL_KWARGS={"ssl_ca_certs": str(believed.ca_file)})
        findings = found()
    assert "transport" not in findings
    assert findings["session cache"].found.endswith(found_text)
    assert findings["session cache"].mend.startswith(mend)


def test_what_is_wrong_with_the_transport_is_told_of_a_server_that_is_away(settings):
    with Valkey() as server:
        point_sessions_at(
            settings, f"rediss://127.0.0.1:{server.port}/0?ssl_cert_reqs=none", is_patient=False
        )
    findings = found()
    assert findings["transport"].level == "problem"
    assert findings["session cache"].mend.startswith("Correct host and port in LOCATION")


def test_a_wrong_password_is_a_finding_that_does_not_show_it(settings, store):
    point_sessions_at(settings, store.url, USERNAME="app", PASSWORD="canary1secret")
    finding = found()["session cache"]
    assert "refused the user name or password" in finding.found
    assert "canary" not in str(finding)


def test_errors_in_the_settings_are_findings_and_nothing_else_is_looked_at(settings):
    settings.ELASTICACHE_SESSIONS = {"KEY_PREFX": "a"}
    [finding] = examine(CACHE_ENGINE)
    assert (finding.level, finding.subject) == ("problem", "settings")
    assert finding.mend == "Did you mean 'KEY_PREFIX'?"


def test_what_is_refused_is_not_logged_as_an_outage(store, caplog):
    list(examine(CACHE_ENGINE))
    assert not caplog.records


class TestTheCommand:
    """`manage.py checksessions`."""

    def run(self, *arguments: str) -> tuple[str, int]:
        output = io.StringIO()
        try:
            call_command("checksessions", *arguments, stdout=output, no_color=True)
        except CommandError as error:
            return output.getvalue(), error.returncode
        return output.getvalue(), 0

    def test_ends_with_0_where_there_is_no_problem(self, store):
        shown, code = self.run()
        assert code == 0
        assert "ok       permissions" in shown
        assert "-> Give the user +info." in shown
        assert shown.splitlines()[-1].startswith("Problems: 0. Advice: 1. Not told: 1.")

    def test_ends_with_1_where_there_is_one(self, settings):
        with Valkey() as server:
            point_sessions_at(settings, server.url)
            shown, code = self.run()
        assert code == 1
        assert "problem  user" in shown

    def test_ends_with_2_where_sessions_are_not_ours(self, settings):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        assert self.run() == ("", 2)

    def test_tells_json_alone_on_the_output(self, store):
        shown, code = self.run("--json")
        told = json.loads(shown)
        assert (told["healthy"], code) == (True, 0)
        assert {finding["level"] for finding in told["findings"]} == {"ok", "advice", "unknown"}
        assert {"level", "subject", "found", "mend"} == told["findings"][0].keys()

    def test_shows_nothing_that_steers_a_terminal(self):
        output = io.StringIO()
        found = Finding(level="ok", subject="server", found="valkey \x1b[2J 9\n")
        Command(stdout=output, no_color=True).show(found)
        assert "valkey ?[2J 9?" in output.getvalue()

    def test_shows_no_secret(self, settings, store):
        point_sessions_at(settings, f"redis://app:{PASSWORD}@127.0.0.1:{store.port}/0")
        assert PASSWORD not in self.run()[0]
        assert settings.SECRET_KEY not in self.run("--json")[0]
