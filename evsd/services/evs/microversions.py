"""Cinder's microversions: which one a request asks for, and what its answer says of that.

Nothing here depends on it. Clients choose what they ask for by what a server has, so it must have
what it answers: attachments are there from 3.27, their mode from 3.54. They are told the version
that they have asked for, as OpenStack's services do, and refused one that there isn't.
"""

from __future__ import annotations

import re

from fastapi import Request

from evsd.services.evs.errors import MicroversionInvalid, MicroversionUnknown

OLDEST, NEWEST = (3, 0), (3, 54)
HEADER = "OpenStack-API-Version"
_ONE = re.compile(r"volume +(?:(latest)|([1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3}))")


def in_words(version: tuple[int, int]) -> str:
    """As clients write it."""
    return f"{version[0]}.{version[1]}"


def headers(request: Request) -> dict[str, str]:
    """What an answer says; raises `MicroversionInvalid`, `MicroversionUnknown`."""
    if not request.url.path.startswith("/v3/"):
        return {}
    version = _wanted(request.headers.get(HEADER, ""))
    if not OLDEST <= version <= NEWEST:
        raise MicroversionUnknown(
            version=in_words(version), oldest=in_words(OLDEST), newest=in_words(NEWEST)
        )
    return {HEADER: f"volume {in_words(version)}", "Vary": HEADER}


def _wanted(text: str) -> tuple[int, int]:
    """Of several services, with commas between; whoever says nothing means the oldest."""
    for each in text.split(","):
        if not each.split() or each.split()[0] != "volume":
            continue
        match = _ONE.fullmatch(each.strip())
        if match is None:
            raise MicroversionInvalid(value=each.strip()[:64])
        return NEWEST if match[1] else (int(match[2]), int(match[3]))
    return OLDEST
