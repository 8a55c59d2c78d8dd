"""The field map: a session's data as the dict Django works with, saved field by field.

A value is decoded when it is first touched. At save, what was touched is serialised again and
compared with what was loaded, so that nested changes are found and untouched fields cost nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, NamedTuple, NoReturn, Self

from .codec import SessionCodec
from .exceptions import InvalidValue, SessionNotSerializable
from .serializers import Serializer

METADATA_PREFIX = "~"
MAX_FIELDS = 32_768
#: Said by whatever holds a session's values in clear.
NOT_FOR_PICKLES = (
    "A session cannot be pickled: the pickle would hold its values in clear, wherever it is kept. "
    "Use dict(session.items()), or only the values that are needed."
)


class Plain(dict[str, bytes]):
    """Serialised values by field name, which error reports do not show."""

    def __repr__(self) -> str:
        return f"<Plain: {len(self)} fields>"


class Changes(NamedTuple):
    """What a save has to send: serialised values by field name, and the names to remove.

    With `replace`, every field that is not in `changed` is to go, also those never loaded.
    """

    changed: Plain
    removed: tuple[str, ...]
    replace: bool

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed or self.replace)


class FieldMap(MutableMapping[Any, Any]):
    """A session's data. Keys behave as in Django's JSON sessions: saved as JSON's object names.

    `stored` holds the encoded values by field name; `rejected` is called with the field's name and
    the reason when one of them turns out to be forged; the map is empty by then.
    """

    __slots__ = (
        "_assigned",
        "_codec",
        "_plain",
        "_rejected",
        "_sealed",
        "_serializer",
        "_stored",
        "_values",
        "replace",
    )

    def __init__(
        self,
        serializer: Serializer,
        stored: dict[str, bytes] | None = None,
        *,
        codec: SessionCodec | None = None,
        rejected: Callable[[str, str], None] | None = None,
        replace: bool = False,
    ) -> None:
        """Build a map over `stored`; without it, over nothing."""
        self._serializer = serializer
        self._codec = codec
        self._rejected = rejected
        self._stored: dict[str, bytes] = stored or {}
        # Both hold the encoded values of the fields that nobody has touched yet.
        self._values: dict[Any, Any] = self._stored.copy()
        self._sealed: set[Any] = set(self._stored)
        self._plain = Plain()
        self._assigned: set[Any] = set()
        self.replace = replace

    def __repr__(self) -> str:
        return f"<FieldMap: {len(self)} fields>"

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __getitem__(self, key: Any) -> Any:
        return self._open(key) if key in self._sealed else self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._assigned.add(key)
        self._sealed.discard(key)

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        self._assigned.discard(key)
        self._sealed.discard(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self.items()) == dict(other.items())

    __hash__ = None  # type: ignore[assignment]

    def __or__(self, other: object) -> Any:
        return self.copy() | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> Any:
        return dict(other) | self.copy() if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    def __copy__(self) -> dict[Any, Any]:
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(NOT_FOR_PICKLES)

    def copy(self) -> dict[Any, Any]:
        """Return the data as a dict, which is of no store; decodes all values."""
        return dict(self.items())

    def get(self, key: Any, default: Any = None) -> Any:
        """Return a value, or the default where there is none."""
        # Django asks for many a field that no session has; an exception each time is dear.
        return super().get(key, default) if key in self._values else default

    def values(self) -> ValuesView[Any]:
        """Return a view of the values; decodes them all."""
        self._open_all()
        return self._values.values()

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs; decodes them all."""
        self._open_all()
        return self._values.items()

    def clear(self) -> None:
        """Remove every field."""
        self._values.clear()
        self._assigned.clear()
        self._sealed.clear()

    def is_untouched(self, key: Any) -> bool:
        """Tell whether a field is as it was loaded, without decoding it."""
        return key in self._sealed

    def size_after(self, changes: Changes) -> int:
        """Return the bytes, names included, of the stored fields that a save leaves as they are."""
        if changes.replace:
            return 0
        stored = self._stored
        size = name_size("".join(stored)) + sum(map(len, stored.values()))
        for name in (*changes.changed, *changes.removed):
            if name in stored:
                size -= name_size(name) + len(stored[name])
        return size

    def changes(self) -> Changes:
        """Compare with what was loaded. Raises `SessionNotSerializable`, which names the field."""
        changed = Plain()
        # Of two keys with one name, such as 1 and "1", JSON keeps the later.
        touched = {field_name(key): key for key in self._values if key not in self._sealed}
        for name, key in touched.items():
            self._collect_changed(key, name, changed)
        removed: tuple[str, ...] = ()
        if not self._stored.keys() <= self._values.keys():
            removed = tuple(self._stored.keys() - {field_name(key) for key in self._values})
        return Changes(changed, removed, self.replace)

    def serialized(self) -> Changes:
        """Serialise every field, changed or not, as a new session needs it.

        Raises `SessionNotSerializable`. A forged value empties the map, as when it is touched.
        """
        self._open_all()
        plain = Plain()
        for key in self._values:
            name = field_name(key)
            plain[name] = self._dumps(name, self._values[key])
        return Changes(plain, (), replace=True)

    def mark_saved(self, changes: Changes, encoded: Mapping[str, bytes]) -> None:
        """Take the fields just saved as what is stored from now on."""
        stored = {} if changes.replace else self._stored.copy()
        stored.update(encoded)
        for name in changes.removed:
            stored.pop(name, None)
            self._plain.pop(name, None)
        self._stored = stored
        self._plain.update(changes.changed)
        self._assigned.clear()
        self.replace = False

    def rebase(self, stored: dict[str, bytes], codec: SessionCodec) -> None:
        """Put this map's changes on top of what another request has stored meanwhile."""
        changes = self.changes()
        mine = {
            key: self._values[key] for key in self._values if field_name(key) in changes.changed
        }
        theirs = (
            {}
            if self.replace
            else {
                name: value
                for name, value in stored.items()
                if name not in changes.removed and name not in changes.changed
            }
        )
        self._codec = codec
        self._stored = stored
        self._plain = Plain()
        self._values = theirs | mine
        self._sealed = set(theirs)
        self._assigned = set(mine)

    def _open(self, name: str) -> Any:
        assert self._codec is not None
        try:
            data = self._plain[name] = self._codec.decode(name, self._values[name])
            value = self._values[name] = self._serializer.loads(data)
            self._sealed.remove(name)
            return value
        except InvalidValue as error:
            reason = str(error)
        except Exception as error:
            reason = _unreadable(error)
        # No variable of a frame that may raise holds a value: error reports show them all.
        data = b""
        self._reject(name, reason)
        raise KeyError(name)

    def _open_all(self) -> None:
        for name in tuple(self._sealed):
            self.get(name)

    def _reject(self, name: str, reason: str) -> None:
        # New objects, not cleared ones: a caller may be iterating over the old.
        self._values = {}
        self._sealed = set()
        self._assigned = set()
        self._stored = {}
        self._plain = Plain()
        if self._rejected is not None:
            self._rejected(name, reason)

    def _collect_changed(self, key: Any, name: str, changed: Plain) -> None:
        data = self._dumps(name, self._values[key])
        if key in self._assigned or self._differs(name, data):
            changed[name] = data

    def _differs(self, name: str, data: bytes) -> bool:
        before = self._plain.get(name)
        if before is None:
            return True
        # A serializer need not give back the very bytes it read; compare what it makes of them.
        return data != before and data != self._dumps(name, self._loads(before))

    def _dumps(self, name: str, value: Any) -> bytes:
        try:
            return self._serializer.dumps(value)
        except Exception as error:
            problem = _describe(error)
        value = None  # Error reports show the variables of every frame.
        raise SessionNotSerializable(
            f"Session field {name!r} cannot be serialised by SESSION_SERIALIZER: {problem}. "
            "Nothing was saved. Store something the serializer takes, or set SESSION_SERIALIZER "
            "to one that takes this."
        )

    def _loads(self, data: bytes) -> Any:
        try:
            return self._serializer.loads(data)
        except Exception as error:
            reason = _unreadable(error)
        data = b""
        raise InvalidValue(reason)


def field_name(key: Any) -> str:
    """Return the name under which a session key is saved, by JSON's rules for object names.

    Raises `SessionNotSerializable` for a key that JSON objects cannot have.
    """
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    raise SessionNotSerializable(
        f"Session keys must be str, int, float, bool or None, found {type(key).__name__}. "
        "Nothing was saved."
    )


def name_size(name: str) -> int:
    """Return the bytes that a field's name takes."""
    return len(name.encode("utf-8", "surrogatepass"))


def stored_name(name: str) -> bytes:
    """Return a field's name in the hash; no field of a user's can take the metadata's name."""
    escaped = METADATA_PREFIX + name if name.startswith(METADATA_PREFIX) else name
    return escaped.encode("utf-8", "surrogatepass")


def loaded_name(name: str) -> str:
    """Return the name of a user's field from the name in the hash."""
    return name.removeprefix(METADATA_PREFIX)


def _unreadable(error: Exception) -> str:
    return f"SESSION_SERIALIZER cannot read it ({type(error).__name__})"


def _describe(error: Exception) -> str:
    # The json module's TypeErrors name types only; other messages may show the value.
    if isinstance(error, TypeError) and "is not JSON serializable" in str(error):
        return str(error)
    return type(error).__name__
