"""How a value goes over the channel: as JSON, by its type.

Both ends know the type, so nothing of it is sent. What a type's values become is found out once,
when it is first used; what JSON has by itself then costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

Way = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """The ways of a type's values to JSON and back; None where they are the same there."""

    encode: Way | None = None
    decode: Way | None = None


PLAIN = Codec()
_SIMPLE: dict[object, Codec] = {
    str: PLAIN,
    int: PLAIN,
    bool: PLAIN,
    NoneType: PLAIN,
    bytes: Codec(bytes.hex, bytes.fromhex),
    datetime: Codec(datetime.isoformat, datetime.fromisoformat),
}


@cache
def codec_of(hint: Any) -> Codec:
    """The codec of a type as it is annotated; raises TypeError for what can't be sent."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if is_dataclass(hint):
        return _of_dataclass(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Codec(None, hint)
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _of_union(hint, of)
    if origin is list:
        return _of_list(codec_of(of[0]))
    if origin is dict and of[0] is str:
        return _of_dict(codec_of(of[1]))
    if origin is tuple and all(codec_of(each) is PLAIN for each in of):
        return Codec(None, tuple)
    raise TypeError(f"{hint} can't be sent")


def encode(hint: Any, value: Any) -> Any:
    """A value of this type as JSON has it."""
    way = codec_of(hint).encode
    return value if way is None else way(value)


def decode(hint: Any, wire: Any) -> Any:
    """The way back."""
    way = codec_of(hint).decode
    return wire if way is None else way(wire)


def _of_dataclass(kind: Any) -> Codec:
    """An object with a member for each field."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    codecs = {name: codec_of(hints[name]) for name in names}
    there = [(name, codec.encode) for name, codec in codecs.items() if codec.encode]
    back = [(name, codec.decode) for name, codec in codecs.items() if codec.decode]

    def encoded(value: Any) -> dict[str, Any]:
        wire = {name: getattr(value, name) for name in names}
        for name, way in there:
            wire[name] = way(wire[name])
        return wire

    def decoded(wire: dict[str, Any]) -> Any:
        return kind(**wire | {name: way(wire[name]) for name, way in back})

    return Codec(encoded, decoded if back else lambda wire: kind(**wire))


def _of_union(hint: object, members: tuple[Any, ...]) -> Codec:
    """One of several types that JSON tells apart, or one type or None."""
    codecs = [codec_of(each) for each in members if each is not NoneType]
    if all(codec is PLAIN for codec in codecs):
        return PLAIN
    if len(codecs) > 1:
        raise TypeError(f"{hint} can't be told apart where it arrives")
    return _through(codecs[0], lambda way: lambda value: None if value is None else way(value))


def _of_list(of: Codec) -> Codec:
    return _through(of, lambda way: lambda values: [way(value) for value in values])


def _of_dict(of: Codec) -> Codec:
    return _through(
        of, lambda way: lambda values: {name: way(value) for name, value in values.items()}
    )


def _through(of: Codec, spread: Callable[[Way], Way]) -> Codec:
    """What holds values of another type: their ways, spread over all of them."""
    if of is PLAIN:
        return PLAIN
    return Codec(of.encode and spread(of.encode), of.decode and spread(of.decode))
