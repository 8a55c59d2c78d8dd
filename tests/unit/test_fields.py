"""The field map: a dict to its user, a set of changes to the store."""

from __future__ import annotations

import copy
import json
import pprint
from decimal import Decimal
from http import HTTPStatus
from types import MappingProxyType

import pytest
from django.views.debug import ExceptionReporter
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from django_elasticache_sessions.codec import CodecPolicy, SessionCodec
from django_elasticache_sessions.exceptions import InvalidValue, SessionNotSerializable
from django_elasticache_sessions.fields import (
    Changes,
    FieldMap,
    field_name,
    loaded_name,
    stored_name,
)
from django_elasticache_sessions.keyring import KeyRing
from django_elasticache_sessions.serializers import CompactJSON

CODEC = SessionCodec(CodecPolicy(KeyRing.from_secrets([b"secret"]), True, 64, 1_000_000), "s" * 22)
STAMP = 106_250_000_000_000
CANARY = "canary-in-a-value"
names = st.sampled_from(["a", "b", "~", "~a", "", "é", "\ud800", "_auth_user_id"])
keys = names | st.sampled_from([1, 2.5, None, True])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


def load(stored: dict[str, bytes], **options: object) -> FieldMap:
    return FieldMap(CompactJSON(), stored, codec=CODEC, **options)


def encode(data: dict[str, object]) -> dict[str, bytes]:
    return {
        name: CODEC.encode(name, json.dumps(value).encode(), STAMP) for name, value in data.items()
    }


def apply(stored: dict[str, bytes], changes: Changes) -> dict[str, bytes]:
    """Do to stored fields what the save script does."""
    kept = {} if changes.replace else dict(stored)
    for name in changes.removed:
        kept.pop(name, None)
    return kept | {name: CODEC.encode(name, data, STAMP) for name, data in changes.changed.items()}


def json_copies(data: dict[object, object]) -> dict[object, object]:
    return {key: json.loads(json.dumps(value)) for key, value in data.items()}


