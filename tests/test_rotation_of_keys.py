"""Key rotation: `ENCRYPTION_KEYS`, `SECRET_KEY_FALLBACKS` and `rekeysessions`."""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import threading

import pytest
from django.core.management import CommandError, call_command

from django_elasticache_sessions import rekey, row_upkeep
from django_elasticache_sessions.backends.cache import SessionStore
from django_elasticache_sessions.backends.cached_db import SessionStore as DurableSessionStore
from django_elasticache_sessions.conf import get_configuration

from .contents import stored_keys
from .servers.databases import VENDORS


def make_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


OLD, NEW = make_key(), make_key()


@pytest.fixture
def use_keys(settings):
    def use(*keys: str) -> None:
        settings.ELASTICACHE_SESSIONS = {"ENCRYPTION_KEYS": list(keys)}

    return use


def rekeysessions(**options: object) -> dict[str, object]:
    output = io.StringIO()
    call_command("rekeysessions", "--json", stdout=output, **options)
    return json.loads(output.getvalue())


def key_ids(valkey, session: SessionStore) -> set[bytes]:
    name = get_configuration().naming.session(session.session_key)
    return {
        value[1:5]
        for field, value in valkey.hgetall(name.hash_key).items()
        if not field.startswith(b"~")
    }


def test_an_old_session_stays_readable_and_new_writes_use_the_newest_key(
    valkey, new_session, use_keys
):
    use_keys(OLD)
    session = new_session(a=1, b=2)
    use_keys(NEW, OLD)
    request = SessionStore(session.session_key)
    assert request["a"] == 1
    request["b"] = 3
    request.save()
    assert dict(SessionStore(session.session_key).items()) == {"a": 1, "b": 3}
    assert len(key_ids(valkey, session)) == 2


def test_the_command_re_encrypts_what_is_left_and_the_old_key_can_go(valkey, new_session, use_keys):
    use_keys(OLD)
    sessions = [new_session(n=n, text="long " * 1000) for n in range(25)]
    use_keys(NEW, OLD)
    assert rekeysessions(batch_size=4) == {
        "seen": 25,
        "rekeyed": 25,
        "unreadable": 0,
        "dry_run": False,
    }
    use_keys(NEW)
    for n, session in enumerate(sessions):
        assert SessionStore(session.session_key)["n"] == n
        assert SessionStore(session.session_key)["text"] == "long " * 1000


def test_a_second_run_has_nothing_to_do(valkey, new_session, use_keys):
    use_keys(OLD)
    new_session(a=1)
    use_keys(NEW, OLD)
    rekeysessions()
    assert rekeysessions()["rekeyed"] == 0


def test_a_dry_run_changes_nothing(valkey, new_session, use_keys):
    use_keys(OLD)
    session = new_session(a=1)
    use_keys(NEW, OLD)
    before = key_ids(valkey, session)
    assert rekeysessions(dry_run=True)["rekeyed"] == 1
    assert key_ids(valkey, session) == before


def test_an_interrupted_run_is_gone_on_with(valkey, new_session, use_keys, monkeypatch):
    use_keys(OLD)
    for n in range(30):
        new_session(n=n)
    use_keys(NEW, OLD)

    def interrupt(tally: rekey.Tally) -> None:
        if tally.seen >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey.rekey_sessions(batch_size=5, progress=interrupt)
    result = rekeysessions(batch_size=5)
    assert result["seen"] == 30
    assert 0 < result["rekeyed"] < 30


def test_a_value_that_changes_meanwhile_is_never_overwritten(valkey, new_session, use_keys):
    use_keys(OLD)
    session_keys = [new_session(n=0, rest="x").session_key for _ in range(20)]
    use_keys(NEW, OLD)
    latest = dict.fromkeys(session_keys, 0)
    done = threading.Event()

    def write() -> None:
        count = 0
        while not done.is_set():
            count += 1
            for session_key in session_keys:
                session = SessionStore(session_key)
                session["n"] = count
                session.save()
                latest[session_key] = count

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        rekey.rekey_sessions(batch_size=3)
    done.set()
    writer.join()
    assert {key: SessionStore(key)["n"] for key in session_keys} == latest


