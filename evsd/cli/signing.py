"""Signs evsctl's requests over HTTP(S) with an access key from the environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Self

import httpx

from evsd.cli.errors import UsageProblem
from evsd.iam import signature


class AccessKeyAuth(httpx.Auth):
    """SDK-HMAC-SHA256 with ``EVSD_ACCESS_KEY`` and ``EVSD_SECRET_KEY``."""

    requires_request_body = True

    def __init__(self, access: str, secret: str) -> None:
        self._access, self._secret = access, secret

    @classmethod
    def from_environment(cls) -> Self:
        """The access key of this environment; raises `UsageProblem` without one."""
        try:
            return cls(os.environ["EVSD_ACCESS_KEY"], os.environ["EVSD_SECRET_KEY"])
        except KeyError as error:
            raise UsageProblem(
                f"set {error.args[0]}: `evsctl access-key create` on the unix socket prints a pair"
            ) from error

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        request.headers["X-Sdk-Date"] = datetime.now(UTC).strftime(signature.DATE_FORMAT)
        signed = ["host", "x-sdk-date"]
        canonical = signature.canonical_request(
            request.method,
            request.url.path,
            request.url.query.decode(),
            request.headers,
            signed,
            hashlib.sha256(request.content).hexdigest(),
        )
        text = signature.string_to_sign(request.headers["X-Sdk-Date"], canonical)
        request.headers["Authorization"] = signature.authorization(
            self._access, signed, signature.sign(self._secret, text)
        )
        yield request