class AgainstADict(RuleBasedStateMachine):
    """Whatever is done to it, it reads like a dict, and like Django's JSON once stored."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, bytes] = {}
        self.map = load({})
        self.model: dict[object, object] = {}

    @rule(key=keys, value=values)
    def set(self, key, value):
        self.map[key] = value
        self.model[key] = json.loads(json.dumps(value))

    @rule(key=keys)
    def delete(self, key):
        assert (self.map.pop(key, None) is None) == (self.model.pop(key, None) is None)

    @rule(key=keys, value=values)
    def set_default(self, key, value):
        assert self.map.setdefault(key, value) == self.model.setdefault(key, value)

    @rule(key=keys)
    def get(self, key):
        assert self.map.get(key) == self.model.get(key)

    @rule(data=st.dictionaries(keys, values, max_size=3))
    def update(self, data):
        self.map.update(data)
        self.model.update(json_copies(data))

    @rule()
    def iterate(self):
        assert dict(self.map.items()) == self.model
        assert self.map == self.model

    @rule(value=values)
    def change_nested(self, value):
        for key, held in list(self.model.items()):
            if isinstance(held, list):
                held.append(value)
                if self.map[key] is not held:
                    self.map[key].append(value)
                return

    @rule()
    def clear(self):
        self.map.clear()
        self.model.clear()

    @rule(keep=st.booleans())
    def save(self, keep):
        changes = self.map.changes()
        self.stored = apply(self.stored, changes)
        if keep:
            encoded = {name: self.stored[name] for name in changes.changed}
            self.map.mark_saved(changes, encoded)
            assert not self.map.changes()
        else:
            self.map = load(self.stored)
            self.model = json.loads(json.dumps(self.model))

    @invariant()
    def has_the_same_keys(self):
        assert set(self.map) == set(self.model)
        assert len(self.map) == len(self.model)


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


@settings(deadline=None)
@given(
    before=st.dictionaries(names, values, max_size=4),
    mine=st.dictionaries(st.sampled_from(["a", "b"]), values),
    theirs=st.dictionaries(st.sampled_from(["~", "é"]), values),
    removed=st.sampled_from(["a", "b", "none"]),
)
def test_changes_to_different_keys_commute(before, mine, theirs, removed):
    stored = encode(before)

    def change(data, remove=None):
        fields = load(stored)
        fields.update(data)
        fields.pop(remove, None)
        return fields.changes()

    first, second = change(mine, removed), change(theirs)
    one = dict(load(apply(apply(stored, first), second)).items())
    other = dict(load(apply(apply(stored, second), first)).items())
    assert one == other


@settings(deadline=None)
@given(before=st.dictionaries(names, values, max_size=4), read=st.sets(names))
def test_reading_changes_nothing(before, read):
    fields = load(encode(before))
    for name in read:
        fields.get(name)
    assert not fields.changes()


@settings(deadline=None)
@given(
    before=st.dictionaries(names, values, max_size=4),
    mine=st.dictionaries(names, values, max_size=2),
    theirs=st.dictionaries(names, values, max_size=2),
    removed=names,
)
def test_a_rebased_map_is_theirs_with_my_changes_on_top(before, mine, theirs, removed):
    fields = load(encode(before))
    fields.update(mine)
    if removed not in mine:
        fields.pop(removed, None)
    expected = {**theirs, **mine}
    if removed in before and removed not in mine:
        expected.pop(removed, None)
    fields.rebase(encode(theirs), CODEC)
    assert dict(fields.items()) == expected


def test_an_untouched_field_is_neither_decoded_nor_serialised():
    class Spy(CompactJSON):
        calls = 0

        def loads(self, data):
            Spy.calls += 1
            return super().loads(data)

        def dumps(self, obj):
            Spy.calls += 1
            return super().dumps(obj)

    fields = FieldMap(Spy(), encode({"a": 1, "b": [2]}), codec=CODEC)
    assert "a" in fields
    assert len(fields) == 2
    assert not fields.changes()
    assert Spy.calls == 0


def test_a_serialiser_that_does_not_give_back_its_bytes_changes_nothing_by_reading():
    class Shouting(CompactJSON):
        def dumps(self, obj):
            return super().dumps(obj) + b" "

        def loads(self, data):
            return super().loads(data.strip())

    fields = FieldMap(Shouting(), encode({"a": [1]}), codec=CODEC)
    assert fields["a"] == [1]
    assert not fields.changes()
    fields["a"].append(2)
    assert set(fields.changes().changed) == {"a"}


def test_a_forged_value_empties_the_map_and_is_told():
    told: list[tuple[str, str]] = []
    forged = {**encode({"a": 1}), "b": b"\x11" + b"x" * 50}
    fields = load(forged, rejected=lambda *args: told.append(args))
    assert fields["a"] == 1
    assert fields.get("b") is None
    assert dict(fields.items()) == {}
    assert [name for name, _ in told] == ["b"]


@pytest.mark.parametrize("view", ["items", "values"])
def test_a_forged_value_found_while_iterating_ends_the_iteration_quietly(view):
    fields = load({"b": b"\x11" + b"x" * 50, **encode({"a": 1})})
    assert list(getattr(fields, view)()) == []


@pytest.mark.parametrize(
    ("key", "name"),
    [("x", "x"), (1, "1"), (2.5, "2.5"), (None, "null"), (True, "true"), (False, "false")],
)
def test_a_key_is_named_as_json_names_it(key, name):
    assert field_name(key) == name == next(iter(json.loads(json.dumps({key: 0}))))


@pytest.mark.parametrize("key", [(1, 2), b"bytes", frozenset()])
def test_a_key_that_json_cannot_name_is_refused_by_type(key):
    with pytest.raises(SessionNotSerializable, match=type(key).__name__):
        field_name(key)


@given(st.text(st.characters(blacklist_categories=()), max_size=8))
def test_a_stored_name_leads_back_and_is_never_the_metadatas(name):
    assert loaded_name(stored_name(name).decode("utf-8", "surrogatepass")) == name
    assert stored_name(name) != b"~"


def test_equality_is_that_of_the_data():
    assert load(encode({"a": 1})) == {"a": 1}
    assert load(encode({"a": 1})) != {"a": 2}


def test_codec_errors_are_not_key_errors_of_missing_fields():
    with pytest.raises(InvalidValue):
        CODEC.decode("a", b"")


class SpyCodec:
    """Counts what is decoded."""

    def __init__(self) -> None:
        self.decoded: list[str] = []

    def decode(self, name: str, value: bytes) -> bytes:
        self.decoded.append(name)
        return CODEC.decode(name, value)


class SpySerializer(CompactJSON):
    """Counts what is serialised."""

    def __init__(self) -> None:
        self.dumped: list[object] = []

    def dumps(self, obj: object) -> bytes:
        self.dumped.append(obj)
        return super().dumps(obj)


def saved_and_loaded(fields: FieldMap, stored: dict[str, bytes]) -> dict[str, object]:
    return dict(load(apply(stored, fields.changes())).items())


def report_of(error: BaseException) -> str:
    """Render Django's error page for the package's frames; this file's own hold the values."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    error = error.with_traceback(trace)
    reporter = ExceptionReporter(None, type(error), error, trace)
    return reporter.get_traceback_html() + reporter.get_traceback_text()


