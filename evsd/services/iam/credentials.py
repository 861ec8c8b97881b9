"""What OpenStack's clients show instead of a signature: HTTP Basic, or a token of evsd's.

``Authorization: Basic <base64 of AK:SK>`` has an access key with its secret; ``X-Auth-Token`` a
token of ``evsctl token create``. Both are secrets that whoever reads the connection could use
again, which a signature is not: they are taken by TLS, from this host, and on the unix socket, as a
proxy hands them on. What doesn't look as it must is never named: it may be a secret in another's
place.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from evsd.errors import CallerUnknown
from evsd.services.iam.operations import CheckSecret, CheckToken

Headers = Sequence[tuple[bytes, bytes]]

AUTHORIZATION, TOKEN, SECURITY_TOKEN = b"authorization", b"x-auth-token", b"x-security-token"
_ACCESS = re.compile(r"[A-Z0-9]{20}")
_TOKEN = re.compile(r"([A-Z0-9]{20})\.[A-Za-z0-9_-]{43}")


def read(headers: Headers) -> CheckSecret | CheckToken | None:
    """What is to be checked; None where neither was sent. Raises `CallerUnknown` for what is none.

    A signature, or whatever else is in Authorization, counts before a token.
    """
    authorization, token = _one(headers, AUTHORIZATION), _one(headers, TOKEN)
    if authorization is not None:
        scheme, _, given = authorization.strip().partition(b" ")
        if scheme.lower() != b"basic":
            return None
        return _pair(given.strip(), _one(headers, SECURITY_TOKEN))
    return None if token is None else _token(token.decode("latin-1"))


def named(headers: Headers) -> str:
    """The access key or token that a request names, however false; empty where there is none."""
    try:
        asked = read(headers)
    except CallerUnknown:
        return ""
    return "" if asked is None else asked.name


def _one(headers: Headers, wanted: bytes) -> bytes | None:
    found = [value for name, value in headers if name.lower() == wanted]
    if len(found) > 1:
        raise CallerUnknown(reason=f"there is more than one {wanted.decode().title()} header")
    return found[0] if found else None


def _pair(encoded: bytes, security_token: bytes | None) -> CheckSecret:
    try:
        access, separator, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CallerUnknown(reason="HTTP Basic holds no base64 of ACCESS_KEY:SECRET_KEY") from error
    if not separator or not _ACCESS.fullmatch(access):
        raise CallerUnknown(reason="the user name of HTTP Basic is no access key")
    token = None if security_token is None else security_token.decode("latin-1")
    return CheckSecret(access=access, secret=secret, token=token)


def _token(text: str) -> CheckToken:
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise CallerUnknown(
            reason="the request has a token in X-Auth-Token, which is none of evsd's"
        )
    return CheckToken(id=match[1], token=text)
