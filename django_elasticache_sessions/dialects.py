"""SQL as each database speaks it, and the session fields as a JSON object in a row."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

from .exceptions import InvalidValue

_ODD_NAME = "~base64:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between databases, as SQL."""

    now: str
    #: The stored object with the members of another one; no member is an object.
    merged: str
    #: The stored object without the members of a list, `{{names}}`, then as `merged`; one parameter
    #: for the list or one for each name, as `path` writes it, then that of `merged`. Empty where
    #: `merged` takes out members that are null.
    removed_and_merged: str = ""
    json: str = "%s"
    #: A version just computed, so that the statement can tell it.
    raised: str = "{0}"
    greatest: str = "GREATEST"
    returning: str = " RETURNING version"
    #: Whether a list is one parameter: a thousand take the client as long as a thousand rows do.
    has_arrays: bool = False
    #: Whether what an index has in order is only sorted where the index does not tell.
    sorts_ties_alone: bool = True
    on_conflict: str = " ON CONFLICT (sid) DO UPDATE SET "
    #: Whether an upsert takes a condition, and tells which rows it changed.
    has_conditional_upsert: bool = True
    #: What was to be inserted, where a row was there.
    excluded: str = "excluded.{0}"
    #: The stored object with the bytes of each value in its place, but for members in `wanted`;
    #: empty where a database takes longer to take an object apart than to send it.
    sized: str = ""


DIALECTS = {
    "postgresql": Dialect(
        now="FLOOR(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP()))::bigint",
        json="%s::jsonb",
        has_arrays=True,
        merged="{{table}}.{column} || %s::jsonb",
        removed_and_merged="({{table}}.{column} - %s::text[]) || %s::jsonb",
        sized="(CASE WHEN JSONB_TYPEOF(fields) <> 'object' THEN fields ELSE ("
        "SELECT COALESCE(JSONB_OBJECT_AGG(key, CASE WHEN JSONB_TYPEOF(value) <> 'string' THEN NULL "
        "WHEN key IN ({wanted}) THEN value "
        "ELSE TO_JSONB(LENGTH(RTRIM(value #>> '{{{{}}}}', '=')) * 3 / 4) END), '{{{{}}}}') "
        "FROM JSONB_EACH(fields)) END)",
    ),
    "sqlite": Dialect(
        now="CAST(STRFTIME('%%s', 'now') AS integer)",
        merged="JSON_PATCH({{table}}.{column}, %s)",
        greatest="MAX",
        sized="(CASE WHEN JSON_TYPE(fields) <> 'object' THEN fields ELSE ("
        "SELECT JSON_GROUP_OBJECT(key, CASE WHEN type <> 'text' THEN NULL "
        "WHEN key IN ({wanted}) THEN value ELSE LENGTH(RTRIM(value, '=')) * 3 / 4 END) "
        "FROM JSON_EACH(fields)) END)",
    ),
    "mysql": Dialect(
        now="UNIX_TIMESTAMP()",
        merged="JSON_MERGE_PATCH({{table}}.{column}, %s)",
        # MariaDB's JSON_MERGE_PATCH goes wrong where it takes out the first member.
        removed_and_merged="JSON_MERGE_PATCH(JSON_REMOVE({{table}}.{column}, {names}), %s)",
        # UPDATE returns no columns there, but what this function was given last.
        raised="LAST_INSERT_ID({0})",
        returning="",
        sorts_ties_alone=False,
        on_conflict=" ON DUPLICATE KEY UPDATE ",
        excluded="VALUES({0})",
        has_conditional_upsert=False,
    ),
}


def sql(connection: BaseDatabaseWrapper, text: str) -> str:
    """Fill in what depends on the database. No value ever stands in the text."""
    # By name: the models are above this layer.
    table, servers = (
        connection.ops.quote_name(
            apps.get_model("django_elasticache_sessions", model)._meta.db_table
        )
        for model in ("FallbackSession", "CacheServer")
    )
    return text.format(table=table, servers=servers, now=dialect_of(connection).now)


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """Return how a connection's database speaks."""
    return DIALECTS[connection.vendor]


def among(connection: BaseDatabaseWrapper, sids: Sequence[bytes]) -> tuple[str, list[Any]]:
    """Return SQL that holds for the rows of sessions, and its parameters."""
    texts = [sid.hex() for sid in sids]
    if dialect_of(connection).has_arrays:
        return "sid = ANY(%s)", [texts]
    return f"sid IN ({', '.join(['%s'] * len(texts))})", texts


