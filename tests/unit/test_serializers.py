"""The JSON serialiser against Django's."""

from __future__ import annotations

from enum import IntEnum

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from django_elasticache_sessions.serializers import CompactJSON

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


class Size(IntEnum):
    LARGE = 3


@given(values)
def test_the_bytes_are_those_of_djangos_serialiser(value):
    assert CompactJSON().dumps(value) == JSONSerializer().dumps(value)


@pytest.mark.parametrize("value", [True, Size.LARGE, -(10**30), 0])
def test_what_resembles_a_number_is_serialised_as_django_does(value):
    assert CompactJSON().dumps(value) == JSONSerializer().dumps(value)