def test_a_value_saved_between_reading_and_re_encrypting_it_stays(
    valkey, new_session, use_keys, monkeypatch
):
    use_keys(OLD)
    session_key = new_session(n=0, rest="x").session_key
    use_keys(NEW, OLD)
    replacements = rekey._replacements

    def save_meanwhile(policy, stored):
        words = list(replacements(policy, stored))
        request = SessionStore(session_key)
        request["n"] = 1
        request.save()
        return words

    monkeypatch.setattr(rekey, "_replacements", save_meanwhile)
    rekey.rekey_sessions(batch_size=10)
    assert dict(SessionStore(session_key).items()) == {"n": 1, "rest": "x"}


def test_a_re_encryption_neither_prolongs_a_session_nor_counts_as_a_save(
    valkey, new_session, use_keys
):
    use_keys(OLD)
    session = new_session(a=1)
    name = get_configuration().naming.session(session.session_key)
    valkey.expire(name.hash_key, 500)
    before = {
        field: value
        for field, value in valkey.hgetall(name.hash_key).items()
        if field.startswith(b"~")
    }
    use_keys(NEW, OLD)
    rekeysessions()
    after = {
        field: value
        for field, value in valkey.hgetall(name.hash_key).items()
        if field.startswith(b"~")
    }
    assert after == before
    assert valkey.ttl(name.hash_key) <= 500


def test_a_key_removed_too_early_makes_sessions_missing_with_a_security_log(
    valkey, new_session, use_keys, caplog
):
    use_keys(OLD)
    session = new_session(a=1)
    use_keys(NEW)
    with caplog.at_level(logging.WARNING, "django.security"):
        assert SessionStore(session.session_key).get("a") is None
    assert "not in the key ring" in caplog.text
    use_keys(NEW, OLD)
    assert SessionStore(session.session_key)["a"] == 1


def test_the_command_reports_what_no_key_decrypts_and_leaves_it(valkey, new_session, use_keys):
    use_keys(OLD)
    session = new_session(a=1)
    use_keys(NEW)
    with pytest.raises(CommandError, match="put it back") as caught:
        rekeysessions()
    assert caught.value.returncode == 1
    use_keys(NEW, OLD)
    assert SessionStore(session.session_key)["a"] == 1


def test_the_command_says_so_when_the_store_is_down(relay, use_keys):
    relay.refuse()
    with pytest.raises(CommandError, match="Run the command again"):
        rekeysessions()


@pytest.mark.parametrize("size", ["0", "-1", "many", "1000000"])
def test_a_wrong_batch_size_is_a_usage_error(valkey, size):
    with pytest.raises(CommandError, match="whole number"):
        call_command("rekeysessions", "--batch-size", size)


def test_the_plain_output_is_one_sentence(valkey, new_session):
    new_session(a=1)
    output = io.StringIO()
    call_command("rekeysessions", stdout=output)
    assert output.getvalue() == "1 sessions, 0 re-encrypted, 0 unreadable.\n"


