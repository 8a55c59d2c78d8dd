"""Django's JSON serialiser, without an encoder made for each call.

Sessions are serialised value by value, so the set-up of `json.dumps` and `json.loads` would cost
more than the work. The bytes are the same as Django's.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from django.contrib.sessions.serializers import JSONSerializer

_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


class Serializer(Protocol):
    """What `SESSION_SERIALIZER` names: bytes from an object and back."""

    def dumps(self, obj: Any) -> bytes:
        """Serialise."""

    def loads(self, data: bytes) -> Any:
        """Deserialise."""


class CompactJSON:
    """`django.contrib.sessions.serializers.JSONSerializer`, byte for byte."""

    def dumps(self, obj: Any) -> bytes:
        """Serialise. Raises what `json.dumps` raises."""
        # The encoder is quick with texts alone; for all else it sets itself up anew.
        text = int.__repr__(obj) if type(obj) is int else _encode(obj)
        return text.encode("latin-1")

    def loads(self, data: bytes) -> Any:
        """Deserialise what `dumps` made. Raises `ValueError` for anything else."""
        text = data.decode("latin-1")
        value, end = _decode(text)
        if end != len(text):
            raise ValueError("data after the end of the JSON text")
        return value


_compact_json = CompactJSON()


def make_serializer(serializer_class: type[Any]) -> Serializer:
    """Return an object of the class, or its equal."""
    return _compact_json if serializer_class is JSONSerializer else serializer_class()
