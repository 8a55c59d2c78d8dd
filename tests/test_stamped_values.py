"""Every stored value carries the stamp of its write, and no two share a nonce."""

from __future__ import annotations

import base64
import os

import pytest
from django.core.management import call_command
from django.db import connections

from django_elasticache_sessions import rows
from django_elasticache_sessions.codec import stamp_of
from django_elasticache_sessions.conf import get_configuration
from django_elasticache_sessions.keys import stamp_of_key
from django_elasticache_sessions.stamps import new_stamp

MANY = 3000


def name_of(session):
    return get_configuration().naming.from_sid(session.session_id)


def hash_of(valkey, session) -> dict[str, bytes]:
    """Return the values in the hash."""
    found = valkey.hgetall(name_of(session).hash_key)
    return {name.decode(): value for name, value in found.items() if not name.startswith(b"~")}


def row_of(session) -> rows.Row:
    alias = get_configuration().options.fallback_database
    [row] = rows.load(connections[alias], [name_of(session).digest]).rows
    return row


def has_row(session) -> bool:
    return type(session).__module__.endswith("cached_db")


def test_no_two_values_of_a_save_share_a_nonce(engine, valkey):
    session = engine()
    session.update({f"field-{n}": n for n in range(MANY)})
    session.save()
    for _ in range(2):
        values = hash_of(valkey, session).values()
        assert len({value[5:17] for value in values}) == MANY
        assert len({stamp_of(value) for value in values}) == 1
        session.update({f"field-{n}": n for n in range(MANY)})
        session.save()


def test_a_value_that_is_not_saved_keeps_the_stamp_of_its_write(engine, valkey):
    session = engine()
    session.update({"a": 1, "b": 1})
    session.save()
    first = hash_of(valkey, session)
    before = new_stamp()
    session["b"] = 2
    session.save()
    second = hash_of(valkey, session)
    assert second["a"] == first["a"]
    assert stamp_of(first["b"]) < before <= stamp_of(second["b"])
    if has_row(session):
        row = row_of(session)
        assert row.fields == second
        assert row.clock == stamp_of(second["b"])


def test_a_key_carries_the_stamp_of_its_rotation(engine):
    session = engine()
    session["a"] = 1
    session.save()
    before = new_stamp()
    session.cycle_key()
    assert session._stored is not None
    assert before <= stamp_of_key(session._stored.key) <= new_stamp()


@pytest.mark.parametrize("encrypt", [True, False])
def test_re_encryption_keeps_the_stamps(engine, valkey, settings, encrypt):
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(2)]
    settings.ELASTICACHE_SESSIONS |= {"ENCRYPTION_KEYS": keys[:1]}
    session = engine()
    session["a"] = 1
    session.save()
    session["b"] = "long " * 1000
    session.save()
    before = hash_of(valkey, session)
    settings.ELASTICACHE_SESSIONS |= {"ENCRYPTION_KEYS": keys[::-1], "ENCRYPT": encrypt}
    call_command("rekeysessions", "--json")
    after = hash_of(valkey, session)
    assert all(before[name] != after[name] for name in before)
    stamps = {name: stamp_of(value) for name, value in before.items()}
    assert {name: stamp_of(value) for name, value in after.items()} == stamps
    if has_row(session):
        row = row_of(session)
        assert {name: stamp_of(value) for name, value in row.fields.items()} == stamps
        assert row.clock == max(stamps.values())
    assert dict(engine(session.session_key).items()) == {"a": 1, "b": "long " * 1000}
