"""Signs evsctl's requests over HTTP(S) with an access key from the environment."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Self

import httpx

from evsd import signature
from evsd.cli.errors import UsageProblem

SIGNED = ("host", "x-security-token", "x-project-id", "x-sdk-content-sha256")


class AccessKeyAuth(httpx.Auth):
    """SDK-HMAC-SHA256 with ``EVSD_ACCESS_KEY`` and ``EVSD_SECRET_KEY``.

    A temporary pair also takes ``EVSD_SECURITY_TOKEN``.
    """

    requires_request_body = True

    def __init__(self, access: str, secret: str, token: str | None) -> None:
        self._access, self._secret, self._token = access, secret, token

    @classmethod
    def from_environment(cls) -> Self:
        """The access key of this environment; raises `UsageProblem` without one."""
        try:
            return cls(
                os.environ["EVSD_ACCESS_KEY"],
                os.environ["EVSD_SECRET_KEY"],
                os.environ.get("EVSD_SECURITY_TOKEN"),
            )
        except KeyError as error:
            raise UsageProblem(
                f"set {error.args[0]}: `evsctl access-key create` on the unix socket prints a pair"
            ) from error

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        if self._token is not None:
            request.headers["X-Security-Token"] = self._token
        signed = {name: request.headers[name] for name in SIGNED if name in request.headers}
        request.headers.update(
            signature.headers_of(
                self._access,
                self._secret,
                request.method,
                request.url.raw_path.partition(b"?")[0],
                request.url.query.decode(),
                signed,
                self._body_of(request),
            )
        )
        yield request

    def _body_of(self, request: httpx.Request) -> bytes | None:
        return request.content


class StreamAuth(AccessKeyAuth):
    """The same for a body of which only the hash is known, in X-Sdk-Content-Sha256."""

    requires_request_body = False

    def _body_of(self, _request: httpx.Request) -> bytes | None:
        return None
