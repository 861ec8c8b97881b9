"""What `evsd.json_text` writes is what `json.dumps` writes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evsd.json_text import dumps, writer
from tests.support.examples import REPEATABLE

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@REPEATABLE
@given(values)
def test_it_writes_what_json_writes(value: object) -> None:
    assert dumps(value) == json.dumps(value)
    sorted_keys = writer(sort_keys=True, separators=(",", ":"))
    assert sorted_keys(value) == json.dumps(value, sort_keys=True, separators=(",", ":"))


def test_it_refuses_what_json_has_not() -> None:
    with pytest.raises(TypeError, match="bytes"):
        dumps({"key": b"x"})
