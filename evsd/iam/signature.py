"""SDK-HMAC-SHA256, the published request signature: what both ends compute.

``Authorization: SDK-HMAC-SHA256 Access=<AK>, SignedHeaders=<a;b;c>, Signature=<64 hex>`` with

    signature        = HMAC-SHA256(SK, string to sign)
    string to sign   = "SDK-HMAC-SHA256" LF X-Sdk-Date LF SHA-256(canonical request)
    canonical request = method LF URI LF query LF headers LF LF signed headers LF SHA-256(body)

The URI is decoded, encoded anew part by part and ends with a slash; the query is taken as it was
received, because clients sort repeated numbers in their own way.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from evsd.errors import NotSigned

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
WINDOW = timedelta(minutes=15)
# Without these under the signature it could be replayed elsewhere, or for another project.
ALWAYS_SIGNED = frozenset({"host", "x-sdk-date"})
SIGNED_IF_PRESENT = frozenset(
    {"x-security-token", "x-project-id", "x-domain-id", "x-sdk-content-sha256"}
)
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=([A-Za-z0-9]{{1,64}}), ?SignedHeaders=([a-z0-9;-]+), "
    r"?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as received, in date and over all it must cover, but not compared yet."""

    access: str
    string_to_sign: str
    value: str


def read(
    method: str, path: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> Signature:
    """The signature of a received request; raises `NotSigned` for one that can't count."""
    # Values are UTF-8 on the wire, whatever HTTP says.
    names_received = [name.decode("latin-1").lower() for name, _ in headers]
    values = dict(zip(names_received, (_text(value) for _, value in headers), strict=True))
    match = _AUTHORIZATION.fullmatch(values.get("authorization", ""))
    if match is None:
        raise NotSigned(reason="the request has no SDK-HMAC-SHA256 signature")
    access, names, value = match[1], match[2].split(";"), match[3]
    must_be_signed = ALWAYS_SIGNED | (SIGNED_IF_PRESENT & set(values))
    if uncovered := must_be_signed - set(names):
        raise NotSigned(reason=f"the signature does not cover {', '.join(sorted(uncovered))}")
    if wrong := [name for name in names if names_received.count(name) != 1]:
        raise NotSigned(reason=f"signed header {wrong[0]} must be there exactly once")
    _check_date(values["x-sdk-date"])
    digest = _payload_digest(values, body)
    canonical = canonical_request(
        method, path.decode("latin-1"), query.decode("latin-1"), values, names, digest
    )
    return Signature(access, string_to_sign(values["x-sdk-date"], canonical), value)


def canonical_request(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed: Iterable[str],
    payload_digest: str,
) -> str:
    """The text whose hash is signed."""
    names = sorted(signed)
    uri = "/".join(quote(part, safe="~") for part in unquote(path).split("/"))
    return "\n".join(
        [
            method,
            uri if uri.endswith("/") else uri + "/",
            query,
            "".join(f"{name}:{headers[name].strip()}\n" for name in names),
            ";".join(names),
            payload_digest,
        ]
    )


def string_to_sign(date: str, canonical: str) -> str:
    """What the secret key is applied to."""
    return "\n".join([ALGORITHM, date, hashlib.sha256(canonical.encode()).hexdigest()])


def sign(secret: str, text: str) -> str:
    """The signature of a string to sign, in hex."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def authorization(access: str, signed: Iterable[str], signature: str) -> str:
    """The header a client sends."""
    names = ";".join(sorted(signed))
    return f"{ALGORITHM} Access={access}, SignedHeaders={names}, Signature={signature}"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _check_date(text: str) -> None:
    try:
        date = datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError as error:
        raise NotSigned(reason="X-Sdk-Date is not a date like 20260131T235959Z") from error
    now = datetime.now(UTC)
    if abs(now - date) > WINDOW:
        raise NotSigned(reason=f"signature expired: signed {text}, now {now:{DATE_FORMAT}}")


def _payload_digest(headers: Mapping[str, str], body: bytes) -> str:
    digest = hashlib.sha256(body).hexdigest()
    if body and headers.get("x-sdk-content-sha256", digest) != digest:
        raise NotSigned(reason="X-Sdk-Content-Sha256 is not the hash of the body")
    return digest
