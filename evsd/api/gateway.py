"""The door: a request id, a limit to the body, and the caller's identity, for every request."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from starlette.types import Message, Receive, Scope, Send

import evsd
from evsd.api.claim import Claim
from evsd.api.errors import gateway_response
from evsd.errors import BodyTooLong, BodyTooSlow, InternalError, PublishedError
from evsd.principal import Principal

BODY_LIMIT = 512 * 1024
HEADER_LIMIT = 2 * 1024 * 1024  # of a volume: 1 MiB in base64
BODY_TIMEOUT_S = 30

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What authentication may look at."""

    method: str
    path: bytes  # as received
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | None  # None of one that is not read yet, see `streaming`
    peer_uid: int | None  # of a caller on the unix socket
    peer_is_server: bool  # it is one of evsd's own that serve volumes
    peer_address: str
    by_tls: bool
    request_id: str

    @property
    def is_confidential(self) -> bool:
        """Whether nobody on the way can have read it: it came by TLS, or from this host."""
        return self.peer_uid is not None or self.by_tls or _is_loopback(self.peer_address)


class Gatekeeper(Protocol):
    """Knows callers and what is theirs."""

    async def __call__(self, request: SignedRequest) -> Principal:
        """Who a request is from; raises `CallerUnknown` for whoever is nobody."""

    async def presume(self, request: SignedRequest) -> tuple[Principal, Claim] | None:
        """Who a request is from if its signature is right, which is not known yet.

        None where that can't be told, or the caller is known without; raises `CallerUnknown` for
        whoever is nobody in any case.
        """
        del request
        return None

    def is_claimed(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request says that it is signed, truly or not."""

    def has_project(self, principal: Principal, project_id: str) -> bool:
        """Whether the project is one of the caller's domain."""

    def default_project(self, principal: Principal) -> str:
        """The id of the project that who names none works in."""


class Behind(Protocol):
    """What is behind the gateway: all routes."""

    def takes_claims(self, scope: Scope) -> bool:
        """Whether a request may come in before its caller is known, see `Claim`."""

    def reads_itself(self, scope: Scope) -> bool:
        """Whether a request's body is for its route to read, see `streaming`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; of a caller whose claim is false by saying so."""


class Gateway:
    """In front of every route."""

    def __init__(self, app: Behind, gatekeeper: Gatekeeper, open_paths: frozenset[str]) -> None:
        """Whoever only reads one of `open_paths` need not sign; a false signature is none."""
        self._app, self._gatekeeper, self._open_paths = app, gatekeeper, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer it here."""
        if scope["type"] != "http":  # nothing here is a websocket
            return
        request_id, started = os.urandom(16).hex(), time.monotonic()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        scope["state"]["request_id"] = request_id
        respond = _Responder(send, scope["state"])
        try:
            await self._let_in(scope, receive, respond)
        finally:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=respond.status,
                ms=round((time.monotonic() - started) * 1000, 1),
            )
            structlog.contextvars.clear_contextvars()

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope["state"]["request_id"]
        streamed = self._app.reads_itself(scope)
        try:
            body = None if streamed else await _read_body_in_time(receive, _limit(scope))
            scope["state"]["body"] = body or b""
            if not self._is_open(scope):
                await self._learn_caller(scope, _signed(scope, body))
        except PublishedError as error:
            await refuse(error, scope, receive, send)
        except Exception:
            log.exception("authentication failed")
            await refuse(InternalError(request_id=request_id), scope, receive, send)
        else:
            await self._app(scope, receive if body is None else _replay(body, receive), send)

    async def _learn_caller(self, scope: Scope, request: SignedRequest) -> None:
        state = scope["state"]
        if self._app.takes_claims(scope):
            presumed = await self._gatekeeper.presume(request)
            if presumed is not None:
                state["principal"], state["claim"] = presumed
                return
        state["principal"] = await self._gatekeeper(request)

    def _is_open(self, scope: Scope) -> bool:
        reads = scope["method"] == "GET" and scope["path"] in self._open_paths
        return reads and not self._gatekeeper.is_claimed(scope["headers"])


class _Responder:
    """Adds to the answer's headers what all have and its service's own; remembers its status."""

    def __init__(self, send: Send, state: dict[str, Any]) -> None:
        self._send, self._state = send, state
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [(b"x-request-id", self._state["request_id"].encode())]
            if "principal" in self._state:  # strangers are not told
                headers.append((b"x-evsd-version", evsd.__version__.encode()))
            said: dict[str, str] = self._state.get("headers", {})
            headers += [(name.lower().encode(), value.encode()) for name, value in said.items()]
            message["headers"] = [*message.get("headers", []), *headers]
        await self._send(message)


async def refuse(error: PublishedError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request of which no service has heard."""
    await gateway_response(error, scope)(scope, receive, send)


def _limit(scope: Scope) -> int:
    return HEADER_LIMIT if scope["path"].endswith("/header") else BODY_LIMIT


async def _read_body_in_time(receive: Receive, limit: int) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read_body(receive, limit)
    except TimeoutError as error:
        raise BodyTooSlow(seconds=BODY_TIMEOUT_S) from error


async def _read_body(receive: Receive, limit: int) -> bytes:
    chunks, length = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if length > limit:
            raise BodyTooLong(limit=limit)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _signed(scope: Scope, body: bytes | None) -> SignedRequest:
    state: dict[str, Any] = scope["state"]
    return SignedRequest(
        method=scope["method"],
        path=scope.get("raw_path") or scope["path"].encode(),
        query=scope["query_string"],
        headers=scope["headers"],
        body=body,
        peer_uid=state.get("peer_uid"),
        peer_is_server=state.get("peer_is_server", False),
        peer_address=scope["client"][0] if scope.get("client") else "",
        by_tls=scope["scheme"] == "https",
        request_id=state["request_id"],
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