@settings(deadline=None)
@given(data=st.dictionaries(keys, values, max_size=5))
def test_a_new_map_is_stored_as_djangos_json_would_store_it(data):
    fields = load({})
    fields.update(data)
    assert saved_and_loaded(fields, {}) == json.loads(json.dumps(data))


@settings(deadline=None)
@given(
    before=st.dictionaries(names, values, max_size=4),
    after=st.dictionaries(names, values, max_size=4),
)
def test_a_map_made_equal_to_a_dict_is_stored_as_that_dict(before, after):
    stored = encode(before)
    fields = load(stored)
    for name in before.keys() - after.keys():
        del fields[name]
    fields.update(after)
    assert fields == after
    assert saved_and_loaded(fields, stored) == after


@settings(deadline=None)
@given(data=st.dictionaries(names, values, min_size=1, max_size=5), choose=st.data())
def test_only_the_field_that_is_read_is_decoded(data, choose):
    spy = SpyCodec()
    fields = FieldMap(CompactJSON(), encode(data), codec=spy)
    name = choose.draw(st.sampled_from(sorted(data)))
    assert fields[name] == data[name]
    assert fields[name] == data[name]
    assert name in fields
    assert set(fields) == data.keys()
    fields.changes()
    assert spy.decoded == [name]


def test_only_what_was_touched_is_serialised():
    spy = SpySerializer()
    fields = FieldMap(spy, encode({"a": 1, "b": 2, "c": 3}), codec=CODEC)
    fields["a"]
    fields["b"] = 20
    fields.changes()
    assert sorted(spy.dumped) == [1, 20]


def test_a_field_is_overwritten_or_removed_without_being_decoded():
    spy = SpyCodec()
    fields = FieldMap(CompactJSON(), encode({"a": 1, "b": 2, "c": 3}), codec=spy)
    fields["a"] = 10
    del fields["b"]
    fields.clear()
    fields.changes()
    assert spy.decoded == []


def test_a_field_is_untouched_until_it_is_read():
    fields = load(encode({"a": 1}))
    assert fields.is_untouched("a")
    fields["a"]
    assert not fields.is_untouched("a")
    assert not fields.is_untouched("b")


@settings(deadline=None)
@given(data=st.dictionaries(names, values, max_size=5))
def test_looking_at_everything_sends_nothing(data):
    fields = load(encode(data))
    assert fields == data
    assert list(fields.values()) == list(data.values())
    for name in data:
        fields.setdefault(name, "other")
    assert not fields.changes()
    assert fields.changes() == ({}, (), False)


