"""Requests and answers as they go over a channel: a JSON line each."""

from __future__ import annotations

import json
from typing import Any

from evsd.errors import from_wire
from evsd.key_channel.call import Call
from evsd.key_channel.codec import decode, encode
from evsd.key_channel.operation import Answer, Request, answer_of, name_of

Reply = dict[str, Any]  # a line of evsd-keys, parsed


def encode_request(number: int, call: Call, request: Request[Any]) -> bytes:
    """A request as it goes over a channel; its reply has the same number."""
    kind = type(request)
    wire = {
        "id": number,
        "operation": name_of(kind),
        "call": call.as_wire(),
        "params": encode(kind, request),
    }
    return json.dumps(wire).encode() + b"\n"


def answer_in(reply: Reply, request: Request[Answer]) -> Answer:
    """What a request was answered; raises the published error it was refused with."""
    if "error" in reply:
        raise from_wire(reply["error"])
    answer: Answer = decode(answer_of(type(request)), reply["result"])
    return answer