class TestSecretKey:
    """Without `ENCRYPTION_KEYS` everything hangs on `SECRET_KEY` and its fallbacks."""

    @pytest.fixture
    def rotated(self, new_session, settings):
        session = new_session(a=1, b=2)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new secret", [settings.SECRET_KEY]
        return SessionStore(session.session_key)

    def test_a_session_survives_through_the_fallbacks(self, rotated):
        assert rotated["a"] == 1
        rotated["b"] = 3
        rotated.save()
        assert dict(SessionStore(rotated.session_key).items()) == {"a": 1, "b": 3}

    async def test_and_asynchronously(self, valkey, settings):
        session = SessionStore()
        await session.aset("a", 1)
        await session.asave()
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new secret", [settings.SECRET_KEY]
        assert await SessionStore(session.session_key).aget("a") == 1

    def test_it_exists_and_can_be_ended(self, valkey, rotated):
        assert SessionStore().exists(rotated.session_key)
        SessionStore().delete(rotated.session_key)
        assert not SessionStore().exists(rotated.session_key)
        assert stored_keys(valkey) == []

    def test_it_can_be_rotated_and_is_then_opened_by_the_newest_key(self, rotated):
        before = rotated.session_key
        rotated.cycle_key()
        assert SessionStore(rotated.session_key)["a"] == 1
        assert SessionStore(before).get("a") is None

    def test_it_keeps_its_name_of_the_older_key_for_life(self, rotated, settings):
        rotated.cycle_key()
        rotated.save()
        settings.SECRET_KEY_FALLBACKS = []
        assert SessionStore(rotated.session_key).get("a") is None

    def test_data_replaced_unseen_are_saved_to_it(self, rotated):
        rotated.clear()
        rotated["c"] = 1
        rotated.save()
        assert dict(SessionStore(rotated.session_key).items()) == {"c": 1}

    def test_the_command_re_encrypts_its_values(self, rotated):
        assert rekeysessions()["rekeyed"] == 1
        assert rekeysessions()["rekeyed"] == 0
        assert rotated["a"] == 1

    def test_without_the_fallback_it_is_missing(self, rotated, settings):
        settings.SECRET_KEY_FALLBACKS = []
        assert rotated.get("a") is None

    def test_a_site_moves_to_encryption_keys_without_logging_anybody_out(
        self, valkey, new_session, use_keys
    ):
        session = new_session(a=1)
        for keys in (["SECRET_KEY", NEW], [NEW, "SECRET_KEY"]):
            use_keys(*keys)
            assert SessionStore(session.session_key)["a"] == 1
        assert rekeysessions()["rekeyed"] == 1
        use_keys(NEW)
        assert SessionStore(session.session_key)["a"] == 1

    def test_encryption_keys_survive_a_change_of_the_secret_key(
        self, valkey, new_session, use_keys, settings
    ):
        use_keys(OLD)
        session = new_session(a=1)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new secret", [settings.SECRET_KEY]
        assert SessionStore(session.session_key)["a"] == 1


@pytest.fixture(params=VENDORS)
def durable(request, settings, valkey, fallback_database):
    """The `SessionStore` of `cached_db` on each database, and a way to set the keys."""
    fallback_database(request.param)
    settings.SESSION_ENGINE = "django_elasticache_sessions.backends.cached_db"

    def use(*keys: str) -> None:
        settings.ELASTICACHE_SESSIONS |= {"ENCRYPTION_KEYS": list(keys)}

    return use


def test_the_rows_of_cached_db_are_re_encrypted_with_their_hashes(durable, valkey):
    durable(OLD)
    sessions = [DurableSessionStore() for _ in range(7)]
    for n, session in enumerate(sessions):
        session.update({"n": n, "text": "long " * 1000})
        session.save()
    durable(NEW, OLD)
    assert rekeysessions(batch_size=3, dry_run=True)["rekeyed"] == 7
    assert rekeysessions(batch_size=3) == {
        "seen": 7,
        "rekeyed": 7,
        "unreadable": 0,
        "dry_run": False,
    }
    assert rekeysessions()["rekeyed"] == 0
    durable(NEW)
    assert [DurableSessionStore(session.session_key)["n"] for session in sessions] == [*range(7)]
    valkey.flushall()
    assert [DurableSessionStore(session.session_key)["n"] for session in sessions] == [*range(7)]


def test_a_row_that_changes_meanwhile_is_never_overwritten(durable, valkey, monkeypatch):
    durable(OLD)
    session = DurableSessionStore()
    session["a"] = 1
    session.save()
    durable(NEW, OLD)
    replace = row_upkeep.replace

    def saved_first(connection, *arguments):
        session["a"] = 2
        session.save()
        return replace(connection, *arguments)

    monkeypatch.setattr(row_upkeep, "replace", saved_first)
    rekeysessions()
    valkey.flushall()
    assert DurableSessionStore(session.session_key)["a"] == 2