@pytest.mark.parametrize(
    ("change", "changed", "removed"),
    [
        (lambda fields: fields["cart"].append("tea"), {"cart": b'["milk","tea"]'}, set()),
        (lambda fields: fields["cart"].reverse(), {}, set()),
        (lambda fields: fields.update(a=5), {"a": b"5"}, set()),
        (lambda fields: fields.update(a=1), {"a": b"1"}, set()),
        (lambda fields: fields.pop("a"), {}, {"a"}),
        (lambda fields: fields.pop("missing", None), {}, set()),
        (lambda fields: fields.setdefault("b", 2), {"b": b"2"}, set()),
        (lambda fields: (fields.update(b=2), fields.pop("b")), {}, set()),
        (lambda fields: fields.update(a=fields.pop("a")), {"a": b"1"}, set()),
        (lambda fields: fields.clear(), {}, {"a", "cart"}),
        (lambda fields: (fields.clear(), fields.update(a=2)), {"a": b"2"}, {"cart"}),
    ],
    ids=[
        "nested change",
        "nested change that changes nothing",
        "set",
        "set to what it was, which still is the last write",
        "pop",
        "pop of a missing field",
        "setdefault",
        "set and removed again",
        "removed and set again",
        "clear",
        "clear and set",
    ],
)
def test_a_save_sends_what_was_changed_and_no_more(change, changed, removed):
    fields = load(encode({"a": 1, "cart": ["milk"]}))
    change(fields)
    changes = fields.changes()
    assert changes.changed == changed
    assert set(changes.removed) == removed
    assert not changes.replace


def test_a_map_that_replaces_all_has_something_to_save_even_when_empty():
    changes = load({}, replace=True).changes()
    assert changes
    assert changes.replace
    assert apply(encode({"a": 1}), changes) == {}


def test_a_map_replaces_all_only_once():
    fields = load({}, replace=True)
    fields["a"] = 1
    changes = fields.changes()
    fields.mark_saved(changes, encode({"a": 1}))
    fields["b"] = 2
    assert fields.changes() == ({"b": b"2"}, (), False)


def test_a_new_sessions_fields_are_all_serialised():
    fields = load(encode({"a": 1, "b": [2]}))
    fields["b"].append(3)
    fields[5] = None
    assert fields.serialized() == ({"a": b"1", "b": b"[2,3]", "5": b"null"}, (), True)


@settings(deadline=None)
@given(
    before=st.dictionaries(names, values, max_size=4),
    mine=st.dictionaries(names, values, max_size=2),
    theirs=st.dictionaries(names, values, max_size=4),
    removed=names,
    read=st.lists(names, max_size=3),
    replace=st.booleans(),
)
def test_a_rebased_map_is_saved_as_it_reads(before, mine, theirs, removed, read, replace):
    fields = load({} if replace else encode(before), replace=replace)
    for name in read:
        fields.get(name)
    fields.update(mine)
    fields.pop(removed, None)
    stored = encode(theirs)
    fields.rebase(stored, CODEC)
    assert saved_and_loaded(fields, stored) == dict(fields.items())


def test_a_rebased_map_sends_my_changes_again_and_none_of_theirs():
    fields = load(encode({"a": 1, "b": [2], "c": 3}))
    fields["b"].append("mine")
    fields["c"]
    del fields["a"]
    fields.rebase(encode({"a": "theirs", "b": "theirs", "c": "theirs", "d": "theirs"}), CODEC)
    assert fields.changes() == ({"b": b'[2,"mine"]'}, ("a",), False)


def test_what_i_only_read_is_theirs_after_a_rebase():
    fields = load(encode({"a": 1, "b": 2}))
    assert (fields["a"], fields["b"]) == (1, 2)
    fields.rebase(encode({"a": "theirs"}), CODEC)
    assert fields == {"a": "theirs"}


