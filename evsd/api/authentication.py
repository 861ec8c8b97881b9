"""Who a request comes from: the kernel says it of a unix socket, a signature of TCP."""

from __future__ import annotations

from dataclasses import dataclass

from evsd.errors import NotSigned
from evsd.iam import signature
from evsd.iam.principals import Principal, UnixUsers
from evsd.kms.call import Call
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
    peer_address: str
    request_id: str


class Authenticator:
    """The gateway's `authenticate`; raises `NotSigned` for whoever is nobody."""

    def __init__(self, users: UnixUsers, keys: KeyProcess) -> None:
        self._users, self._keys = users, keys

    def __call__(self, request: SignedRequest) -> Principal:
        """The principal of one request."""
        if request.peer_uid is None:
            return self._signer(request)
        principal = self._users.principal(request.peer_uid)
        if principal is None:
            raise NotSigned(reason=f"Unix user {request.peer_uid} is not known to evsd")
        return principal

    def _signer(self, request: SignedRequest) -> Principal:
        signed = signature.read(
            request.method, request.path, request.query, request.headers, request.body
        )
        # The comparison is made where the secret is.
        anybody = Call("unknown", "", "", request.peer_address, request.request_id)
        user = self._keys.call(
            "check_signature",
            anybody,
            access=signed.access,
            text=signed.string_to_sign,
            signature=signed.value,
        )
        principal = self._users.named(user["user_name"], request.peer_address)
        if principal is None or principal.domain_id != user["domain_id"]:
            raise NotSigned(reason=f"user {user['user_name']} is not known to evsd any more")
        return principal
