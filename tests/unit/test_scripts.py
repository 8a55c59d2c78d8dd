"""The server-side scripts by themselves, on every server this machine has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from django_elasticache_sessions import scripts
from django_elasticache_sessions.scripts import (
    COUNT,
    CREATE,
    DELETE,
    DESCRIBE,
    INDEX_USER,
    PRUNE,
    PURGE,
    REINDEX,
    REKEY,
    SAVE,
    Script,
)
from tests.servers.releases import CHOSEN
from tests.servers.valkey import RELEASES, Valkey

SID, NEW_SID = "A" * 22, "B" * 22
HASH, NEW_HASH = f"session:{{7}}:{SID}", f"session:{{7}}:{NEW_SID}"
INDEX, USER_INDEX, EVENTS = "session:{7}:live", "session:user:tag", "session:events:{7}"
PENDING, ROW_WORDS, TOMBSTONE_SECONDS = "session:{7}:pending", b" @0123abcd.1 0", 1000
KEY, NEW_KEY = "k" * 30, "n" * 30
TTL, LONGEST_TTL = 100, 2**31 - 1
MANY = {f"field-{n}": "x" for n in range(9000)}
# What no script may take for metadata.
DAMAGED = [
    None,
    "",
    "soon",
    "1 2 3",
    "1 2 3 4",
    "1 2 3 4 ",
    "1 2 3 4 tag",
    f"1 2 3 4  {KEY}",
    f"1 2 3 x  {KEY} 5",
    f"1 2 3 4 a/b {KEY} 5",
    f"1 2 3 -4  {KEY} 5",
    f"1.5 2 3 4  {KEY} 5",
    f"1 2 3 4  {KEY}+ 5",
    f"1 2 3 4  {KEY} x",
    f"1 2 3 4  {KEY} 5\nmore",
]
#: Each write comes after those before it, unless a test says otherwise.
STAMPS = itertools.count(10)
WRONG_TYPE = pytest.raises(redis.ResponseError, match="WRONGTYPE")
PASSWORD = "app"


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[str], redis.Redis]]:
    """Start a server of a release when it is first asked for."""
    clients: dict[str, redis.Redis] = {}
    with ExitStack() as stack:

        def client(release: str) -> redis.Redis:
            if release not in clients:
                clients[release] = stack.enter_context(Valkey(release)).client()
            return clients[release]

        yield client


@pytest.fixture(params=RELEASES)
def store(request, running) -> redis.Redis:
    """An empty store of each release."""
    if not Valkey.available(request.param):
        pytest.skip(f"no server of release {request.param} on this machine")
    if request.param == CHOSEN.release:
        return request.getfixturevalue("valkey")
    client = running(request.param)
    client.flushall()
    return client


@pytest.fixture
def as_app(store) -> Iterator[Callable[..., redis.Redis]]:
    """Make clients that may use only the given keys and commands, and EVAL."""
    made: list[redis.Redis] = []

    def make(keys: tuple[str, ...], commands: set[str]) -> redis.Redis:
        rules = [f"~{key}" for key in keys] + [f"+{command}" for command in commands]
        store.execute_command(
            *("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", "+eval"), *sorted(rules)
        )
        kwargs = store.connection_pool.connection_kwargs
        client = redis.Redis(
            host=kwargs["host"], port=kwargs["port"], username="app", password=PASSWORD
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
    store.execute_command("ACL", "DELUSER", "app")


def run(client: redis.Redis, script: Script, keys: tuple[str, ...], *words: object):
    return client.eval(script.source, len(keys), *keys, *words)


def words_of(fields: dict[str, str]) -> list[str]:
    return [word for pair in fields.items() for word in pair]


def create(client, *, ttl=TTL, created=5, user="", key=KEY, fields=None, name=HASH, sid=SID):
    fields = {"a": "1", "b": "2"} if fields is None else fields
    words = (sid, ttl, created, user, key, next(STAMPS), *words_of(fields))
    return run(client, CREATE, (name, INDEX), *words)


def save(
    client,
    changed=None,
    removed=(),
    *,
    ttl=TTL,
    user="=",
    replace=0,
    key=KEY,
    new_key="=",
    created="=",
    stamp=None,
):
    words = (*removed, *words_of(changed or {}))
    is_touch = not (words or replace or user != "=" or new_key != "=")
    stamp = (0 if is_touch else next(STAMPS)) if stamp is None else stamp
    head = (SID, key, stamp, ttl, user, new_key, created, replace, len(removed))
    return run(client, SAVE, (HASH, INDEX), *head, *words)


def rotate(client, changed=None, removed=(), *, new_key=NEW_KEY, created=9, **options):
    return save(client, changed, removed, new_key=new_key, created=created, **options)


def delete(client, *, key=""):
    return run(client, DELETE, (HASH, INDEX, EVENTS, PENDING), SID, key, TOMBSTONE_SECONDS)


def logout(client):
    keys = (HASH, INDEX, EVENTS, PENDING, USER_INDEX)
    return run(client, DELETE, keys, SID, KEY, TOMBSTONE_SECONDS)


def give_row(client) -> None:
    """Have the session be one of the engine that keeps rows."""
    client.hset(HASH, "~", client.hget(HASH, "~") + ROW_WORDS)


def index_user(client, seconds=TTL, sid=SID):
    return run(client, INDEX_USER, (USER_INDEX,), sid, seconds)


def prune(client, most=1000):
    return run(client, PRUNE, (INDEX,), most)


def rekey(client, *words):
    return run(client, REKEY, (HASH,), *words)


def fields_of(client, name=HASH) -> dict[str, str]:
    fields = {key.decode(): value.decode() for key, value in client.hgetall(name).items()}
    fields.pop("~", None)
    return fields


def metadata_of(client, name=HASH) -> list[str]:
    """Return all but the clock."""
    words = client.hget(name, "~").decode().split(" ")
    return words[:6] + words[7:]


def clock_of(client) -> int:
    return int(client.hget(HASH, "~").split(b" ")[6])


def now(client) -> int:
    return client.time()[0]


def contents(client) -> dict[bytes, bytes]:
    """Return everything in the store but the counts, for telling whether it was changed."""
    return {key: client.dump(key) for key in client.keys("*") if key != EVENTS.encode()}


def plant_dead(client, count: int, key=INDEX) -> None:
    client.zadd(key, {f"dead-{n}": n + 1 for n in range(count)})


def test_a_script_is_known_by_its_source_alone(store):
    for sha, script in scripts.BY_SHA.items():
        assert store.script_load(script.source) == sha.decode()


def test_a_new_session_has_its_fields_metadata_and_life(store):
    assert create(store, user="tag") == 1
    assert fields_of(store) == {"a": "1", "b": "2"}
    created, saved, expires, version, user, key = metadata_of(store)
    assert (created, version, user, key) == ("5", "1", "tag", KEY)
    assert now(store) - 2 <= int(saved) <= now(store)
    assert int(expires) == int(saved) + TTL
    assert TTL - 2 <= store.ttl(HASH) <= TTL


def test_a_new_session_is_entered_in_the_live_index_by_its_expiry(store):
    create(store)
    assert store.zrange(INDEX, 0, -1, withscores=True) == [
        (SID.encode(), -float(metadata_of(store)[2]))
    ]


def test_a_new_session_may_have_no_field_of_its_own(store):
    assert create(store, fields={}) == 1
    assert store.hlen(HASH) == 1


def test_a_name_that_is_taken_is_left_alone(store):
    create(store)
    before = contents(store)
    assert create(store, key=NEW_KEY, fields={"a": "other"}) == 0
    assert contents(store) == before


def test_a_repeated_create_finds_its_own_session(store):
    create(store)
    before = contents(store)
    assert create(store) == 1
    assert contents(store) == before


def test_a_repeated_create_undoes_no_save_in_between(store):
    create(store)
    save(store, {"a": "changed"})
    assert create(store) == 1
    assert fields_of(store)["a"] == "changed"


@pytest.mark.parametrize("metadata", DAMAGED)
def test_damaged_metadata_do_not_free_a_name(store, metadata):
    store.hset(HASH, mapping={"a": "1"} | ({} if metadata is None else {"~": metadata}))
    before = contents(store)
    assert create(store) == 0
    assert contents(store) == before


@pytest.mark.parametrize("ttl", [0, -1, -LONGEST_TTL])
def test_a_session_that_has_expired_is_not_made(store, ttl):
    assert create(store, ttl=ttl) == 1
    assert contents(store) == {}


@pytest.mark.parametrize(
    "make", [create, lambda client, ttl: (create(client), save(client, ttl=ttl))]
)
def test_a_life_of_68_years_is_kept(store, make):
    make(store, ttl=LONGEST_TTL)
    assert LONGEST_TTL - 2 <= store.ttl(HASH) <= LONGEST_TTL
    saved, expires = map(int, metadata_of(store)[1:3])
    assert expires == saved + LONGEST_TTL
    assert abs(store.zscore(INDEX, SID)) == expires


def test_creation_times_in_microseconds_are_kept_to_the_last_digit(store):
    create(store, created=1_799_999_999_999_999)
    save(store)
    assert metadata_of(store)[0] == "1799999999999999"


def test_a_save_merges_its_fields_into_the_others(store):
    create(store)
    assert save(store, {"b": "changed", "c": "3"}) == 2
    assert fields_of(store) == {"a": "1", "b": "changed", "c": "3"}


def test_a_save_removes_fields_that_are_there_or_not(store):
    create(store)
    assert save(store, {"c": "3"}, ["a", "missing"]) == 2
    assert fields_of(store) == {"b": "2", "c": "3"}


def test_every_save_with_a_change_is_a_version(store):
    create(store)
    versions = [save(store, {"a": "x"}), save(store, (), ["a"]), save(store, replace=1)]
    assert versions == [2, 3, 4]
    assert metadata_of(store)[3] == "4"


def test_a_touch_is_no_version_and_changes_no_field(store):
    create(store, user="tag")
    assert save(store) == 1
    assert fields_of(store) == {"a": "1", "b": "2"}
    assert metadata_of(store)[3:] == ["1", "tag", KEY]


@pytest.mark.parametrize("changed", [{}, {"a": "x"}])
def test_a_save_puts_off_the_expiry_everywhere(store, changed):
    create(store, ttl=10)
    save(store, changed, ttl=1000)
    expires = int(metadata_of(store)[2])
    assert expires >= now(store) + 998
    assert store.ttl(HASH) >= 998
    assert abs(store.zscore(INDEX, SID)) == expires


def test_a_save_may_bring_the_expiry_forward(store):
    create(store, ttl=1000)
    save(store, ttl=10)
    assert store.ttl(HASH) <= 10
    assert abs(store.zscore(INDEX, SID)) <= now(store) + 10


@pytest.mark.parametrize(("user", "kept"), [("=", "tag"), ("", ""), ("other_tag-1", "other_tag-1")])
def test_a_save_keeps_or_changes_the_user(store, user, kept):
    create(store, user="tag")
    save(store, {"a": "x"}, user=user)
    assert metadata_of(store)[4] == kept


def test_a_save_keeps_the_creation_time(store):
    create(store, created=1_234_567)
    save(store, {"a": "x"})
    save(store, replace=1)
    assert metadata_of(store)[0] == "1234567"


def test_a_save_that_replaces_all_leaves_nothing_but_metadata_and_its_own(store):
    create(store, user="tag")
    store.hset(HASH, "~~user field", "goes too")
    assert save(store, {"c": "3"}, replace=1) == 2
    assert fields_of(store) == {"c": "3"}
    assert metadata_of(store)[0] == "5"
    assert metadata_of(store)[3:] == ["2", "tag", KEY]


def test_a_save_that_replaces_all_leaves_the_metadata_of_a_later_release(store):
    create(store)
    store.hset(HASH, "~later", "stays")
    save(store, replace=1)
    assert store.hget(HASH, "~later") == b"stays"


@pytest.mark.parametrize("step", [save, rotate])
@pytest.mark.parametrize("more", [" 7", " one two  three", " "])
def test_words_of_a_later_release_after_the_metadata_are_kept(store, step, more):
    create(store, user="tag")
    store.hset(HASH, "~", store.hget(HASH, "~") + more.encode())
    assert step(store, {"a": "x"}) == 2
    assert step(store, replace=1, key=metadata_of(store)[5]) == 3
    text = store.hget(HASH, "~").decode()
    assert text.endswith(f" {KEY if step is save else NEW_KEY} {clock_of(store)}{more}")
    assert create(store, key=text.split(" ")[5]) == 1
    assert run(store, REINDEX, (HASH, INDEX), SID)[1] == b"tag"
    assert delete(store) == b"tag"


def test_a_repeated_save_leaves_the_same_data(store):
    create(store)
    save(store, {"a": "x"}, ["b"])
    fields = fields_of(store)
    assert save(store, {"a": "x"}, ["b"]) > 1
    assert fields_of(store) == fields


def test_a_save_that_arrives_after_a_newer_one_changes_nothing(store):
    create(store)
    older, newer = next(STAMPS), next(STAMPS)
    save(store, {"a": "newer"}, stamp=newer)
    before = store.hgetall(HASH)
    for options in ({"changed": {"a": "older"}}, {"removed": ["a"]}, {"replace": 1}):
        assert save(store, stamp=older, **options) == [newer]
    assert rotate(store, {"a": "older"}, stamp=older) == [newer]
    assert store.hgetall(HASH) == before


def test_a_save_whose_reply_was_lost_is_done_once(store):
    create(store)
    for step in (save, rotate):
        version = step(store, {"a": step.__name__}, stamp=(stamp := next(STAMPS)))
        before = store.hgetall(HASH)
        assert step(store, {"a": step.__name__}, stamp=stamp) == version
        assert store.hgetall(HASH) == before


def test_another_save_of_the_same_stamp_is_told_so(store):
    create(store)
    stamp = next(STAMPS)
    save(store, {"a": "x"}, stamp=stamp)
    assert save(store, {"a": "y"}, stamp=stamp) == [stamp]
    assert save(store, removed=["a"], stamp=stamp) == [stamp]


def test_a_logout_takes_the_session_out_of_its_users_index_unless_it_is_refused(store):
    create(store, user="tag")
    index_user(store)
    rotate(store)
    assert logout(store) is None
    assert store.zcard(USER_INDEX) == 1
    rotate(store, new_key=KEY, key=NEW_KEY)
    assert logout(store) == b"tag"
    assert store.zcard(USER_INDEX) == 0


def test_a_touch_is_of_no_time(store):
    create(store)
    stamp = next(STAMPS)
    save(store, {"a": "x"}, stamp=stamp)
    assert save(store, ttl=5 * TTL) == 2
    assert clock_of(store) == stamp
    assert store.ttl(HASH) > TTL


@pytest.mark.parametrize("options", [{}, {"ttl": 0}, {"replace": 1}])
def test_a_session_that_is_gone_is_not_brought_back(store, options):
    assert save(store, {"a": "1"}, **options) == 0
    assert contents(store) == {}


@pytest.mark.parametrize("ttl", [TTL, 0])
@pytest.mark.parametrize("metadata", DAMAGED)
def test_nothing_is_saved_to_a_session_with_damaged_metadata(store, metadata, ttl):
    store.hset(HASH, mapping={"a": "1"} | ({} if metadata is None else {"~": metadata}))
    before = contents(store)
    assert save(store, {"a": "x"}, ttl=ttl) == 0
    assert rotate(store, {"a": "x"}, ttl=ttl) == 0
    assert contents(store) == before


@pytest.mark.parametrize("options", [{}, {"ttl": 0}, {"replace": 1}, {"user": "other"}])
@pytest.mark.parametrize("step", [save, rotate])
def test_a_session_with_another_key_is_neither_saved_nor_ended(store, step, options):
    create(store, key="o" * 30)
    before = contents(store)
    assert step(store, {"a": "x"}, ["b"], **options) == 0
    assert contents(store) == before
    assert delete(store, key=KEY) is None
    assert contents(store) == before


@pytest.mark.parametrize("options", [{}, {"ttl": 0}, {"replace": 1}])
@pytest.mark.parametrize("step", [save, rotate])
def test_a_session_that_has_a_row_is_left_to_the_engine_that_keeps_rows(store, step, options):
    create(store)
    give_row(store)
    before = contents(store)
    assert step(store, {"a": "x"}, **options) == -1
    assert contents(store) == before


def test_a_session_is_ended_by_its_own_key(store):
    create(store, user="tag")
    assert delete(store, key=KEY) == b"tag"
    assert contents(store) == {}


@pytest.mark.parametrize("ttl", [0, -1, -LONGEST_TTL])
def test_a_save_of_an_expired_session_ends_it(store, ttl):
    create(store)
    assert save(store, {"a": "x"}, ttl=ttl) == 1
    assert contents(store) == {}


@pytest.mark.parametrize("step", [create, save, rotate, rekey])
@pytest.mark.parametrize("plant", ["set", "rpush", "sadd"])
def test_a_foreign_value_under_a_sessions_name_is_left_alone(store, step, plant):
    getattr(store, plant)(HASH, "planted")
    before = contents(store)
    with WRONG_TYPE:
        step(store, *(["a", "1", "x"] if step is rekey else []))
    assert contents(store) == before


@pytest.mark.parametrize("plant", ["set", "rpush", "sadd"])
def test_a_foreign_live_index_is_replaced_by_a_create(store, plant):
    getattr(store, plant)(INDEX, "planted")
    assert create(store) == 1
    assert store.zrange(INDEX, 0, -1) == [SID.encode()]


def test_a_foreign_live_index_is_replaced_by_a_save(store):
    create(store)
    store.set(INDEX, "planted")
    assert save(store, {"a": "x"}) == 2
    assert store.zrange(INDEX, 0, -1) == [SID.encode()]


def test_a_foreign_live_index_does_not_cost_the_session_that_is_rotated(store):
    create(store)
    store.set(INDEX, "planted")
    assert rotate(store, {"a": "x"}) == 2
    assert fields_of(store) == {"a": "x", "b": "2"}
    assert store.zrange(INDEX, 0, -1) == [SID.encode()]


def test_a_foreign_live_index_does_not_keep_a_session_from_ending(store):
    create(store, user="tag")
    store.set(INDEX, "planted")
    assert delete(store) == b"tag"
    assert not store.exists(HASH)


def test_a_foreign_live_index_does_not_keep_a_session_from_expiring(store):
    create(store)
    store.set(INDEX, "planted")
    assert save(store, ttl=0) == 1
    assert not store.exists(HASH)


def test_a_live_index_survives_an_error_that_is_not_about_its_type(store, as_app):
    create(store, name=NEW_HASH, sid=NEW_SID)
    app = as_app((HASH, INDEX), COMMANDS["create"] - {"zadd"})
    with pytest.raises(redis.RedisError):
        create(app)
    assert store.zrange(INDEX, 0, -1) == [NEW_SID.encode()]


def test_a_rotation_changes_the_key_and_the_creation_time_and_keeps_the_rest(store):
    create(store, user="tag")
    assert rotate(store) == 1
    assert fields_of(store) == {"a": "1", "b": "2"}
    created, saved, expires, version, user, key = metadata_of(store)
    assert (created, version, user, key) == ("9", "1", "tag", NEW_KEY)
    assert int(expires) == int(saved) + TTL
    assert TTL - 2 <= store.ttl(HASH) <= TTL
    assert store.zrange(INDEX, 0, -1, withscores=True) == [(SID.encode(), float(expires))]


def test_a_login_changes_the_key_the_user_and_fields_at_once(store):
    create(store)
    assert rotate(store, {"a": "x"}, ["b"], user="tag") == 2
    assert fields_of(store) == {"a": "x"}
    assert metadata_of(store)[3:] == ["2", "tag", NEW_KEY]


def test_the_key_before_a_rotation_saves_and_ends_nothing(store):
    create(store)
    rotate(store)
    before = contents(store)
    assert save(store, {"a": "x"}) == 0
    assert delete(store, key=KEY) is None
    assert contents(store) == before
    assert save(store, {"a": "x"}, key=NEW_KEY) == 2


def test_a_session_that_is_gone_is_not_rotated(store):
    assert rotate(store, {"a": "x"}) == 0
    assert contents(store) == {}


def test_a_repeated_rotation_finds_its_own_session(store):
    create(store)
    rotate(store, {"a": "x"})
    fields, metadata = fields_of(store), metadata_of(store)
    assert rotate(store, {"a": "x"}) > 1
    assert fields_of(store) == fields
    assert metadata_of(store)[4:] == metadata[4:]


def test_a_rotation_leaves_what_was_saved_meanwhile(store):
    create(store)
    save(store, {"a": "saved meanwhile", "c": "3"})
    assert rotate(store, {"b": "x"}) == 3
    assert fields_of(store) == {"a": "saved meanwhile", "b": "x", "c": "3"}


def test_of_two_rotations_of_one_key_the_first_stands(store):
    create(store)
    assert rotate(store) == 1
    assert save(store, new_key="t" * 30, created=10) == 0
    assert metadata_of(store)[5] == NEW_KEY


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_rotation_of_an_expired_session_only_ends_it(store, ttl):
    create(store)
    assert rotate(store, ttl=ttl) == 1
    assert contents(store) == {}


@pytest.mark.parametrize("user", ["", "some_tag-1"])
def test_a_delete_ends_a_session_and_names_its_user(store, user):
    create(store, user=user)
    assert delete(store) == user.encode()
    assert contents(store) == {}


def test_a_delete_of_a_session_that_has_a_row_leaves_a_tombstone_for_the_database(store):
    create(store, user="tag")
    give_row(store)
    assert delete(store, key=KEY) == b"tag"
    assert store.hgetall(HASH) == {b"~": b"x p"}
    assert TOMBSTONE_SECONDS - 2 <= store.ttl(HASH) <= TOMBSTONE_SECONDS
    assert store.smembers(PENDING) == {SID.encode()}
    assert not store.exists(INDEX)


def test_a_delete_of_a_session_that_is_gone_clears_its_index_entry(store):
    store.zadd(INDEX, {SID: now(store) + TTL})
    assert delete(store) is None
    assert contents(store) == {}


def test_a_delete_leaves_the_other_sessions_of_its_bucket(store):
    create(store)
    create(store, name=NEW_HASH, sid=NEW_SID)
    delete(store)
    assert store.exists(NEW_HASH)
    assert store.zrange(INDEX, 0, -1) == [NEW_SID.encode()]


@pytest.mark.parametrize("plant", ["set", "rpush", "sadd"])
def test_a_delete_ends_whatever_lies_under_the_name(store, plant):
    getattr(store, plant)(HASH, "planted")
    assert delete(store) == b""
    assert contents(store) == {}


@pytest.mark.parametrize("metadata", DAMAGED)
def test_a_delete_ends_a_session_with_damaged_metadata(store, metadata):
    store.hset(HASH, mapping={"a": "1"} | ({} if metadata is None else {"~": metadata}))
    assert delete(store) == b""
    assert contents(store) == {}


@pytest.mark.parametrize("step", ["create", "save", "replace", "rotate"])
def test_nine_thousand_fields_go_in_one_call(store, step):
    if step != "create":
        create(store)
    match step:
        case "create":
            create(store, fields=MANY)
        case "save":
            save(store, MANY, ["a", "b"])
        case "replace":
            save(store, MANY, replace=1)
        case "rotate":
            rotate(store, MANY, ["a", "b"])
    assert fields_of(store) == MANY


def test_nine_thousand_fields_are_removed_in_one_call(store):
    create(store, fields=MANY | {"stays": "1"})
    assert save(store, {"new": "2"}, list(MANY)) == 2
    assert fields_of(store) == {"stays": "1", "new": "2"}


def test_nine_thousand_fields_are_dropped_by_one_call(store):
    create(store, fields=MANY)
    assert save(store, replace=1) == 2
    assert store.hlen(HASH) == 1


@pytest.mark.parametrize("count", [1, 498, 499, 500, 501, 999, 1000, 1001])
def test_no_field_is_lost_where_a_call_is_cut_in_parts(store, count):
    fields = dict(list(MANY.items())[:count])
    create(store, fields=fields)
    assert fields_of(store) == fields
    save(store, dict.fromkeys(fields, "changed"))
    assert set(fields_of(store).values()) == {"changed"}
    save(store, {"stays": "1"}, list(fields))
    assert fields_of(store) == {"stays": "1"}


def test_a_create_prunes_some_of_the_dead_and_none_of_the_living(store):
    create(store, name=NEW_HASH, sid=NEW_SID)
    plant_dead(store, 50)
    create(store)
    assert store.zcard(INDEX) == 50 - 20 + 2
    assert store.zscore(INDEX, NEW_SID) is not None


def test_pruning_is_bounded_and_says_what_it_did(store):
    create(store)
    plant_dead(store, 25)
    assert [prune(store, 10), prune(store, 10), prune(store, 10), prune(store, 10)] == [
        10,
        10,
        5,
        0,
    ]
    assert store.zrange(INDEX, 0, -1) == [SID.encode()]


def test_a_thousand_dead_go_in_one_step(store):
    plant_dead(store, 2500)
    assert [prune(store), prune(store), prune(store)] == [1000, 1000, 500]
    assert contents(store) == {}


def test_pruning_drops_the_oldest_first(store):
    plant_dead(store, 3)
    prune(store, 2)
    assert store.zrange(INDEX, 0, -1) == [b"dead-2"]


def test_a_users_index_holds_each_of_his_sessions_until_it_may_go(store):
    index_user(store, 100)
    index_user(store, 200, NEW_SID)
    first, second = store.zscore(USER_INDEX, SID), store.zscore(USER_INDEX, NEW_SID)
    assert now(store) + 98 <= first <= now(store) + 100
    assert now(store) + 198 <= second <= now(store) + 200


def test_a_users_index_lives_as_long_as_its_longest_session(store):
    index_user(store, 100)
    index_user(store, 1000, NEW_SID)
    index_user(store, 10)
    assert 998 <= store.ttl(USER_INDEX) <= 1000


def test_a_foreign_value_in_the_place_of_a_users_index_gives_way(store):
    store.set(USER_INDEX, "planted")
    index_user(store)
    assert store.zrange(USER_INDEX, 0, -1) == [SID.encode()]


def test_a_users_index_forgets_its_dead(store):
    plant_dead(store, 30, USER_INDEX)
    index_user(store)
    assert store.zrange(USER_INDEX, 0, -1) == [SID.encode()]


def test_a_call_drops_only_so_many_of_a_users_dead(store):
    plant_dead(store, 10_000, USER_INDEX)
    index_user(store)
    assert store.zcard(USER_INDEX) == 9901
    index_user(store)
    assert store.zcard(USER_INDEX) == 9801


def test_a_users_index_entry_is_renewed_by_a_repeat(store):
    index_user(store, 10)
    index_user(store, 1000)
    assert store.zcard(USER_INDEX) == 1
    assert store.zscore(USER_INDEX, SID) >= now(store) + 998


def test_a_foreign_value_under_an_index_stops_only_the_pruning_of_that_index(store):
    store.set(INDEX, "planted")
    with WRONG_TYPE:
        prune(store)
    assert store.get(INDEX) == b"planted"


def test_a_value_is_rekeyed_where_nobody_changed_it(store):
    create(store)
    metadata, milliseconds = metadata_of(store), store.pttl(HASH)
    assert rekey(store, "a", "1", "one", "b", "changed meanwhile", "two", "gone", "x", "y") == 1
    assert fields_of(store) == {"a": "one", "b": "2"}
    assert metadata_of(store) == metadata
    assert 0 < store.pttl(HASH) <= milliseconds


def test_a_session_that_is_gone_is_not_rekeyed(store):
    assert rekey(store, "a", "1", "one") == 0
    assert contents(store) == {}


@pytest.mark.parametrize(("user", "sign"), [("", -1), ("tag", 1)])
def test_the_sign_of_an_index_entry_tells_who_has_a_user(store, user, sign):
    create(store, user=user)
    assert store.zscore(INDEX, SID) == sign * int(metadata_of(store)[2])
    save(store, user="" if user else "tag")
    assert store.zscore(INDEX, SID) == -sign * int(metadata_of(store)[2])


def test_counting_tells_users_from_others_and_leaves_out_what_has_expired(store):
    later = now(store) + 1000
    for kind, score in (("user", later), ("anonymous", -later), ("dead", 5), ("dead too", -5)):
        many = 3 if kind == "anonymous" else 1
        store.zadd(INDEX, {f"{kind} {n}": score for n in range(many)})
    assert run(store, COUNT, (INDEX,)) == [1, 3]


def test_a_bucket_without_an_index_counts_nothing(store):
    assert run(store, COUNT, (INDEX,)) == [0, 0]


def test_what_expired_is_pruned_of_both_kinds(store):
    later = now(store) + 1000
    store.zadd(INDEX, {"a": 5, "b": -5, "c": later, "d": -later})
    assert prune(store) == 2
    assert set(store.zrange(INDEX, 0, -1)) == {b"c", b"d"}


def test_a_session_is_described_by_sizes_and_the_values_asked_for(store):
    create(store, ttl=TTL)
    store.hset(HASH, "longer", "x" * 5000)
    ttl, values, sizes = run(store, DESCRIBE, (HASH,), "a", "missing", "b")
    assert TTL - 2 <= ttl <= TTL
    assert values == [b"1", None, b"2"]
    pairs = dict(zip(sizes[::2], sizes[1::2], strict=True))
    assert pairs == {b"~": len(store.hget(HASH, "~")), b"a": 1, b"b": 1, b"longer": 5000}


def test_what_is_no_session_is_not_described(store):
    assert run(store, DESCRIBE, (HASH,), "~") == 0
    store.set(HASH, "planted")
    assert run(store, DESCRIBE, (HASH,), "~") == 0


@pytest.mark.parametrize(
    ("dry", "saved_until", "created_until", "whose", "ended"),
    [
        (0, 9e15, 9e15, "*", [b"tag", b""]),
        (0, 9e15, 9e15, "", [0, b""]),
        (0, 9e15, 9e15, "tag", [b"tag", 0]),
        (0, 9e15, 9e15, "other", [0, 0]),
        (0, 0, 9e15, "*", [0, 0]),
        (0, 9e15, 0, "*", [0, 0]),
        (1, 9e15, 9e15, "*", [b"tag", b""]),
    ],
)
def test_a_purge_ends_what_is_as_asked_for(store, dry, saved_until, created_until, whose, ended):
    create(store, created=2_000_000, user="tag")
    create(store, name=NEW_HASH, sid=NEW_SID, created=2_000_000)
    keys = (INDEX, EVENTS, PENDING, HASH, NEW_HASH)
    words = (dry, saved_until, created_until, whose, TOMBSTONE_SECONDS, SID, NEW_SID)
    assert run(store, PURGE, keys, *words) == ended
    there = [tag == 0 or dry == 1 for tag in ended]
    assert [bool(store.exists(key)) for key in (HASH, NEW_HASH)] == there
    assert [store.zscore(INDEX, sid) is not None for sid in (SID, NEW_SID)] == there


@pytest.mark.parametrize("step", ["purge", "delete"])
def test_an_end_of_a_session_that_has_a_row_waits_for_the_database(store, step):
    create(store, user="tag", ttl=5 * TOMBSTONE_SECONDS)
    give_row(store)
    for _ in range(2):
        # A second time changes nothing.
        if step == "delete":
            delete(store)
        else:
            keys = (INDEX, EVENTS, PENDING, HASH)
            run(store, PURGE, keys, 0, 9e15, 9e15, "*", TOMBSTONE_SECONDS, SID)
        assert store.hgetall(HASH) == {b"~": b"x p"}
        # For as long as a copy of it could live.
        assert store.ttl(HASH) > 4 * TOMBSTONE_SECONDS
        assert store.smembers(PENDING) == {SID.encode()}
        assert not store.exists(INDEX)


def test_a_purge_takes_out_what_is_gone_and_leaves_what_is_no_session(store):
    store.zadd(INDEX, {SID: 9e9, NEW_SID: 9e9})
    store.set(NEW_HASH, "planted")
    keys = (INDEX, EVENTS, PENDING, HASH, NEW_HASH)
    words = (0, 9e15, 9e15, "*", TOMBSTONE_SECONDS, SID, NEW_SID)
    assert run(store, PURGE, keys, *words) == [-1, 0]
    assert store.zrange(INDEX, 0, -1) == [NEW_SID.encode()]
    assert store.get(NEW_HASH) == b"planted"


@pytest.mark.parametrize(("user", "sign"), [("", -1), ("tag", 1)])
def test_a_reindexed_session_is_where_its_save_put_it(store, user, sign):
    create(store, ttl=TTL, user=user)
    store.delete(INDEX)
    ttl, tag = run(store, REINDEX, (HASH, INDEX), SID)
    assert TTL - 2 <= ttl <= TTL
    assert tag == user.encode()
    assert abs(store.zscore(INDEX, SID) * sign - int(metadata_of(store)[2])) <= 1


def test_what_is_no_session_is_not_indexed(store):
    store.hset(HASH, "a", "1")
    assert run(store, REINDEX, (HASH, INDEX), SID) == 0
    store.delete(HASH)
    store.set(HASH, "planted")
    assert run(store, REINDEX, (HASH, INDEX), SID) == 0
    assert not store.exists(INDEX)


# The commands an ACL has to allow for each script, beside EVALSHA and EVAL.
COMMANDS = {
    "create": {"exists", "expire", "hget", "hset", "time", "unlink", "zadd", "zrange", "zrem"},
    "save": {"expire", "hdel", "hget", "hkeys", "hset", "time", "unlink", "zadd", "zrem"},
    "delete": {"expire", "hget", "hset", "sadd", "ttl", "type", "unlink", "zrem"},
    "index_user": {"expire", "time", "ttl", "type", "unlink", "zadd", "zrange", "zrem"},
    "prune": {"time", "zrange", "zrem"},
    "rekey": {"hget", "hset"},
    "count": {"time", "zcount"},
    "describe": {"hkeys", "hmget", "hstrlen", "ttl", "type"},
    "purge": {"expire", "hget", "hset", "sadd", "ttl", "type", "unlink", "zrem"},
    "reindex": {"hget", "time", "ttl", "type", "unlink", "zadd"},
}
KEYS = {
    "delete": (HASH, INDEX, EVENTS, PENDING),
    "index_user": (USER_INDEX,),
    "prune": (INDEX,),
    "rekey": (HASH,),
    "count": (INDEX,),
    "describe": (HASH,),
    "purge": (INDEX, EVENTS, PENDING, HASH),
}


def every_branch_of(script: str, store: redis.Redis, app: redis.Redis) -> None:
    """Run a script through all it does, as an application whose rights are limited."""
    store.flushdb()
    plant_dead(store, 3)
    match script:
        case "create":
            create(app)
            create(app)
            store.delete(HASH, INDEX)
            store.set(INDEX, "planted")
            create(app)
        case "save":
            create(store)
            save(app, {"a": "x"}, ["b"])
            rotate(app, {"a": "x"}, replace=1)
            save(app, ttl=0, key=NEW_KEY)
        case "delete":
            create(store)
            give_row(store)
            delete(app)
            store.set(HASH, "planted")
            store.set(PENDING, "planted")
            delete(app)
        case "index_user":
            plant_dead(store, 3, USER_INDEX)
            index_user(app)
            store.set(USER_INDEX, "planted")
            index_user(app)
        case "prune":
            prune(app)
        case "rekey":
            create(store)
            rekey(app, "a", "1", "one")
        case "count":
            run(app, COUNT, (INDEX,))
        case "describe":
            create(store)
            run(app, DESCRIBE, (HASH,), "~", "a")
        case "purge":
            create(store)
            give_row(store)
            run(app, PURGE, (INDEX, EVENTS, PENDING, HASH), 0, 9e15, 9e15, "*", 5, SID)
        case "reindex":
            create(store)
            store.set(INDEX, "planted")
            run(app, REINDEX, (HASH, INDEX), SID)


@pytest.mark.parametrize("script", COMMANDS)
def test_a_script_needs_no_key_that_it_is_not_given(store, as_app, script):
    keys = KEYS.get(script, (HASH, INDEX))
    every_branch_of(script, store, as_app(keys, COMMANDS[script]))


# Expired entries stay for the pruning, where a create may not look for them.
DISPENSABLE = {("create", "zrange")}


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (script, command)
        for script in COMMANDS
        for command in sorted(COMMANDS[script])
        if (script, command) not in DISPENSABLE
    ],
)
def test_a_script_needs_every_command_it_is_said_to_need(store, as_app, script, command):
    keys = KEYS.get(script, (HASH, INDEX))
    with pytest.raises(redis.RedisError):
        every_branch_of(script, store, as_app(keys, COMMANDS[script] - {command}))


def test_the_commands_of_every_script_are_known_here():
    # See test_twin_scripts.py.
    of_cached_db = {
        "lease",
        "fill",
        "follow",
        "refresh",
        "behind",
        "drop",
        "end",
        "create_pending",
        "save_pending",
        "handed",
        "origin",
        # See test_lost_indexes.py.
        "doubt",
    }
    # See the tests of occurrences.
    of_counts = {"note"}
    # Calls whatever it is told to.
    of_the_doctor = {"probe"}
    known = COMMANDS.keys() | of_cached_db | of_counts | of_the_doctor
    assert {script.name for script in scripts.BY_SHA.values()} == known