def test_a_map_that_replaces_all_keeps_nothing_of_theirs_in_a_rebase():
    fields = load({}, replace=True)
    fields["mine"] = 1
    fields.rebase(encode({"theirs": 2}), CODEC)
    assert fields == {"mine": 1}
    assert fields.changes().replace


@settings(deadline=None)
@given(
    before=st.dictionaries(names, st.lists(st.integers(0, 9), max_size=2), max_size=6),
    choose=st.data(),
)
def test_nested_changes_and_removals_of_different_fields_commute(before, choose):
    stored = encode(before)
    shuffled = choose.draw(st.permutations(sorted(before)))
    cut = choose.draw(st.integers(0, len(shuffled)))
    remove = choose.draw(st.sets(st.sampled_from(shuffled)) if shuffled else st.just(set()))

    def change(mine):
        fields = load(stored)
        for name in mine:
            if name in remove:
                del fields[name]
            else:
                fields[name].append("changed")
        return fields.changes()

    first, second = change(shuffled[:cut]), change(shuffled[cut:])
    wanted = {name: [*held, "changed"] for name, held in before.items() if name not in remove}
    for one, other in ((first, second), (second, first)):
        assert dict(load(apply(apply(stored, one), other)).items()) == wanted


@given(names, values)
def test_a_repeated_save_changes_nothing_more(name, value):
    fields = load({})
    fields[name] = value
    changes = fields.changes()
    stored = apply({}, changes)
    assert apply(stored, changes).keys() == stored.keys()
    fields.mark_saved(changes, stored)
    assert not fields.changes()


@pytest.mark.parametrize(
    "key", [0, -1, 10**30, 1.0, 1e300, float("inf"), float("nan"), HTTPStatus.OK, None, False, ""]
)
def test_every_kind_of_key_is_stored_under_djangos_name_for_it(key):
    fields = load({})
    fields[key] = "value"
    assert saved_and_loaded(fields, {}) == json.loads(json.dumps({key: "value"}))


@given(st.text(st.characters(exclude_categories=()), max_size=3))
def test_any_text_is_a_field_name(name):
    fields = load({})
    fields[name] = 1
    changes = fields.changes()
    raw = {
        stored_name(name): CODEC.encode(name, data, STAMP) for name, data in changes.changed.items()
    }
    stored = {
        loaded_name(raw_name.decode("utf-8", "surrogatepass")): value
        for raw_name, value in raw.items()
    }
    assert load(stored) == {name: 1}


def test_of_two_keys_with_one_name_the_last_set_is_stored():
    fields = load({})
    fields[1] = "number"
    fields["1"] = "text"
    assert saved_and_loaded(fields, {}) == json.loads(json.dumps({1: "number", "1": "text"}))


def test_of_two_keys_with_one_name_the_same_is_stored_by_a_second_save():
    fields = load({})
    fields[1] = "number"
    fields["1"] = "text"
    changes = fields.changes()
    stored = apply({}, changes)
    fields.mark_saved(changes, stored)
    assert saved_and_loaded(fields, stored) == {"1": "text"}


def test_a_key_is_removed_where_another_of_the_same_name_stays():
    stored = encode({"1": "stored"})
    fields = load(stored)
    fields[1] = "number"
    del fields["1"]
    assert saved_and_loaded(fields, stored) == {"1": "number"}


@pytest.mark.parametrize("serialise", [FieldMap.changes, FieldMap.serialized])
@pytest.mark.parametrize("key", [(1, 2), b"bytes", frozenset()])
def test_a_key_that_json_cannot_name_stops_the_save(serialise, key):
    fields = load({})
    fields[key] = "value"
    with pytest.raises(SessionNotSerializable, match="Session keys must be"):
        serialise(fields)


