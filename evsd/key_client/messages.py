"""Requests and answers as they go over a channel: a JSON line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evsd.errors import from_wire
from evsd.json_text import dumps
from evsd.key_channel.call import Call
from evsd.key_channel.codec import decode, encode
from evsd.key_channel.operation import Answer, Request, answer_of, name_of

Reply = dict[str, Any]  # a line of evsd-keys, parsed


@dataclass(slots=True)
class First:
    """Goes with a request that is carried out only if this one is answered as expected."""

    call: Call
    request: Request[Any]
    expected: Any
    passed: bool = False  # once evsd-keys has said so


def encode_request(
    number: int, call: Call, request: Request[Any], first: First | None = None
) -> bytes:
    """A request as it goes over a channel; its reply has the same number."""
    wire: dict[str, Any] = {"id": number, **_encoded(call, request)}
    if first is not None:
        expected = encode(answer_of(type(first.request)), first.expected)
        wire["first"] = {**_encoded(first.call, first.request), "expected": expected}
    return dumps(wire).encode() + b"\n"


def _encoded(call: Call, request: Request[Any]) -> dict[str, Any]:
    kind = type(request)
    return {"operation": name_of(kind), "call": call.as_wire(), "params": encode(kind, request)}


def answer_in(reply: Reply, request: Request[Answer], first: First | None = None) -> Answer:
    """What a request was answered; raises the published error it was refused with."""
    if first is not None:
        first.passed = reply.get("first", False)
    if "error" in reply:
        raise from_wire(reply["error"])
    answer: Answer = decode(answer_of(type(request)), reply["result"])
    return answer
