"""What evsd can ask of evsd-keys: each operation is a class, and a request is one object of it.

    @dataclass(frozen=True, slots=True)
    class CreateKey(Request[KeyDetails]):
        alias: str

declares, where both processes see it, that there is an operation ``create-key``, what it is told
and what it answers. evsd-keys says by whom it is carried out:

    @CreateKey.handler
    def create_key(self, call: Call, request: CreateKey) -> KeyDetails: ...

and ``keys.call(call, CreateKey("one"))`` in evsd is a `KeyDetails`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Generic, Protocol, Self, TypeVar

from evsd.key_channel.call import Call
from evsd.key_channel.codec import codec_of, decode, encode

Answer = TypeVar("Answer")
Owner = TypeVar("Owner")
Wire = dict[str, Any]  # what JSON makes of the fields of a request


@dataclass(frozen=True, slots=True)
class Request(Generic[Answer]):
    """Base of all requests; `Answer` is what is answered to one."""

    @classmethod
    def handler(
        cls, method: Callable[[Owner, Call, Self], Answer]
    ) -> Callable[[Owner, Call, Self], Answer]:
        """Mark a method as what carries these requests out."""
        method.handles = cls  # type: ignore[attr-defined]
        return method


class Ask(Protocol):
    """Asks evsd-keys, and raises what it refuses with."""

    def __call__(self, call: Call, request: Request[Answer], /) -> Answer:
        """The answer."""


def name_of(kind: type[Request[Any]]) -> str:
    """The operation's name, on the channel and in the audit log: create-key."""
    return _hyphened(kind.__name__)


@cache
def _hyphened(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def answer_of(kind: type[Request[Any]]) -> Any:
    """The type of what is answered."""
    (base,) = kind.__orig_bases__  # type: ignore[attr-defined]
    return base.__args__[0]


def declared(module: ModuleType) -> dict[str, type[Request[Any]]]:
    """The operations that a module declares, by name."""
    found = [each for each in vars(module).values() if isinstance(each, type)]
    return {
        name_of(kind): kind for kind in found if issubclass(kind, Request) and kind is not Request
    }


class Operation:
    """What evsd-keys does for requests of one class, as they come over the channel."""

    def __init__(self, kind: type[Request[Answer]], handler: Callable[[Call, Any], Answer]) -> None:
        self.kind, self.handler = kind, handler
        hints: list[Any] = [kind, answer_of(kind)]
        for hint in hints:
            codec_of(hint)  # that it can't be sent is found out at start
        self._asked, self._answered = hints

    def __call__(self, call: Call, params: Wire) -> Any:
        """Carry out a request and return its answer, both as JSON has them."""
        return encode(self._answered, self.handler(call, decode(self._asked, params)))


def operations_of(*handlers: object) -> dict[str, Operation]:
    """The operations that these objects carry out, by name."""
    found: dict[str, Operation] = {}
    for each in handlers:
        for attribute in dir(type(each)):
            kind = getattr(getattr(type(each), attribute), "handles", None)
            if kind is not None:
                name = name_of(kind)
                assert name not in found, f"two handlers of {name}"  # noqa: S101
                found[name] = Operation(kind, getattr(each, attribute))
    return found