@pytest.mark.parametrize("serialise", [FieldMap.changes, FieldMap.serialized])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param([CANARY, object()], id="a type JSON does not have"),
        pytest.param({CANARY: {CANARY: {CANARY}}}, id="a set deep inside"),
        pytest.param({(CANARY,): 1}, id="a key JSON does not have"),
        pytest.param(Decimal("1234567"), id="a decimal"),
    ],
)
def test_a_value_that_cannot_be_serialised_is_named_and_shown_nowhere(serialise, value):
    fields = load(encode({"read": CANARY}))
    fields["other"] = CANARY
    fields["read"]
    fields["cart"] = value
    with pytest.raises(SessionNotSerializable, match="'cart'") as caught:
        serialise(fields)
    assert caught.value.__context__ is None
    shown = str(caught.value) + repr(caught.value) + report_of(caught.value)
    assert CANARY not in shown
    assert "1234567" not in shown


def test_a_serialisers_error_that_quotes_the_value_is_not_quoted():
    class Quoting(CompactJSON):
        def dumps(self, obj):
            raise RuntimeError(f"cannot serialise {obj!r}")

    fields = FieldMap(Quoting())
    fields["cart"] = CANARY
    with pytest.raises(SessionNotSerializable, match="RuntimeError") as caught:
        fields.changes()
    assert CANARY not in str(caught.value) + report_of(caught.value)


def test_a_value_that_contains_itself_is_refused_by_name():
    fields = load({})
    fields["cart"] = loop = []
    loop.append(loop)
    with pytest.raises(SessionNotSerializable, match="'cart'"):
        fields.changes()


def test_a_failed_save_leaves_the_map_as_it_was():
    fields = load(encode({"a": 1}))
    fields["a"], fields["bad"] = 2, object()
    with pytest.raises(SessionNotSerializable):
        fields.changes()
    del fields["bad"]
    assert fields.changes() == ({"a": b"2"}, (), False)


def test_a_value_the_serialiser_cannot_read_is_shown_nowhere():
    fields = load({"note": CODEC.encode("note", CANARY.encode(), STAMP)})
    with pytest.raises(KeyError) as caught:
        fields["note"]
    assert CANARY not in repr(caught.value) + report_of(caught.value)


def test_a_value_the_serialiser_cannot_read_empties_the_map_and_is_told():
    told = []
    stored = {**encode({"a": 1}), "note": CODEC.encode("note", CANARY.encode(), STAMP)}
    fields = load(stored, rejected=lambda *args: told.append(args))
    assert fields.get("note") is None
    assert len(fields) == 0
    assert told == [("note", "SESSION_SERIALIZER cannot read it (JSONDecodeError)")]


def forged() -> dict[str, bytes]:
    return {**encode({"a": 1, "b": 2}), "role": b"\x11" + b"x" * 50}


@pytest.mark.parametrize(
    "touch",
    [
        lambda fields: fields.get("role"),
        lambda fields: fields.pop("role", None),
        lambda fields: list(fields.items()),
        lambda fields: list(fields.values()),
        lambda fields: fields == {},
        lambda fields: fields.serialized(),
    ],
    ids=["get", "pop", "items", "values", "equality", "serialised"],
)
def test_however_a_forged_value_is_touched_nothing_of_the_map_is_left(touch):
    told = []
    fields = load(forged(), rejected=lambda name, reason: told.append((name, len(fields))))
    fields["mine"] = "written before"
    assert fields["a"] == 1
    touch(fields)
    assert told == [("role", 0)]
    assert dict(fields.items()) == {}
    assert not fields.changes()


def test_a_map_emptied_by_a_forged_value_can_be_filled_anew():
    fields = load(forged())
    assert fields.setdefault("role", "guest") == "guest"
    assert fields.changes() == ({"role": b'"guest"'}, (), False)


def test_the_callback_is_not_told_the_forged_value():
    told = []
    load(forged(), rejected=lambda *args: told.append(repr(args))).get("role")
    assert "xxx" not in told[0]


