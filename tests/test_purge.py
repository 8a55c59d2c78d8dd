"""`clearsessions_cache`: ending many sessions, and tidying up, on both engines."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections

from django_elasticache_sessions import dialects, fallback, live, purge, row_upkeep
from django_elasticache_sessions.conf import CACHE_ENGINE, CACHED_DB_ENGINE, get_configuration
from django_elasticache_sessions.live import get_store_class
from django_elasticache_sessions.management.commands import clearsessions_cache
from django_elasticache_sessions.management.progress import ProgressBar
from django_elasticache_sessions.models import FallbackSession
from django_elasticache_sessions.signals import session_ended

from .conftest import point_sessions_at
from .contents import backdate, stored_keys
from .servers.valkey import Valkey

pytestmark = pytest.mark.django_db
DAY = 86_400
COMMAND = "clearsessions_cache"


@pytest.fixture
def new(engine, valkey):
    """Make a session that was created and saved so many days ago."""

    def make(user: object = None, *, created: float = 0, saved: float = 0, **data: object) -> str:
        session = engine()
        session.update(data)
        if user is not None:
            session[SESSION_KEY] = str(user)
        session.save()
        backdate(valkey, session, created=created * DAY, saved=saved * DAY)
        return session.session_id

    return make


def run(*arguments: str) -> dict[str, object]:
    output = io.StringIO()
    call_command(COMMAND, "--json", "--no-input", *arguments, stdout=output)
    return json.loads(output.getvalue())


def left() -> set[str]:
    return {session.session_id for session in live.page(limit=1000).sessions}


def test_all_ends_every_session(new):
    for number in range(30):
        new(number % 3 or None)
    assert run("--all") == {"ended": 30, "dry_run": False}
    assert left() == set()
    assert live.count() == (0, 0)
    assert live.for_user(1) == []


def test_a_dry_run_counts_and_ends_nothing(new):
    sids = {new(), new(7)}
    assert run("--all", "--dry-run") == {"to_be_ended": 2, "dry_run": True}
    assert run("--user", "7", "--dry-run") == {"to_be_ended": 1, "dry_run": True}
    assert left() == sids


def test_options_hold_together(new):
    old_and_idle = new(created=100, saved=40)
    old = new(created=100, saved=1)
    young = new(created=3, saved=3)
    idle_user = new(7, created=100, saved=40)
    assert run("--idle-for", "30d", "--anonymous")["ended"] == 1
    assert left() == {old, young, idle_user}
    assert run("--older-than", "90d", "--idle-for", "12h", "--user", "7")["ended"] == 1
    assert left() == {old, young}
    assert run("--older-than", "2d", "--idle-for", "2d")["ended"] == 1
    assert left() == {old}
    assert old_and_idle not in left()
    assert run("--older-than", "1w")["ended"] == 1


@pytest.mark.parametrize("option", ["--idle-for", "--older-than"])
@pytest.mark.parametrize("whose", [(), ("--user", "7")])
def test_ages_go_by_the_clock_of_the_store_not_of_the_machine(new, monkeypatch, option, whose):
    young = new(7)
    new(7, created=1, saved=1)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    assert run(option, "1h", *whose)["ended"] == 1
    assert left() == {young}


def test_of_two_stores_the_clock_that_is_behind_counts(new, engine, monkeypatch):
    if engine._operations is not fallback:
        pytest.skip("an engine with one store")
    young = new()
    vendor = connections[get_configuration().options.fallback_database].vendor
    usual = dialects.DIALECTS[vendor]
    ahead = replace(usual, now=f"({usual.now} + 7200)")
    monkeypatch.setitem(dialects.DIALECTS, vendor, ahead)
    assert run("--idle-for", "1h")["ended"] == 0
    assert left() == {young}


def test_while_the_cache_is_away_the_clock_of_the_database_counts(
    settings, valkey, fallback_database, monkeypatch
):
    settings.SESSION_ENGINE = CACHED_DB_ENGINE
    fallback_database("sqlite")
    store = get_store_class()
    sessions = [store(), store()]
    for session, age in zip(sessions, (0, DAY), strict=True):
        session.save()
        backdate(valkey, session, saved=age)
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        server.stop()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 7200)
        count = purge.purge(purge.Selection(idle_for=timedelta(hours=1)), progress=lambda _: None)
    assert count.ended == 1


def test_anonymous_leaves_the_signed_in(new):
    kept = {new(7), new(8)}
    for _ in range(5):
        new()
    assert run("--anonymous")["ended"] == 5
    assert left() == kept


def test_users_are_named_by_name_or_by_id(new):
    anna = User.objects.create(username="anna")
    berta = User.objects.create(username="berta")
    kept = new(berta.pk + 1)
    for user in (anna, anna, berta):
        new(user.pk)
    assert run("--user", "anna", "--user", str(berta.pk))["ended"] == 3
    assert left() == {kept}


def test_a_user_whose_row_is_gone_still_has_sessions_to_end(new):
    new(4711)
    assert run("--user", "4711")["ended"] == 1


@pytest.mark.parametrize("text", ["nobody", "4711", "", "9" * 50, "\0", "é", "\udcff"])
def test_a_user_that_matches_nobody_ends_nothing(new, text):
    sids = {new(7), new()}
    with pytest.raises(CommandError, match="No user has the name or id") as error:
        run("--user", text)
    assert error.value.returncode == 2
    assert left() == sids


@pytest.mark.parametrize("option", ["--idle-for", "--older-than"])
@pytest.mark.parametrize(
    "age", ["", "0d", "-3d", "3", "d", "1.5d", "3 d", "٣d", "9999999999w", "101w5d", "1e3d"]
)
def test_an_age_that_is_none_is_refused(engine, option, age):
    with pytest.raises(CommandError, match="expected"):
        run(f"{option}={age}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch-size", "0"],
        ["--batch-size", "-1"],
        ["--batch-size", "ten"],
        ["--batch-size", "99999999999999999999"],
        ["--all", "--anonymous"],
        ["--user", "7", "--all"],
        ["--dry-run"],
        ["--reindex", "--dry-run"],
    ],
)
def test_options_that_make_no_sense_are_refused(new, arguments):
    sid = new(7)
    with pytest.raises(CommandError):
        run(*arguments)
    assert left() == {sid}


@pytest.mark.parametrize("answer", ["y", "YES"])
def test_it_asks_and_says_how_many(new, monkeypatch, capsys, answer):
    new()
    new(7)
    monkeypatch.setattr("builtins.input", lambda: answer)
    call_command(COMMAND, "--all")
    assert "End 2 live sessions?" in capsys.readouterr().err
    assert left() == set()


@pytest.mark.parametrize("answer", ["", "n", "yep"])
def test_anything_but_a_yes_ends_nothing(new, monkeypatch, answer):
    sid = new()
    monkeypatch.setattr("builtins.input", lambda: answer)
    with pytest.raises(CommandError, match="Not confirmed"):
        call_command(COMMAND, "--all")
    assert left() == {sid}


def test_nobody_there_to_ask_ends_nothing(new, monkeypatch):
    def no_input():
        raise EOFError

    sid = new()
    monkeypatch.setattr("builtins.input", no_input)
    with pytest.raises(CommandError, match="--no-input"):
        call_command(COMMAND, "--all")
    assert left() == {sid}


def test_it_does_not_ask_where_there_is_nothing_to_end(engine, monkeypatch, capsys):
    monkeypatch.delattr("builtins.input")
    call_command(COMMAND, "--all")
    assert capsys.readouterr().out == "0 sessions ended.\n"


def test_what_begins_after_nothing_was_counted_is_not_ended(new, valkey, monkeypatch, capsys):
    monkeypatch.delattr("builtins.input")
    began = []

    def purge_and_begin(*arguments, **options):
        tally = purge.purge(*arguments, **options)
        began.append(new())
        return tally

    monkeypatch.setattr(clearsessions_cache, "purge", purge_and_begin)
    index_key = next(get_configuration().naming.live_indexes())
    valkey.zadd(index_key, {"dead": 1})
    call_command(COMMAND, "--all")
    assert capsys.readouterr().out == "0 sessions ended.\n"
    assert left() == set(began)
    assert valkey.zscore(index_key, "dead") is None


def test_without_options_what_has_expired_goes(new, engine, valkey):
    sid, *more = [new(7) for _ in range(3)]
    naming = get_configuration().naming
    for key in naming.live_indexes():
        valkey.zadd(key, {f"dead-{n}": n + 1 for n in range(10)})
    if engine._operations.__name__.endswith("fallback"):
        rows = FallbackSession.objects.using(get_configuration().options.fallback_database)
        now = int(time.time())
        long_ago, just_now = [rows.filter(sid=naming.from_sid(one).digest.hex()) for one in more]
        long_ago.update(expires=now - row_upkeep.GRACE_SECONDS - 1)
        # It may live on in a cache that waits for the database.
        just_now.update(expires=now - row_upkeep.GRACE_SECONDS + 60)
        assert run() == {"pruned": 41}
        assert rows.count() == 2
        assert just_now.exists()
        assert left() == {sid}
    else:
        assert run() == {"pruned": 40}
    assert sid in left()


def test_the_row_of_an_ended_session_stays_while_it_is_marked(new, engine):
    if not engine._operations.__name__.endswith("fallback"):
        pytest.skip("the cache engine has no database")
    rows = FallbackSession.objects.using(get_configuration().options.fallback_database)
    for _ in range(2):
        live.end(new())
    _, untold = rows.values_list("sid", flat=True)
    rows.update(expires=1000)
    rows.filter(sid=untold).update(cache_stale=True)
    engine.clear_expired()
    assert list(rows.values_list("sid", flat=True)) == [untold]


def test_batches_of_any_size_end_the_same(new):
    for _ in range(230):
        new()
    assert run("--all", "--batch-size", "7")["ended"] == 230
    assert live.count() == (0, 0)


def test_it_may_be_interrupted_and_started_again(new, monkeypatch):
    for _ in range(50):
        new()
    told = []

    def interrupt(bar, done):
        told.append(done)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ProgressBar, "show", interrupt)
        with pytest.raises(CommandError, match="Interrupted") as error:
            run("--all", "--batch-size", "5")
    assert error.value.returncode == 130
    ended = 50 - len(left())
    assert 0 < ended < 50
    assert f"{ended} sessions were ended so far" in str(error.value)
    assert run("--all")["ended"] == 50 - ended


def test_the_store_lost_in_mid_purge_is_told_with_what_was_done(settings, engine):
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        pytest.skip("a session of cached_db ends in the database, whatever the cache does")
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        for _ in range(20):
            engine().save()
        original = purge._Purge._note

        def note(self, **counts):
            original(self, **counts)
            server.kill()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(purge._Purge, "_note", note)
            with pytest.raises(CommandError, match="sessions were ended so far") as error:
                run("--all", "--batch-size", "5")
    assert error.value.returncode == 1


def test_the_database_lost_in_mid_purge_is_told_with_what_was_done(settings, new, monkeypatch):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("the cache engine has no database")
    for _ in range(20):
        new()
    alias = get_configuration().options.fallback_database
    original = purge._Purge._note

    def note(self, **counts):
        original(self, **counts)
        with connections[alias].cursor() as cursor:
            cursor.execute(f"DROP TABLE {FallbackSession._meta.db_table}")

    monkeypatch.setattr(purge._Purge, "_note", note)
    with pytest.raises(CommandError, match="5 sessions were ended so far") as error:
        run("--all", "--batch-size", "5")
    assert error.value.returncode == 1


def test_the_cache_lost_in_mid_purge_holds_up_nobody(settings, engine):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("sessions of the cache engine are in the cache alone")
    with Valkey() as server:
        point_sessions_at(settings, server.url)
        for _ in range(20):
            engine().save()
        original = purge._Purge._note

        def note(self, **counts):
            original(self, **counts)
            if self.tally.ended == 5:
                server.kill()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(purge._Purge, "_note", note)
            assert run("--all", "--batch-size", "5")["ended"] == 20
    assert live.count() == (0, 0)


def test_two_purges_at_once_end_each_session_once(new):
    for _ in range(40):
        new()
    ended = []
    started = []
    original = purge._Purge._note

    def note(self, **counts):
        original(self, **counts)
        if not started:
            started.append(True)
            ended.append(run("--all")["ended"])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(purge._Purge, "_note", note)
        ended.append(run("--all", "--batch-size", "10")["ended"])
    assert sum(ended) == 40
    assert live.count() == (0, 0)


def test_whatever_lies_under_the_names_of_a_batch_all_end(settings, new, valkey):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("sessions of the cache engine are what lies in the cache")
    settings.ELASTICACHE_SESSIONS |= {"INDEX_BUCKETS": 1}
    naming = get_configuration().naming
    foreign, evicted, leased, *_ = [naming.from_sid(new(7)) for _ in range(5)]
    valkey.set(foreign.hash_key, "x")
    valkey.delete(evicted.hash_key, leased.hash_key)
    valkey.hset(leased.hash_key, "~l", "token")
    assert run("--all")["ended"] == 5
    assert stored_keys(valkey) == []


def test_every_end_is_announced(new):
    told = []

    def ended(sender, session_id, reason, **kwargs):
        told.append((session_id, reason))

    sids = {new(), new(7)}
    session_ended.connect(ended)
    try:
        run("--all")
    finally:
        session_ended.disconnect(ended)
    assert sorted(told) == sorted((sid, "purged") for sid in sids)


def test_users_are_looked_for_before_a_reindex(new, valkey):
    new()
    index_key = next(get_configuration().naming.live_indexes())
    valkey.zadd(index_key, {"A" * 22: 9e9})
    with pytest.raises(CommandError, match="No user has the name or id"):
        run("--reindex", "--user", "nobody")
    assert valkey.zscore(index_key, "A" * 22)


@pytest.mark.parametrize("option", ["--batch-size", "--idle-for", "--older-than"])
def test_a_long_value_is_not_repeated_whole(engine, option):
    with pytest.raises(CommandError, match="expected") as error:
        run("--all", f"{option}={'9' * 5000}")
    assert len(str(error.value)) < 300


def test_a_reindex_finds_what_the_index_lost(engine, new, valkey):
    sids = {new(), new(7), new(7)}
    naming = get_configuration().naming
    valkey.delete(*naming.live_indexes(), naming.user_index(naming.user("7")))
    valkey.zadd(next(naming.live_indexes()), {"A" * 22: 9e9, "no sid": 9e9})
    assert run("--reindex") == {"indexed": 3, "dropped_entries": 2}
    assert sum(valkey.zcard(key) for key in naming.live_indexes()) == 3
    assert valkey.zcard(naming.user_index(naming.user("7"))) == 2
    assert left() == sids
    assert live.count() == (2, 1)


def test_a_purge_drops_entries_of_what_was_evicted(new, valkey, settings):
    if settings.SESSION_ENGINE == CACHED_DB_ENGINE:
        pytest.skip("the rows know what was evicted from the cache")
    evicted = get_configuration().naming.from_sid(new())
    sid = new()
    valkey.delete(evicted.hash_key)
    assert run("--older-than", "1d")["ended"] == 0
    assert live.count() == (0, 1)
    assert left() == {sid}


def test_no_script_looks_at_more_than_a_hundred_sessions(relay, new_session, settings):
    settings.ELASTICACHE_SESSIONS = {"INDEX_BUCKETS": 1}
    for _ in range(450):
        new_session()
    with relay.recording() as tape:
        assert run("--all", "--batch-size", "10000")["ended"] == 450
    purges = [command for command in tape.commands if len(command) > 20]
    assert purges
    naming = get_configuration().naming
    sessions = [list(filter(None, map(naming.from_hash_key, command))) for command in purges]
    assert sum(map(len, sessions)) == 450
    assert max(map(len, sessions)) <= 100


@pytest.mark.parametrize("engine", ["cache"], indirect=True)
@pytest.mark.parametrize("option", [("--all",), ("--user", "7")])
def test_an_index_is_read_a_batch_at_a_time(relay, engine, new, option):
    for _ in range(200):
        new(7)
    with relay.recording() as tape:
        assert run(*option, "--batch-size", "50")["ended"] == 200
    counts = [command[4] for command in tape.commands if command[0] == b"ZSCAN"]
    assert set(counts) == {b"50"}
    assert not [
        command for command in tape.commands if command[0] == b"ZRANGE" and b"-1" in command
    ]


@pytest.mark.parametrize("option", [("--all",), ("--user", "7")])
def test_every_statement_of_a_purge_has_a_limit(settings, new, option):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("the cache engine has no database")
    for _ in range(20):
        new(7)
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(execute, sql, params, many, context):
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connections[get_configuration().options.fallback_database].execute_wrapper(note):
        assert run(*option, "--batch-size", "5")["ended"] == 20
    limits = [params[-1] for sql, params in asked if " LIMIT %s" in sql and params[-1] == 5]
    assert len(limits) == 5
    assert not [sql for sql, _ in asked if " user_tag IN " in sql and " LIMIT " not in sql]


def test_a_session_that_changed_hands_is_not_its_former_users(new, valkey):
    new(7)
    theirs = new(8)
    naming = get_configuration().naming
    valkey.zadd(naming.user_index(naming.user("7")), {theirs: 9e9})
    assert run("--user", "7")["ended"] == 1
    assert left() == {theirs}


@pytest.mark.parametrize("engine", ["cache"], indirect=True)
def test_what_was_evicted_leaves_its_users_index_when_that_is_purged(new, valkey):
    new(7)
    naming = get_configuration().naming
    index_key = naming.user_index(naming.user("7"))
    valkey.zadd(index_key, {naming.from_digest(b"0" * 16).sid: 9e9})
    assert run("--user", "7")["ended"] == 1
    assert not valkey.exists(index_key)


def test_a_terminal_shows_a_bar_and_a_file_none(new, monkeypatch, capsys):
    for _ in range(3):
        new()
    run("--all")
    assert capsys.readouterr().err == ""
    for _ in range(3):
        new()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    run("--all")
    assert "sessions" in capsys.readouterr().err


def test_a_database_that_is_away_is_told(engine, settings, new):
    if settings.SESSION_ENGINE == CACHE_ENGINE:
        pytest.skip("the cache engine has no database")
    new()
    alias = get_configuration().options.fallback_database
    table = FallbackSession._meta.db_table
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DROP TABLE {table}")
    with pytest.raises(CommandError, match="its table is missing"):
        run("--all")


def test_a_database_of_users_that_is_away_is_told(new):
    sid = new(7)
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE auth_user RENAME TO away")
    with pytest.raises(CommandError, match="The database of the users did not serve") as error:
        run("--user", "7")
    assert error.value.returncode == 1
    assert left() == {sid}
