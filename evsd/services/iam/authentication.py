"""Who a request comes from: the kernel says it of a unix socket, a signature of TCP.

HTTP Basic and tokens (`credentials`) say it of either: on the unix socket they are what a proxy
hands on, whose own user the kernel would name. Whoever fails to prove it is on record (`failures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evsd import signature
from evsd.api.claim import Claim
from evsd.api.gateway import Gatekeeper, SignedRequest
from evsd.errors import CallerUnknown, PublishedError
from evsd.key_channel.call import UNKNOWN, Call
from evsd.key_client.messages import First
from evsd.key_client.process import KeyProcess
from evsd.principal import Principal
from evsd.services.iam import credentials
from evsd.services.iam.failures import FailedAuthentications, Failure
from evsd.services.iam.operations import CheckSecret, CheckSignature, CheckToken, Proof, Signer
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
        if request.peer_is_server:
            raise CallerUnknown(reason="the server of a volume may ask for nothing here")
        shown = _shown(request)
        if request.peer_uid is None or shown is not None:
            return await self._signer(request, shown or _signed(request))
        principal = self._directory.unix_user(request.peer_uid)
        if principal is None:
            raise CallerUnknown(reason=f"Unix user {request.peer_uid} is not known to evsd")
        return principal

    async def presume(self, request: SignedRequest) -> tuple[Principal, Claim] | None:
        """Who signed a request, if the signature is right, and what will tell: see `Claim`."""
        if request.peer_uid is not None:
            return None
        try:
            if _shown(request) is not None:
                return None
            asked = _signed(request)
        except PublishedError as error:
            await self._failures.note(_failure(request, error))
            raise
        signer = self._known.get(asked.access)
        principal = None if signer is None else self._principal(signer, asked, request)
        if principal is None:
            return None

        async def refused(error: PublishedError) -> None:
            self._known.pop(asked.access, None)
            await self._failures.note(_failure(request, error))

        return principal, Claim(self._keys, First(_anybody(request), asked, signer), refused)

    async def _signer(self, request: SignedRequest, asked: Proof) -> Principal:
        # The comparison is made where the secret is.
        signer = await self._keys.ask(_anybody(request), asked)
        principal = self._principal(signer, asked, request)
        if principal is None:
            raise CallerUnknown(reason=f"the user of {asked.what} {asked.name} may act no more")
        if isinstance(asked, CheckSignature):
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[asked.access] = signer
        return principal

    def _principal(self, signer: Signer, asked: Proof, request: SignedRequest) -> Principal | None:
        source = _source(request)
        if signer.agency_id:
            return self._directory.agent(signer.user_id, signer.agency_id, source)
        found = self._directory.signer(signer.user_id, source, temporary=signer.temporary)
        if found is None or isinstance(asked, CheckToken):
            return found
        return replace(found, access=asked.access)


def _shown(request: SignedRequest) -> CheckSecret | CheckToken | None:
    """The secret that a request shows, if it does; raises `CallerUnknown` where it must not."""
    shown = credentials.read(request.headers)
    if shown is not None and not request.is_confidential:
        raise CallerUnknown(
            reason=f"a secret of {shown.what} {shown.name} came in clear from "
            f"{request.peer_address}: who can read that can use it, so replace it, and use https"
        )
    return shown


def _signed(request: SignedRequest) -> CheckSignature:
    """The signature that evsd-keys is to check; raises `CallerUnknown` where there is none."""
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
    return Call(UNKNOWN, "", "", _source(request), request.request_id)


def _source(request: SignedRequest) -> str:
    uid = request.peer_uid
    return request.peer_address if uid is None else f"uid:{uid}"


def _failure(request: SignedRequest, error: PublishedError) -> Failure:
    return Failure(
        source=_source(request),
        request_id=request.request_id,
        request=f"{request.method} {request.path[:128].decode(errors='replace')}",
        access=signature.access_named(request.headers) or credentials.named(request.headers),
        error=error,
    )