@pytest.mark.parametrize("show", [repr, str, lambda value: pprint.pformat(value, width=1)])
def test_no_rendering_shows_data(show):
    fields = load(encode({"a": CANARY}))
    fields["b"] = [CANARY]
    fields["a"]
    changes = fields.changes()
    assert "2 fields" in show(fields)
    assert CANARY not in show(fields) + show(changes) + show(changes.changed)
    assert CANARY not in show(fields.serialized())


def test_the_size_that_stays_is_that_of_the_fields_a_save_leaves():
    fields = load({"a": b"123", "bb": b"1234", "ccc": b"12345"})
    fields["a"] = 1
    fields["new"] = 2
    del fields["bb"]
    assert fields.size_after(fields.changes()) == len("ccc") + 5


def test_nothing_stays_where_all_is_replaced():
    fields = load({"a": b"123"}, replace=True)
    assert fields.size_after(fields.changes()) == 0


def test_the_size_that_stays_counts_the_bytes_of_names():
    fields = load({"é" * 10: b"123"})
    assert fields.size_after(fields.changes()) == len(stored_name("é" * 10)) + 3


def test_a_map_reads_like_a_dict():
    fields = load(encode({"a": 1, "b": None}))
    assert list(fields.keys()) == ["a", "b"]
    assert list(fields.items()) == [("a", 1), ("b", None)]
    assert fields.get("missing", 5) == 5
    assert "missing" not in fields
    with pytest.raises(KeyError, match="missing"):
        fields["missing"]
    with pytest.raises(KeyError):
        del fields["missing"]
    with pytest.raises(KeyError):
        fields.pop("missing")


def test_values_may_be_read_while_iterating_over_the_names():
    fields = load(encode({"a": 1, "b": 2}))
    assert {name: fields[name] for name in fields} == {"a": 1, "b": 2}


def test_a_map_cannot_be_hashed():
    with pytest.raises(TypeError):
        hash(load({}))


class TestWhatADictHasToo:
    """`copy()` and `|` give plain dicts of decoded values: a copy is of no store."""

    def test_copy(self):
        data = load(encode({"a": [1], "b": 2}))
        copied = data.copy()
        assert type(copied) is dict
        assert copied == {"a": [1], "b": 2}
        # As of a dict, the copy is shallow.
        assert copied["a"] is data["a"]
        copied["c"] = 3
        assert "c" not in data
        assert not data.changes()
        assert copy.copy(data) == {"a": [1], "b": 2}

    @pytest.mark.parametrize("other", [{"b": 3, "c": 4}, MappingProxyType({"b": 3, "c": 4})])
    def test_union_with_a_mapping_on_the_right(self, other):
        data = load(encode({"a": 1, "b": 2}))
        assert data | other == {"a": 1, "b": 3, "c": 4}
        assert type(data | other) is dict
        assert not data.changes()

    def test_union_with_a_mapping_on_the_left(self):
        data = load(encode({"a": 1, "b": 2}))
        assert {"b": 3, "c": 4} | data == {"a": 1, "b": 2, "c": 4}
        assert list({"b": 3, "c": 4} | data) == ["b", "c", "a"]

    def test_union_of_two(self):
        data = load(encode({"a": 1, "b": 2})) | load(encode({"b": 3}))
        assert (type(data), data) == (dict, {"a": 1, "b": 3})

    def test_union_with_what_is_no_mapping(self):
        with pytest.raises(TypeError, match="unsupported operand"):
            load({}) | [("a", 1)]
        with pytest.raises(TypeError, match="unsupported operand"):
            [("a", 1)] | load({})

    @pytest.mark.parametrize("other", [{"b": 3}, [("b", 3)], FieldMap(CompactJSON())])
    def test_union_in_place_assigns(self, other):
        data = before = load(encode({"a": 1, "b": 2}))
        data |= other
        assert data is before
        assert data == {"a": 1, "b": 2} | dict(other)
        assert bool(data.changes()) == bool(other)
