"""What goes over the channel arrives as it was sent, by its type."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import pytest

from evsd.key_channel.codec import codec_of, decode, encode


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True)
class Inner:
    sealed: bytes
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    count: int | None
    yes: bool
    colours: list[Colour]
    inner: Inner
    more: list[Inner]
    named: dict[str, bytes]
    context: dict[str, str] | str
    pairs: list[tuple[str, str]]
    missing: Inner | None = None


NOON = datetime(2026, 1, 1, 12, 0, 0, 5)
OUTER = Outer(
    name="é\ud83d",  # half a character too
    count=None,
    yes=True,
    colours=[Colour.RED],
    inner=Inner(b"\0\xff", NOON),
    more=[Inner(b"", None)],
    named={"key": b"k"},
    context={"a": "b"},
    pairs=[("a", "b")],
)
VALUES: list[tuple[Any, Any]] = [
    (Outer, OUTER),
    (bytes, b"\0\x01"),
    (bytes | None, None),
    (bytes | None, b"x"),
    (list[bytes], [b"x", b""]),
    (list[int] | None, [1]),
    (dict[str, str] | str, "text"),
    (datetime, NOON),
    (None.__class__, None),
]


@pytest.mark.parametrize(("hint", "value"), VALUES, ids=lambda given: str(given)[:20])
def test_a_value_arrives_as_it_was_sent(hint: Any, value: Any) -> None:
    arrived = decode(hint, json.loads(json.dumps(encode(hint, value))))
    assert arrived == value
    assert type(arrived) is type(value)


def test_what_is_in_a_value_arrives_with_its_type() -> None:
    arrived: Outer = decode(Outer, json.loads(json.dumps(encode(Outer, OUTER))))
    assert type(arrived.colours[0]) is Colour
    assert type(arrived.pairs[0]) is tuple


def test_what_json_has_itself_costs_nothing() -> None:
    for plain in (str, int | None, list[str], dict[str, list[str]], dict[str, str] | str):
        codec = codec_of(plain)
        assert (codec.encode, codec.decode) == (None, None)


@pytest.mark.parametrize("hint", [object, float, set[str], dict[int, str], bytes | datetime])
def test_a_type_that_does_not_arrive_as_it_was_is_refused(hint: Any) -> None:
    with pytest.raises(TypeError):
        codec_of(hint)
