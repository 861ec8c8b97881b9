"""Who a request comes from: the kernel says it of a unix socket, a signature of TCP.

Whoever fails to prove it is on record (`failures`).
"""

from __future__ import annotations

from collections.abc import Sequence

from evsd import signature
from evsd.api.claim import Claim
from evsd.api.gateway import Gatekeeper, SignedRequest
from evsd.errors import CallerUnknown, PublishedError
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_client.messages import First
from evsd.key_client.process import KeyProcess
from evsd.principal import Principal
from evsd.services.iam.failures import FailedAuthentications, Failure
from evsd.services.iam.operations import CheckSignature, Signer
from evsd.services.iam.principals import Directory

MOST_KNOWN = 10_000


class Authenticator(Gatekeeper):
    """The gateway's gatekeeper."""

    def __init__(
        self, directory: Directory, keys: KeyProcess, failures: FailedAuthentications
    ) -> None:
        self._directory, self._keys, self._failures = directory, keys, failures
        # Who access keys are of, which never changes; whether they may be used does.
        self._known: dict[str, Signer] = {}

    async def __call__(self, request: SignedRequest) -> Principal:
        """The principal of one request."""
        try:
            return await self._authenticated(request)
        except PublishedError as error:
            await self._failures.note(_failure(request, error))
            raise

    def is_claimed(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request says that it is signed, truly or not."""
        return signature.is_claimed(headers)

    def has_project(self, principal: Principal, project_id: str) -> bool:
        """Whether the project is one of the caller's domain."""
        return self._directory.has_project(principal, project_id)

    def default_project(self, principal: Principal) -> str:
        """The id of the project that who names none works in."""
        return self._directory.default_project(principal)

    async def _authenticated(self, request: SignedRequest) -> Principal:
        if request.peer_uid is None:
            return await self._signer(request)
        if request.peer_is_server:
            raise CallerUnknown(reason="the server of a volume may ask for nothing here")
        principal = self._directory.unix_user(request.peer_uid)
        if principal is None:
            raise CallerUnknown(reason=f"Unix user {request.peer_uid} is not known to evsd")
        return principal

    async def presume(self, request: SignedRequest) -> tuple[Principal, Claim] | None:
        """Who signed a request, if the signature is right, and what will tell: see `Claim`."""
        if request.peer_uid is not None:
            return None
        try:
            asked = _question(request)
        except PublishedError as error:
            await self._failures.note(_failure(request, error))
            raise
        signer = self._known.get(asked.access)
        principal = None if signer is None else self._principal(signer, request)
        if principal is None:
            return None

        async def refused(error: PublishedError) -> None:
            self._known.pop(asked.access, None)
            await self._failures.note(_failure(request, error))

        return principal, Claim(self._keys, First(_anybody(request), asked, signer), refused)

    async def _signer(self, request: SignedRequest) -> Principal:
        asked = _question(request)
        # The comparison is made where the secret is.
        signer = await self._keys.ask(_anybody(request), asked)
        principal = self._principal(signer, request)
        if principal is None:
            raise CallerUnknown(
                reason=f"the user of access key {asked.access} may not act any more"
            )
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[asked.access] = signer
        return principal

    def _principal(self, signer: Signer, request: SignedRequest) -> Principal | None:
        source = request.peer_address
        if signer.agency_id:
            return self._directory.agent(signer.user_id, signer.agency_id, source)
        return self._directory.signer(signer.user_id, source, temporary=signer.temporary)


def _question(request: SignedRequest) -> CheckSignature:
    """What evsd-keys is to be asked; raises `CallerUnknown` where that is no question."""
    signed = signature.read(
        request.method, request.path, request.query, request.headers, request.body
    )
    return CheckSignature(
        access=signed.access,
        texts=signed.strings_to_sign,
        signature=signed.value,
        token=signed.security_token,
    )


def _anybody(request: SignedRequest) -> Call:
    return Call(UNKNOWN, "", "", request.peer_address, request.request_id)


def _failure(request: SignedRequest, error: PublishedError) -> Failure:
    uid = request.peer_uid
    return Failure(
        source=request.peer_address if uid is None else f"uid:{uid}",
        request_id=request.request_id,
        request=f"{request.method} {request.path[:128].decode(errors='replace')}",
        access=signature.access_named(request.headers),
        error=error,
    )
