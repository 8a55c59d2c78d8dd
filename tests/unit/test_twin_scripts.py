"""The scripts of the engine whose sessions have a row too: none lets an older write win."""

from __future__ import annotations

import itertools
import time

import pytest
import redis

from django_elasticache_sessions.scripts import (
    BEHIND,
    CREATE_PENDING,
    DROP,
    END,
    FILL,
    FOLLOW,
    HANDED,
    LEASE,
    REFRESH,
    SAVE_PENDING,
    Script,
)

SID, OTHER_SID = "A" * 22, "B" * 22
HASH, OTHER = f"session:{{7}}:{SID}", f"session:{{7}}:{OTHER_SID}"
INDEX, PENDING, EVENTS = "session:{7}:live", "session:{7}:pending", "session:events:{7}"
OLD_KEY, KEY, NEW_KEY = "Z" * 30, "k" * 30, "n" * 30
TTL, TOKEN, STAMP = 100, "token", 2**47
#: When a KEY was made, its session ended and was created.
TIMES = f"7 {STAMP} 5"
TOMBSTONE = {"~": "x p", "~k": KEY, "~e": TIMES}


class Twin:
    """A hash in a store, and what the engine does to it."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        #: As `_origin.lua` makes it, with an epoch.
        self.mark = f"{client.info('replication')['master_replid'][:8]}.7"

    def run(self, script: Script, keys: tuple[str, ...], *words: object) -> object:
        return self.client.eval(script.source, len(keys), *keys, *words)

    def metadata(self, version: int, clock: int) -> str:
        now = int(time.time())
        return f"5 {now} {now + TTL} {version} tag {KEY} {clock}"

    def fill(self, *, version: int = 1, token: str = "", clock: int = 5, **fields: str) -> object:
        words = (self.metadata(version, clock), self.mark, *pairs(fields))
        deadline = 10**15
        return self.run(FILL, (HASH, INDEX), SID, TTL, token, deadline, *words)

    def lease(self, token: str = TOKEN, *, rejected: int = 0) -> object:
        return self.run(LEASE, (HASH,), token, 10, rejected)

    def follow(
        self,
        before: int,
        after: int,
        *removed: str,
        stamp: int = STAMP,
        user: str = "=",
        key: str = "=",
        created: str = "=",
        replace: int = 0,
        **fields: str,
    ) -> object:
        words = (user, key, created, replace, len(removed), *removed, *pairs(fields))
        return self.run(FOLLOW, (HASH, INDEX), SID, before, after, stamp, TTL, *words)

    def create_pending(self, *, key: str = KEY, stamp: int = STAMP, **fields: str) -> object:
        keys = (HASH, INDEX, PENDING, EVENTS)
        words = (SID, self.mark, TTL, 5, "tag", key, stamp, *pairs(fields))
        return self.run(CREATE_PENDING, keys, *words)

    def save_pending(
        self,
        *removed: str,
        stamp: int = STAMP,
        key: str = KEY,
        new_key: str = "=",
        created: object = "=",
        mark: str = "",
        most: int = 0,
        user: str = "=",
        replace: int = 0,
        **fields: str,
    ) -> object:
        words = (key, mark or self.mark, most, stamp, TTL, user, new_key, created)
        changes = (replace, len(removed), *removed, *pairs(fields))
        return self.run(SAVE_PENDING, (HASH, INDEX, PENDING), SID, *words, *changes)

    def handed(self, before: int, after: int, newer: int = 0, **pending: int) -> object:
        words = (before, after, newer, *pairs({marked(name): pending[name] for name in pending}))
        return self.run(HANDED, (HASH, INDEX, PENDING), SID, *words)

    def behind(self, version: int, *, ended: int = 0) -> object:
        return self.run(BEHIND, (HASH, INDEX, PENDING), SID, version, ended)

    def drop(self, version: int, key: str = KEY, times: str = TIMES) -> object:
        return self.run(DROP, (HASH, INDEX, PENDING), SID, version, key, times)

    def end(self, seconds: int = 0, *, key: str = "", times: str = TIMES) -> object:
        return self.run(END, (INDEX, PENDING, EVENTS, HASH), seconds, key, times, SID)

    def refresh(
        self, version: int, *, seen: int = 1, seen_behind: int = 0, **fields: str
    ) -> object:
        words = (self.metadata(version, STAMP), self.mark, *pairs(fields))
        return self.run(REFRESH, (HASH, INDEX), SID, TTL, version, seen, seen_behind, *words)

    def add_word(self, words: str = " later words") -> None:
        text = self.client.hget(HASH, "~").decode()
        self.client.hset(HASH, "~", text + words)

    @property
    def words(self) -> list[str]:
        """The metadata: created saved expires version user KEY clock @mark behind ..."""
        return self.client.hget(HASH, "~").decode().split(" ")

    @property
    def version(self) -> int:
        return int(self.words[3])

    @property
    def lacks(self) -> int:
        """The version of the row that the hash does not show."""
        return int(self.words[8])

    @property
    def fields(self) -> dict[str, str]:
        found = self.client.hgetall(HASH).items()
        return {name.decode(): v.decode() for name, v in found if not name.startswith(b"~")}

    @property
    def metadata_names(self) -> set[str]:
        return {name.decode() for name in self.client.hkeys(HASH) if name.startswith(b"~")}

    @property
    def pending(self) -> dict[str, int]:
        found = self.client.hgetall(HASH).items()
        return {name[2:].decode(): int(v) for name, v in found if name.startswith(b"~!")}

    def everything(self) -> dict[bytes, object]:
        """Return what is in the store, without the counts."""
        keys = [key for key in self.client.keys("*") if b"events" not in key]
        readers = {b"hash": "hgetall", b"set": "smembers", b"string": "get"}
        return {
            key: self.client.zrange(key, 0, -1, withscores=True)
            if (kind := self.client.type(key)) == b"zset"
            else getattr(self.client, readers[kind])(key)
            for key in keys
        }


def pairs(fields: dict[str, object]) -> list[object]:
    return [word for pair in fields.items() for word in pair]


def marked(name: str) -> str:
    return {"key": "~k", "expiry": "~e"}.get(name, name)


@pytest.fixture
def twin(valkey: redis.Redis) -> Twin:
    """An empty store."""
    return Twin(valkey)


@pytest.fixture
def filled(twin: Twin) -> Twin:
    """A hash that shows the first version of its row, `{"a": "1", "b": "2"}`."""
    assert twin.fill(a="1", b="2") == 1
    return twin


@pytest.fixture
def ended(filled: Twin) -> Twin:
    """The tombstone of an end that the database was not told of."""
    filled.end(TTL, key=KEY)
    assert filled.client.hgetall(HASH) == encoded(TOMBSTONE)
    return filled


def encoded(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


class TestFill:
    def test_shows_the_row(self, filled):
        assert filled.fields == {"a": "1", "b": "2"}
        assert filled.words[3:] == ["1", "tag", KEY, "5", f"@{filled.mark}", "0"]
        assert TTL - 2 <= filled.client.ttl(HASH) <= TTL
        assert filled.client.zscore(INDEX, SID) > 0

    def test_leaves_what_is_there(self, filled):
        before = filled.everything()
        assert filled.fill(version=9, a="other") == 0
        assert filled.fill(version=9, token=TOKEN, a="other") == 0
        assert filled.everything() == before

    def test_needs_the_lease_that_it_was_read_under(self, twin):
        assert twin.fill(token=TOKEN, a="1") == 0
        assert twin.lease() == TOKEN.encode()
        assert twin.fill(token="another", a="1") == 0
        assert twin.fill(token=TOKEN, a="1") == 1
        assert twin.fields == {"a": "1"}

    def test_is_not_done_after_its_deadline(self, twin):
        words = (twin.metadata(1, 5), twin.mark)
        assert twin.run(FILL, (HASH, INDEX), SID, TTL, "", 1, *words) == 0
        assert twin.everything() == {}

    def test_is_not_done_at_a_server_that_was_not_met(self, twin):
        for twin.mark in ("00000000.7", "-.0"):
            assert twin.fill(a="1") == 0
            assert twin.everything() == {}

    def test_is_done_at_a_server_that_does_not_tell(self, twin):
        twin.mark = "0.1"
        assert twin.fill(a="1") == 1
        assert twin.save_pending(b="2") == 1

    @pytest.mark.parametrize("token", ["", TOKEN])
    def test_does_not_bring_an_ended_session_back(self, ended, token):
        before = ended.everything()
        assert ended.fill(token=token, a="1") == 0
        assert ended.everything() == before


class TestLease:
    def test_is_shared_by_readers(self, twin):
        assert [twin.lease("one"), twin.lease("other")] == [b"one", b"one"]

    def test_tells_who_is_here_and_who_has_ended(self, filled):
        assert filled.lease() == b"="
        filled.end(TTL)
        assert filled.lease() == b""

    def test_replaces_what_was_rejected(self, filled):
        assert filled.lease(rejected=1) == TOKEN.encode()
        assert filled.client.hgetall(HASH) == {b"~l": TOKEN.encode()}

    @pytest.mark.parametrize("write", ["follow", "behind", "end", "behind an end"])
    def test_is_taken_away_by_every_write(self, twin, write):
        twin.lease()
        match write:
            case "follow":
                twin.follow(1, 2, a="x")
            case "behind":
                twin.behind(2)
            case "end":
                twin.end()
            case "behind an end":
                twin.behind(2, ended=1)
        assert twin.fill(token=TOKEN, a="stale") == 0
        assert twin.fields == {}


class TestFollow:
    def test_does_to_the_hash_what_was_done_to_the_row(self, filled):
        assert filled.follow(1, 2, "b", a="x") == 1
        assert filled.fields == {"a": "x"}
        assert filled.words[3:] == ["2", "tag", KEY, str(STAMP), f"@{filled.mark}", "0"]

    def test_of_a_login_changes_key_creation_time_and_user(self, filled):
        assert filled.follow(1, 2, user="other", key=NEW_KEY, created="9") == 1
        assert (filled.words[0], filled.words[4:6]) == ("9", ["other", NEW_KEY])
        assert filled.pending == {}

    def test_of_a_touch_is_no_version(self, filled):
        assert filled.follow(1, 1, stamp=0) == 1
        assert filled.words[3:] == ["1", "tag", KEY, "5", f"@{filled.mark}", "0"]

    def test_of_an_earlier_version_changes_nothing(self, filled):
        before = filled.everything()
        assert filled.follow(0, 1, stamp=5, a="x") == 1
        assert filled.everything() == before

    @pytest.mark.parametrize("version", [2, 3])
    def test_newer_than_a_version_that_it_should_have_shows_that_the_database_went_back(
        self, filled, version
    ):
        filled.follow(1, 2, a="x")
        filled.follow(2, 3, stamp=STAMP + 1, a="y")
        assert filled.follow(version - 1, version, stamp=STAMP + 2, a="z") == 0
        assert (filled.version, filled.lacks) == (3, 3)
        assert filled.fields == {"a": "y", "b": "2"}

    def test_of_a_touch_of_a_later_version_leaves_the_hash_behind(self, filled):
        assert filled.follow(2, 2, stamp=0) == 0
        assert (filled.version, filled.lacks) == (1, 2)
        assert filled.follow(1, 2, a="x") == 1
        assert (filled.version, filled.lacks) == (2, 0)

    @pytest.mark.parametrize("before", [2, 3])
    def test_that_comes_early_leaves_the_hash_behind(self, filled, before):
        assert filled.follow(before, before + 1, a="x") == 0
        assert filled.fields == {"a": "1", "b": "2"}
        assert filled.version == 1
        assert filled.lacks == before + 1

    @pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3, 4))))
    def test_come_in_any_order(self, filled, order):
        of_versions = {
            1: (("a",), {"b": "x"}),
            2: ((), {"a": "y", "user": "other"}),
            3: (("b",), {"c": "z", "key": NEW_KEY, "created": "9"}),
            4: ((), {"a": "w", "replace": 1}),
        }
        for before in order:
            removed, fields = of_versions[before]
            filled.follow(before, before + 1, *removed, stamp=STAMP + before, **fields)
        assert filled.fields == {"a": "w"}
        clock = str(STAMP + 4)
        assert filled.words[3:] == ["5", "other", NEW_KEY, clock, f"@{filled.mark}", "0"]
        assert filled.metadata_names == {"~"}

    def test_is_kept_for_a_hand_over_that_comes_before_it(self, filled):
        filled.save_pending(a="pending", stamp=7)
        filled.follow(2, 3, b="x")
        assert filled.lacks == 3
        filled.handed(1, 2, a=7, **{"~e": 7})
        assert (filled.version, filled.lacks) == (3, 0)
        assert filled.fields == {"a": "pending", "b": "x"}

    def test_that_comes_early_gives_way_to_what_the_row_lacks(self, filled):
        filled.save_pending(a="pending")
        filled.follow(2, 3, a="x")
        assert filled.follow(1, 2, b="x") == 0
        assert filled.fields == {"a": "pending", "b": "x"}
        assert filled.lacks == 3
        assert "~+2" not in filled.metadata_names

    def test_does_not_mend_a_hash_that_lacks_another_version(self, filled):
        filled.follow(2, 3, a="x")
        filled.behind(4)
        filled.follow(1, 2, a="y")
        assert (filled.version, filled.lacks) == (3, 4)

    def test_does_not_mend_a_hash_that_a_hand_over_left_behind(self, filled):
        filled.follow(2, 3, a="x")
        filled.handed(1, 2, 1, a=7)
        filled.follow(3, 4, a="z")
        assert (filled.version, filled.lacks) == (1, 4)

    @pytest.mark.parametrize("value", ["x" * 70_000, "x"], ids=["too large", "too far ahead"])
    def test_is_not_kept_at_any_price(self, filled, value):
        before = 2 if len(value) > 1 else 9
        filled.follow(before, before + 1, a=value)
        assert filled.lacks == before + 1
        assert filled.metadata_names == {"~"}

    @pytest.mark.parametrize("packed", [b"damaged", b"", b"\x93\x01\x02\x03"])
    def test_is_not_led_astray_by_what_somebody_put_there(self, filled, packed):
        filled.follow(2, 3, a="x")
        filled.client.hset(HASH, "~+2", packed)
        filled.follow(1, 2, b="x")
        assert filled.fields == {"a": "1", "b": "x"}
        assert (filled.version, filled.lacks) == (2, 3)

    @pytest.mark.parametrize(
        ("removed", "options"),
        [
            ((), {"a": "x"}),
            (("a",), {}),
            ((), {"replace": 1}),
            ((), {"b": "y", "a": "x"}),
        ],
        ids=["its value", "its removal", "a replacement", "and others"],
    )
    def test_does_not_touch_a_field_that_the_row_lacks(self, filled, removed, options):
        filled.save_pending(a="pending")
        assert filled.follow(1, 2, *removed, **options) == 0
        assert filled.fields == {"a": "pending", "b": "2"}
        assert filled.lacks == 2

    def test_does_not_touch_a_key_that_the_row_lacks(self, filled):
        filled.save_pending(new_key=NEW_KEY, created=9)
        assert filled.follow(1, 2, key="o" * 30, created="8") == 0
        assert filled.words[5] == NEW_KEY

    def test_beside_another_pending_field_is_done(self, filled):
        filled.save_pending(a="pending")
        assert filled.follow(1, 2, b="x", stamp=5) == 1
        assert filled.fields == {"a": "pending", "b": "x"}
        assert filled.pending == {"a": STAMP, "~e": STAMP}
        assert filled.words[6] == str(STAMP)

    def test_repeated_changes_nothing(self, filled):
        filled.follow(1, 2, a="x")
        before = filled.everything()
        assert filled.follow(1, 2, a="x") == 1
        assert filled.everything() == before

    def test_late_changes_nothing_that_a_newer_one_decided(self, filled):
        filled.follow(1, 2, a="x")
        filled.follow(2, 3, a="y")
        before = filled.everything()
        assert filled.follow(1, 2, a="x") == 1
        assert filled.everything() == before

    def test_leaves_a_session_ended(self, ended):
        before = ended.everything()
        assert ended.follow(1, 2, a="x") == -1
        assert ended.everything() == before

    def test_makes_no_hash_where_there_is_none(self, twin):
        assert twin.follow(1, 2, a="x") == 0
        assert twin.everything() == {}

    def test_keeps_words_of_a_later_release(self, filled):
        filled.add_word()
        filled.follow(1, 2, a="x")
        filled.follow(5, 6, a="x")
        assert filled.words[9:] == ["later", "words"]
        assert filled.lacks == 6


class TestCreatePending:
    def test_makes_a_session_all_of_which_is_pending(self, twin):
        assert twin.create_pending(a="1") == 1
        assert twin.fields == {"a": "1"}
        assert twin.pending == {"a": STAMP, "~k": STAMP, "~e": STAMP}
        assert twin.words[3:] == ["0", "tag", KEY, str(STAMP), f"@{twin.mark}", "0"]
        assert twin.client.smembers(PENDING) == {SID.encode()}
        assert twin.client.zscore(INDEX, SID) > 0

    def test_repeated_finds_its_own_session(self, twin):
        twin.create_pending(a="1")
        before = twin.everything()
        assert twin.create_pending(a="1") == 1
        assert twin.create_pending(key=NEW_KEY, a="1") == 0
        assert twin.everything() == before

    def test_leaves_a_name_that_has_ended(self, ended):
        assert ended.create_pending(a="1") == 0
        assert ended.client.hgetall(HASH) == encoded(TOMBSTONE)


class TestSavePending:
    def test_remembers_what_the_row_lacks(self, filled):
        assert filled.save_pending("b", a="x", user="other") == 1
        assert filled.fields == {"a": "x"}
        assert filled.pending == {"a": STAMP, "b": STAMP, "~e": STAMP}
        assert filled.words[3:] == ["1", "other", KEY, str(STAMP), f"@{filled.mark}", "0"]
        assert filled.client.smembers(PENDING) == {SID.encode()}

    def test_that_replaces_all_remembers_every_field_that_goes(self, filled):
        filled.save_pending(replace=1, c="3")
        assert filled.fields == {"c": "3"}
        assert filled.pending == dict.fromkeys(("a", "b", "c", "~e"), STAMP)

    def test_of_a_rotation_remembers_the_key(self, filled):
        assert filled.save_pending(new_key=NEW_KEY, created=9) == 1
        assert filled.pending == {"~k": STAMP, "~e": STAMP}
        assert (filled.words[0], filled.words[5]) == ("9", NEW_KEY)
        assert filled.save_pending(stamp=STAMP + 1, a="x") == 0
        assert filled.save_pending(stamp=STAMP + 1, key=NEW_KEY, a="x") == 1

    @pytest.mark.parametrize("options", [{"a": "x"}, {"new_key": NEW_KEY, "created": 9}])
    def test_repeated_after_a_lost_reply_finds_what_it_wrote(self, filled, options):
        filled.save_pending(**options)
        before = filled.everything()
        assert filled.save_pending(**options) == 1
        assert filled.everything() == before

    @pytest.mark.parametrize("earlier", [0, 1])
    def test_that_is_not_newer_is_told_the_newest_stamp(self, filled, earlier):
        filled.save_pending(a="x")
        before = filled.everything()
        assert filled.save_pending(stamp=STAMP - earlier, a="older") == [STAMP]
        assert filled.everything() == before

    @pytest.mark.parametrize("why", ["behind", "another server", "an epoch before", "not here"])
    def test_needs_a_hash_that_shows_its_row(self, filled, why):
        match why:
            case "behind":
                filled.behind(2)
            case "another server":
                filled.mark = "00000000.7"
            case "an epoch before":
                filled.mark = filled.mark.replace(".7", ".8")
            case "not here":
                filled.client.delete(HASH)
        before = filled.everything()
        assert filled.save_pending(a="x") == -1
        assert filled.everything() == before

    def test_under_a_key_that_was_replaced_is_refused(self, filled):
        before = filled.everything()
        assert filled.save_pending(key=OLD_KEY, a="x") == 0
        assert filled.everything() == before

    @pytest.mark.parametrize("key", [NEW_KEY, *(f"k{digit}" + 28 * "k" for digit in "z09-_")])
    def test_under_a_key_that_the_hash_was_not_told_of_is_left_to_the_row(self, filled, key):
        before = filled.everything()
        assert filled.save_pending(key=key, a="x") == -1
        assert filled.everything() == before

    def test_of_an_ended_session_is_refused(self, ended):
        before = ended.everything()
        assert ended.save_pending(a="x") == 0
        assert ended.everything() == before

    def test_is_refused_where_too_many_wait_unless_it_waits_already(self, filled):
        filled.client.sadd(PENDING, "x", "y")
        assert filled.save_pending(most=2, a="x") == -2
        assert filled.save_pending(most=3, a="x") == 1
        assert filled.save_pending(stamp=STAMP + 1, most=2, a="y") == 1

    def test_keeps_words_of_a_later_release(self, filled):
        filled.add_word()
        filled.save_pending(a="x")
        assert filled.words[9:] == ["later", "words"]

    @pytest.mark.parametrize("name", ["x p", "~~", "~~l", "", "a b", "~~!a"])
    def test_takes_any_name(self, filled, name):
        filled.save_pending(**{name: "x p"})
        assert filled.pending == {name: STAMP, "~e": STAMP}
        assert filled.save_pending(stamp=STAMP + 1, c="3") == 1
        assert filled.handed(1, 2, **{name: STAMP, "expiry": STAMP + 1, "c": STAMP + 1}) == 1


class TestHanded:
    def test_nothing_is_pending_once_the_row_has_it(self, filled):
        filled.save_pending(a="x")
        assert filled.handed(1, 2, a=STAMP, expiry=STAMP) == 1
        assert (filled.version, filled.lacks, filled.pending) == (2, 0, {})
        assert filled.fields == {"a": "x", "b": "2"}
        assert not filled.client.exists(PENDING)

    def test_what_came_since_stays_pending(self, filled):
        filled.save_pending(a="x")
        filled.save_pending(stamp=STAMP + 1, a="y", c="3")
        assert filled.handed(1, 2, a=STAMP, expiry=STAMP) == 0
        assert filled.pending == {"a": STAMP + 1, "c": STAMP + 1, "~e": STAMP + 1}
        assert filled.client.smembers(PENDING) == {SID.encode()}
        assert filled.version == 2

    def test_of_a_row_that_has_something_newer_leaves_the_hash_behind(self, filled):
        filled.save_pending(a="x")
        assert filled.handed(1, 2, 1, a=STAMP, expiry=STAMP) == 1
        assert (filled.version, filled.lacks) == (1, 2)

    def test_of_another_version_leaves_the_hash_behind(self, filled):
        filled.save_pending(a="x")
        assert filled.handed(3, 4, a=STAMP, expiry=STAMP) == 1
        assert (filled.version, filled.lacks) == (1, 4)

    def test_repeated_changes_nothing(self, filled):
        filled.save_pending(a="x")
        filled.handed(1, 2, a=STAMP, expiry=STAMP)
        before = filled.everything()
        assert filled.handed(1, 2, a=STAMP, expiry=STAMP) == 1
        assert filled.everything() == before

    def test_late_does_not_take_the_hash_back(self, filled):
        filled.save_pending(a="x")
        filled.handed(1, 2, a=STAMP, expiry=STAMP)
        filled.follow(2, 3, a="y")
        before = filled.everything()
        assert filled.handed(1, 2, a=STAMP, expiry=STAMP) == 1
        assert filled.everything() == before

    def test_of_a_session_that_is_gone_empties_the_set(self, twin):
        twin.client.sadd(PENDING, SID)
        assert twin.handed(1, 2) == 1
        assert twin.everything() == {}

    def test_does_not_take_a_tombstone_for_told(self, ended):
        assert ended.handed(1, 2, a=STAMP) == 0
        assert ended.client.hgetall(HASH) == encoded(TOMBSTONE)
        assert ended.client.smembers(PENDING) == {SID.encode()}

    def test_keeps_words_of_a_later_release(self, filled):
        filled.add_word()
        filled.save_pending(a="x")
        filled.handed(1, 2, a=STAMP, expiry=STAMP)
        assert filled.words[9:] == ["later", "words"]


class TestRefresh:
    def test_has_a_hash_show_its_row(self, filled):
        filled.behind(3)
        assert filled.refresh(3, a="x") == 1
        assert filled.fields == {"a": "x"}
        assert (filled.version, filled.lacks) == (3, 0)

    @pytest.mark.parametrize("version", [1, 2])
    def test_of_an_earlier_version_than_it_lacks_changes_nothing(self, filled, version):
        filled.behind(3)
        before = filled.everything()
        assert filled.refresh(version, a="x") == 0
        assert filled.everything() == before

    @pytest.mark.parametrize("behind", [0, 4])
    def test_of_an_earlier_version_than_it_shows_is_done_where_the_database_went_back(
        self, filled, behind
    ):
        filled.follow(1, 2, a="x")
        if behind:
            filled.behind(behind)
        before = filled.everything()
        for seen in ({"seen": 1, "seen_behind": behind}, {"seen": 2, "seen_behind": behind + 1}):
            # Others have told it something since it was read.
            assert filled.refresh(1, **seen, a="before") == 0
            assert filled.everything() == before
        assert filled.refresh(1, seen=2, seen_behind=behind, a="before") == 1
        assert (filled.version, filled.lacks, filled.fields) == (1, 0, {"a": "before"})

    def test_loses_nothing_that_the_row_lacks(self, filled):
        filled.save_pending(a="x")
        before = filled.everything()
        assert filled.refresh(9, a="row") == 0
        assert filled.everything() == before

    def test_brings_nothing_back(self, ended):
        before = ended.everything()
        assert ended.refresh(9, a="row") == 0
        assert ended.everything() == before

    def test_makes_no_hash_where_there_is_none(self, twin):
        assert twin.refresh(9, a="row") == 0
        assert twin.everything() == {}

    def test_is_not_done_at_a_server_that_was_not_met(self, filled):
        before = filled.everything()
        filled.mark = "00000000.7"
        assert filled.refresh(9, a="row") == -1
        assert filled.everything() == before

    def test_keeps_words_of_a_later_release(self, filled):
        filled.add_word()
        assert filled.refresh(9, a="row") == 1
        assert filled.words[9:] == ["later", "words"]


class TestBehind:
    def test_notes_a_version_that_the_hash_does_not_show(self, filled):
        assert filled.behind(3) == 1
        assert (filled.version, filled.lacks) == (1, 3)
        assert filled.fields == {"a": "1", "b": "2"}

    def test_does_not_go_back(self, filled):
        filled.behind(3)
        before = filled.everything()
        assert filled.behind(2) == 1
        assert filled.behind(1) == 0
        assert filled.everything() == before

    def test_of_an_end_drops_the_hash(self, filled):
        filled.save_pending(a="x")
        filled.behind(3, ended=1)
        assert filled.everything() == {}

    def test_leaves_a_tombstone(self, ended):
        before = ended.everything()
        assert ended.behind(3) == 0
        assert ended.everything() == before

    def test_keeps_words_of_a_later_release(self, filled):
        filled.add_word()
        filled.behind(3)
        assert filled.words[9:] == ["later", "words"]


class TestDrop:
    def test_of_the_version_that_the_hash_shows(self, filled):
        assert filled.drop(2) == 0
        assert filled.drop(0) == 0
        assert filled.fields == {"a": "1", "b": "2"}
        assert filled.drop(1) == 1
        assert filled.everything() == {}

    def test_of_a_tombstone_that_the_database_knows_of(self, ended):
        assert ended.drop(1) == 0
        # It is another one by now than that of which the database knows.
        assert ended.drop(0, key=NEW_KEY) == 0
        assert ended.drop(0, times="7 8 5") == 0
        assert ended.client.hgetall(HASH) == encoded(TOMBSTONE)
        assert ended.drop(0) == 1
        assert ended.everything() == {}


class TestEnd:
    def test_drops_the_hash_and_names_the_user(self, filled):
        assert filled.end() == [b"tag", 0, TTL]
        assert filled.everything() == {}

    def test_leaves_a_tombstone_for_the_database(self, filled):
        assert filled.end(TTL, key=KEY) == [b"tag", 0, TTL]
        assert filled.client.hgetall(HASH) == encoded(TOMBSTONE)
        assert TTL - 2 <= filled.client.ttl(HASH) <= TTL
        assert filled.client.smembers(PENDING) == {SID.encode()}
        assert not filled.client.exists(INDEX)

    def test_tells_what_the_database_never_had(self, twin):
        twin.create_pending(a="1")
        assert twin.end() == [b"tag", 1, TTL]

    def test_leaves_a_tombstone_though_the_hash_is_not_there(self, twin):
        assert twin.end(TTL) == [b"", 0, 0]
        assert twin.client.hget(HASH, "~") == b"x p"

    def test_finds_an_end_that_the_database_lacks_and_leaves_it(self, ended):
        assert ended.end() == [b"", 2, TTL]
        assert ended.client.hgetall(HASH) == encoded(TOMBSTONE)

    def test_of_a_key_that_was_replaced_leaves_the_session(self, filled):
        before = filled.everything()
        assert filled.end(TTL, key=OLD_KEY) == [b"", 3, TTL]
        assert filled.everything() == before

    def test_of_a_key_that_the_hash_was_not_told_of_is_one(self, filled):
        assert filled.end(TTL, key=NEW_KEY) == [b"tag", 0, TTL]
        assert filled.client.hgetall(HASH) == encoded({**TOMBSTONE, "~k": NEW_KEY})

    def test_leaves_a_tombstone_for_as_long_as_a_copy_could_live(self, filled):
        filled.client.expire(HASH, 9 * TTL)
        filled.end(TTL)
        assert filled.client.ttl(HASH) > 8 * TTL

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize(
        ("ends", "joined"),
        [
            ([(KEY, "7 90 5"), (KEY, "7 80 5")], (KEY, "7 80 5")),
            ([(KEY, "7 90 5"), (NEW_KEY, "60 95 9")], (NEW_KEY, "60 90 9")),
            ([(KEY, "7 90 5"), ("", "")], ("", "")),
            ([(KEY, "7 90 5"), (NEW_KEY, "damaged")], ("", "")),
        ],
        ids=["the same key", "another key", "any key", "damaged"],
    )
    def test_joins_another_end_of_the_session(self, twin, order, ends, joined):
        for n in order:
            key, times = ends[n]
            twin.end(TTL, key=key, times=times)
        found = twin.client.hgetall(HASH)
        assert (found[b"~k"].decode(), found[b"~e"].decode()) == joined

    def test_of_a_foreign_value_drops_it(self, twin):
        twin.client.set(HASH, "planted")
        assert twin.end() == [b"", 0, 0]
        assert twin.everything() == {}

    def test_of_several_ends_each(self, filled):
        filled.client.hset(OTHER, "~", filled.client.hget(HASH, "~"))
        keys = (INDEX, PENDING, EVENTS, HASH, OTHER)
        assert filled.run(END, keys, 0, "", "", SID, OTHER_SID) == [b"tag", 0, TTL, b"tag", 0, 0]
        assert filled.everything() == {}


@pytest.mark.parametrize("step", ["follow", "save_pending", "behind", "handed", "refresh", "drop"])
def test_a_foreign_value_in_the_place_of_a_hash_gives_way_to_the_row(twin, step):
    twin.client.set(HASH, "planted")
    arguments = {"follow": (1, 2), "behind": (2,), "handed": (1, 2), "refresh": (1,), "drop": (1,)}
    getattr(twin, step)(*arguments.get(step, ()))
    assert twin.everything() == {}


def test_a_foreign_value_in_the_place_of_the_pending_set_gives_way(twin):
    twin.client.set(PENDING, "planted")
    assert twin.create_pending(a="1") == 1
    assert twin.client.smembers(PENDING) == {SID.encode()}
