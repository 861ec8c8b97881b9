"""What a JSON body must be before a route reads it: whoever sends another learns what to send."""

from __future__ import annotations

import json
from email.message import Message

from fastapi import Request

from evsd.api.errors import JSON_TYPE, Style

WANTED = f"send JSON, with {JSON_TYPE}"
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})


def check(request: Request, body: bytes, style: Style) -> None:
    """Raise the service's error for a malformed body unless this one can be read."""
    if body and (reason := _unreadable(request)):
        raise style.malformed(field="body", reason=f"{reason}; {WANTED}")
    if _has_half_a_character(body):
        raise style.malformed(field="body", reason="it holds half a character")


def _unreadable(request: Request) -> str:
    """Why, by its headers, it is no JSON; empty if it may be."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        return f"its Content-Encoding is {encoding[:64]!r}, and evsd unpacks none"
    given = request.headers.get("content-type")
    if given is None:
        return "it has no Content-Type"
    message = Message()
    message["content-type"] = given
    main, sub = message.get_content_maintype(), message.get_content_subtype()
    if main != "application" or not (sub == "json" or sub.endswith("+json")):
        return f"its Content-Type is {given[:64]!r}"
    charset = str(message.get_param("charset", "utf-8"))
    if charset.lower() not in CHARSETS:
        return f"its charset is {charset[:64]!r}, and JSON is UTF-8"
    return ""


def _has_half_a_character(body: bytes) -> bool:
    """JSON can write one ("\\\\ud800"), which no database or file can hold."""
    if b"\\ud" not in body.lower():
        return False
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False  # the route's own parser says it better
    return False