def to_json(fields: Mapping[str, bytes], removed: Iterable[str] = ()) -> str:
    """Return encoded values, by field name, as a JSON object; removed fields are null."""
    members: dict[str, str | None] = {
        _member(name): b64encode(value).decode() for name, value in fields.items()
    }
    return json.dumps(members | dict.fromkeys(map(_member, removed)))


def merged_fields(
    connection: BaseDatabaseWrapper, changed: Mapping[str, bytes], removed: Sequence[str]
) -> tuple[str, list[Any]]:
    """Return SQL for a row's fields after changes, and its parameters."""
    dialect = dialect_of(connection)
    if not removed:
        return dialect.merged.format(column="fields"), [to_json(changed)]
    if not dialect.removed_and_merged:
        return dialect.merged.format(column="fields"), [to_json(changed, removed)]
    members = [_member(name) for name in removed]
    names = ", ".join(["%s"] * len(members))
    parameters: list[Any] = [members] if dialect.has_arrays else list(map(_path, members))
    expression = dialect.removed_and_merged.format(column="fields", names=names)
    return expression, [*parameters, to_json(changed)]


def merged_stamps(
    connection: BaseDatabaseWrapper, names: Iterable[str], stamp: int
) -> tuple[str, list[Any]]:
    """Return SQL for a row's `removed` after fields were removed, and its parameters."""
    return dialect_of(connection).merged.format(column="removed"), [
        stamps_to_json(dict.fromkeys(names, stamp))
    ]


def stamps_to_json(stamps: Mapping[str, int]) -> str:
    """Return stamps, by field name, as a JSON object."""
    return json.dumps({_member(name): stamp for name, stamp in stamps.items()})


def stamps_from_json(text: Any) -> dict[str, int]:
    """Undo `stamps_to_json`. Raises `InvalidValue`."""
    try:
        members = json.loads(text) if isinstance(text, (str, bytes)) else text
        return {_name(member): int(stamp) for member, stamp in members.items()}
    except (ValueError, TypeError, AttributeError):
        raise InvalidValue("its row in the database is damaged") from None


def from_json(text: Any) -> dict[str, bytes]:
    """Undo `to_json`. Raises `InvalidValue`."""
    try:
        members = json.loads(text) if isinstance(text, (str, bytes)) else text
        return {_name(member): b64decode(value, validate=True) for member, value in members.items()}
    except (ValueError, TypeError, AttributeError):
        raise InvalidValue("its row in the database is damaged") from None


def sized_fields(
    connection: BaseDatabaseWrapper, wanted: Collection[str]
) -> tuple[str, Sequence[str]]:
    """Return SQL for the sizes of a row's values and the wanted values, and its parameters."""
    template = dialect_of(connection).sized
    if not template:
        return "fields", ()
    places = ", ".join(["%s"] * len(wanted))
    return template.format(wanted=places), [_member(name) for name in wanted]


def from_sized(text: Any) -> tuple[dict[str, bytes], dict[str, int]]:
    """Return the values and sizes, in bytes, of what `sized_fields` told. Raises `InvalidValue`."""
    try:
        members = json.loads(text) if isinstance(text, (str, bytes)) else text
        told = {name: size for name, size in members.items() if isinstance(size, int)}
        values = from_json({name: members[name] for name in members if name not in told})
        sizes = {_name(member): size for member, size in told.items()}
    except (ValueError, TypeError, AttributeError):
        raise InvalidValue("its row in the database is damaged") from None
    return values, sizes | {name: len(value) for name, value in values.items()}


def _member(name: str) -> str:
    """Return a field's name in the JSON object.

    Databases refuse NUL and lone surrogates there, and MariaDB finds neither an empty name nor one
    that begins with a hyphen.
    """
    if name and name.isprintable() and not name.startswith(("-", _ODD_NAME)):
        return name
    return _ODD_NAME + b64encode(name.encode("utf-8", "surrogatepass")).decode()


def _path(member: str) -> str:
    return f"$.{json.dumps(member, ensure_ascii=False)}"


def _name(member: str) -> str:
    if not member.startswith(_ODD_NAME):
        return member
    return b64decode(member.removeprefix(_ODD_NAME)).decode("utf-8", "surrogatepass")
