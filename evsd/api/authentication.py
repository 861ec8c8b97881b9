"""Who a request comes from: the kernel says it of a unix socket, a signature of TCP.

Whoever fails to prove it is on record (`failures`).
"""

from __future__ import annotations

from dataclasses import dataclass

from evsd.api.failures import FailedAuthentications, Failure
from evsd.errors import NotSigned, PublishedError
from evsd.iam import signature
from evsd.iam.principals import Directory, Principal
from evsd.kms.call import UNKNOWN, Call
from evsd.kms.client import KeyProcess


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What authentication may look at."""

    method: str
    path: bytes  # as received
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    peer_uid: int | None  # of a caller on the unix socket
    peer_is_server: bool  # it is one of evsd's own that serve volumes
    peer_address: str
    request_id: str


class Authenticator:
    """The gateway's `authenticate`; raises `NotSigned` for whoever is nobody."""

    def __init__(
        self, directory: Directory, keys: KeyProcess, failures: FailedAuthentications
    ) -> None:
        self._directory, self._keys, self._failures = directory, keys, failures

    async def __call__(self, request: SignedRequest) -> Principal:
        """The principal of one request."""
        try:
            return await self._authenticated(request)
        except PublishedError as error:
            await self._failures.note(_failure(request, error))
            raise

    async def _authenticated(self, request: SignedRequest) -> Principal:
        if request.peer_uid is None:
            return await self._signer(request)
        if request.peer_is_server:
            raise NotSigned(reason="the server of a volume may ask for nothing here")
        principal = self._directory.unix_user(request.peer_uid)
        if principal is None:
            raise NotSigned(reason=f"Unix user {request.peer_uid} is not known to evsd")
        return principal

    async def _signer(self, request: SignedRequest) -> Principal:
        signed = signature.read(
            request.method, request.path, request.query, request.headers, request.body
        )
        # The comparison is made where the secret is.
        anybody = Call(UNKNOWN, "", "", request.peer_address, request.request_id)
        signer = await self._keys.ask(
            "check_signature",
            anybody,
            access=signed.access,
            texts=signed.strings_to_sign,
            signature=signed.value,
            token=signed.security_token,
        )
        user_id, agency_id, source = signer["user_id"], signer["agency_id"], request.peer_address
        principal = (
            self._directory.agent(user_id, agency_id, source)
            if agency_id
            else self._directory.signer(user_id, source, temporary=signer["temporary"])
        )
        if principal is None:
            raise NotSigned(reason=f"the user of access key {signed.access} may not act any more")
        return principal


def _failure(request: SignedRequest, error: PublishedError) -> Failure:
    uid = request.peer_uid
    return Failure(
        source=request.peer_address if uid is None else f"uid:{uid}",
        request_id=request.request_id,
        request=f"{request.method} {request.path[:128].decode(errors='replace')}",
        access=signature.access_named(request.headers),
        error=error,
    )
