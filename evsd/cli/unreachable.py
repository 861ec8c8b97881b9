"""Why evsd can't be reached, and what to do about it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

from evsd.cli.errors import Unreachable
from evsd.cli.http import NoAnswer

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH, _IP_ADDRESS_...
NOT_YET_VALID, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64


def unreachable(endpoint: str, error: NoAnswer) -> Unreachable:
    """What to say of a request that got no answer."""
    cause: BaseException = next((c for c in _causes(error) if isinstance(c, OSError)), error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = f"the certificate of {endpoint} is not good: {cause.verify_message}"
        return Unreachable(message, _of_certificate(cause.verify_code))
    reason = cause.reason if isinstance(cause, ssl.SSLError) and cause.reason else str(error)
    return Unreachable(
        f"evsd can't be reached at {endpoint}: {reason}", _remedy(endpoint, error, cause)
    )


def _of_certificate(code: int) -> str:
    if code == EXPIRED:
        return "have evsd's certificate renewed, [tls] in its settings (and look at this clock)"
    if code == NOT_YET_VALID:
        return "look at the clocks of this host and of evsd's"
    if code in (OTHER_NAME, OTHER_ADDRESS):
        return (
            "EVSD_ENDPOINT must have a name or address that the certificate has, "
            "or evsd needs a certificate with this one"
        )
    file = os.environ.get("EVSD_CA")
    which = f"EVSD_CA={file} is of another authority; " if file else ""
    return f"{which}set EVSD_CA to the file of the authority (CA) that has signed it"


def _remedy(endpoint: str, error: NoAnswer, cause: BaseException) -> str:
    scheme, _, rest = endpoint.partition("://")
    if isinstance(cause, ssl.SSLError):
        return f"if it speaks HTTP in clear there: EVSD_ENDPOINT=http://{rest}"
    if scheme == "http" and error.garbled:
        return f"if it speaks TLS there: EVSD_ENDPOINT=https://{rest}"
    if isinstance(cause, PermissionError):
        return "who may pass through the directories above the socket? evsd's own has mode 0711"
    return "is it running?"


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
