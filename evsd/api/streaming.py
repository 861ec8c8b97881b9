"""Bodies of any length, which a route reads in pieces while they come.

Who sends one is known before anything of it is read: a signature covers the hash that the request
claims, and `pieces` compares it when all is there. On the unix socket, and with credentials that
sign nothing, no hash is claimed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from evsd.api.router import STREAMED
from evsd.errors import BodyBrokenOff, BodyDiffers, BodyTooSlow

PIECE = 4 << 20
PIECE_TIMEOUT_S = 60


def streamed(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a route, `needs` among them, that reads its body itself."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    extra = {STREAMED: True, "requestBody": {"content": content, "required": True}}
    return {**options, "openapi_extra": {**options["openapi_extra"], **extra}}


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces of `PIECE`, the last one shorter.

    Raises `BodyBrokenOff`, `BodyTooSlow` where a piece does not come in time, `BodyDiffers`.
    """
    claimed, digest = request.headers.get("x-sdk-content-sha256"), hashlib.sha256()
    chunks, gathered = request.stream(), bytearray()
    while (chunk := await _next(chunks)) is not None:
        if claimed is not None:
            digest.update(chunk)
        gathered += chunk
        while len(gathered) >= PIECE:
            yield bytes(gathered[:PIECE])
            del gathered[:PIECE]
    if claimed not in (None, digest.hexdigest()):
        raise BodyDiffers()
    if gathered:
        yield bytes(gathered)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(PIECE_TIMEOUT_S):
            return await anext(chunks, None)
    except TimeoutError as error:
        raise BodyTooSlow(seconds=PIECE_TIMEOUT_S) from error
    except ClientDisconnect as error:
        raise BodyBrokenOff() from error
