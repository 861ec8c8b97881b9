"""SDK-HMAC-SHA256, the published request signature: what both ends compute.

``Authorization: SDK-HMAC-SHA256 Access=<AK>, SignedHeaders=<a;b;c>, Signature=<64 hex>`` with

    signature        = HMAC-SHA256(SK, string to sign)
    string to sign   = "SDK-HMAC-SHA256" LF X-Sdk-Date LF SHA-256(canonical request)
    canonical request = method LF URI LF query LF headers LF LF signed headers LF SHA-256(body)

The URI is decoded, encoded anew part by part and ends with a slash. The query is first taken as it
was received, because clients sort repeated numbers in their own way, then sorted as it was
received, then sorted as it reads. The cloud's SDK for Node.js encodes a URI that is encoded already
once more (``%20`` as ``%2520``); what it signs is understood too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

from evsd.errors import CallerUnknown

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
WINDOW = timedelta(minutes=15)
UNSIGNED, GLANCE_PATCH = "UNSIGNED-PAYLOAD", "application/openstack-images-v2.1-json-patch"
# Without these under the signature it could be replayed elsewhere, or for another project.
ALWAYS_SIGNED = frozenset({"host", "x-sdk-date"})
SIGNED_IF_PRESENT = frozenset(
    {"x-security-token", "x-project-id", "x-domain-id", "x-sdk-content-sha256"}
)
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Access=([A-Za-z0-9]{{1,64}}), ?SignedHeaders=([a-z0-9;-]+), "
    r"?Signature=([0-9a-f]{64})"
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ACCESS = re.compile(rb"Access=([A-Za-z0-9]{1,64})")
# What Node.js escapes where it reads a URL, and not where it sends one.
_LEFT_BARE = re.compile(rb"['|^]")
_BEYOND_ASCII = re.compile(rb"%[89A-Fa-f][0-9A-Fa-f]")
_SCHEME = re.compile(r"([A-Za-z0-9-]{1,32})(?= |$)")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as received, in date and over all it must cover, but not compared yet."""

    access: str
    strings_to_sign: list[str]  # one of them was signed
    value: str
    security_token: str | None


def read(
    method: str,
    path: bytes,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes | None,
) -> Signature:
    """The signature of a received request; raises `CallerUnknown` for one that can't count.

    Of a body that is not there yet, None, the hash is what X-Sdk-Content-Sha256 says: whoever reads
    it has to compare.
    """
    # Values are UTF-8 on the wire, whatever HTTP says.
    names_received = [name.decode("latin-1").lower() for name, _ in headers]
    values = dict(zip(names_received, (_text(value) for _, value in headers), strict=True))
    if names_received.count("authorization") > 1:
        raise CallerUnknown(reason="there is more than one Authorization header")
    match = _AUTHORIZATION.fullmatch(values.get("authorization", ""))
    if match is None:
        raise CallerUnknown(reason=_instead(values, query))
    access, names, value = match[1], match[2].split(";"), match[3]
    must_be_signed = ALWAYS_SIGNED | (SIGNED_IF_PRESENT & set(values))
    if uncovered := must_be_signed - set(names):
        raise CallerUnknown(reason=f"the signature does not cover {', '.join(sorted(uncovered))}")
    if wrong := [name for name in names if names_received.count(name) != 1]:
        raise CallerUnknown(reason=f"signed header {wrong[0]} must be there exactly once")
    _check_date(values["x-sdk-date"])
    digest = _payload_digest(values, body)
    texts = [
        string_to_sign(values["x-sdk-date"], _canonical(method, uri, text, values, names, digest))
        for uri in _uris(path)
        for text in dict.fromkeys(_canonical_queries(query.decode("latin-1")))
    ]
    return Signature(access, texts, value, values.get("x-security-token"))


def is_claimed(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a request says that it is signed, truly or not."""
    return any(
        name.lower() == b"authorization" and value.startswith(ALGORITHM.encode())
        for name, value in headers
    )


def access_named(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The access key a request names, however false its signature; empty where there is none."""
    for name, value in headers:
        if name.lower() == b"authorization" and (found := _ACCESS.search(value)):
            return found[1].decode()
    return ""


def canonical_request(
    method: str,
    path: bytes | str,
    query: str,
    headers: Mapping[str, str],
    signed: Iterable[str],
    payload_digest: str,
) -> str:
    """The text whose hash is signed."""
    return _canonical(method, canonical_uri(path), query, headers, signed, payload_digest)


def _canonical(
    method: str,
    uri: str,
    query: str,
    headers: Mapping[str, str],
    signed: Iterable[str],
    payload_digest: str,
) -> str:
    names = sorted(signed)
    return "\n".join(
        [
            method,
            uri,
            query,
            "".join(f"{name}:{headers[name].strip()}\n" for name in names),
            ";".join(names),
            payload_digest,
        ]
    )


def canonical_uri(path: bytes | str) -> str:
    """A path as it is signed: decoded, encoded part by part, with a slash at its end."""
    return _encoded(unquote_to_bytes(path))


@lru_cache(256)
def _uris(path: bytes) -> list[str]:
    """What a path may have been signed as; clients ask for the same ones again and again."""
    return list(dict.fromkeys([canonical_uri(path), *_encoded_twice(path)]))


def _encoded_twice(path: bytes) -> list[str]:
    """How the SDK for Node.js signs a path, whether or not its caller has encoded it first."""
    by_caller = _LEFT_BARE.sub(lambda found: b"%%%02X" % found[0][0], path)
    by_node = _BEYOND_ASCII.sub(lambda found: unquote_to_bytes(found[0]), by_caller)
    return [_encoded(by_caller), _encoded(by_node)]


def _encoded(path: bytes) -> str:
    uri = "/".join(quote(part, safe="~") for part in path.split(b"/"))
    return uri if uri.endswith("/") else uri + "/"


def canonical_query(raw: str) -> str:
    """A query with its pairs in order and each side encoded anew."""
    return _encoded_query(sorted(_pairs(raw)))


def _canonical_queries(raw: str) -> list[str]:
    """How a query may have been signed: see above."""
    as_read = sorted(_pairs(raw), key=lambda pair: (unquote(pair[0]), unquote(pair[1])))
    return [raw, canonical_query(raw), _encoded_query(as_read)]


def _pairs(raw: str) -> list[tuple[str, str]]:
    found = (pair.partition("=") for pair in raw.split("&") if pair)
    return [(name, value) for name, _, value in found]


def _encoded_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(
        f"{quote(unquote_to_bytes(name), safe='~')}={quote(unquote_to_bytes(value), safe='~')}"
        for name, value in pairs
    )


def string_to_sign(date: str, canonical: str) -> str:
    """What the secret key is applied to."""
    return "\n".join([ALGORITHM, date, hashlib.sha256(canonical.encode()).hexdigest()])


def sign(secret: str, text: str) -> str:
    """The signature of a string to sign, in hex."""
    return hmac.digest(secret.encode(), text.encode(), "sha256").hex()


def headers_of(
    access: str,
    secret: str,
    method: str,
    path: str | bytes,
    query: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> dict[str, str]:
    """What a client adds to a request to sign it, with these headers (lower case, `host` among).

    Without a body they have the hash of one that is sent in pieces.
    """
    date = datetime.now(UTC).strftime(DATE_FORMAT)
    covered = {**headers, "x-sdk-date": date}
    digest = _payload_digest(covered, body)
    canonical = canonical_request(method, path, query, covered, covered, digest)
    value = sign(secret, string_to_sign(date, canonical))
    return {"X-Sdk-Date": date, "Authorization": authorization(access, covered, value)}


def authorization(access: str, signed: Iterable[str], signature: str) -> str:
    """The header a client sends."""
    names = ";".join(sorted(signed))
    return f"{ALGORITHM} Access={access}, SignedHeaders={names}, Signature={signature}"


def _instead(values: Mapping[str, str], query: bytes) -> str:
    """What a request has instead of the signature that is wanted; nothing of its secrets."""
    wanted = f"sign it with {ALGORITHM}, as the cloud's SDKs do"
    scheme = _SCHEME.match(values.get("authorization", ""))
    if scheme is None and b"X-Amz-Signature=" in query:
        return f"the request has an AWS signature in its query; {wanted}"
    if scheme is None:
        return f"the request has no {ALGORITHM} signature"
    if scheme[1] == ALGORITHM:
        form = authorization("AK", ("host", "x-sdk-date"), "64 hex digits")
        return f"the request has a malformed {ALGORITHM} signature; its form is: {form}"
    of_aws = " of AWS" if scheme[1].startswith("AWS") else ""
    return f"the request is authorised by {scheme[1]}{of_aws}; {wanted}"


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _check_date(text: str) -> None:
    now = datetime.now(UTC)
    try:
        date = _date(text)
    except ValueError as error:
        raise CallerUnknown(
            reason=f"X-Sdk-Date is not a date in UTC like that of now, {now:{DATE_FORMAT}}"
        ) from error
    if abs(now - date) > WINDOW:
        raise CallerUnknown(reason=f"signature expired: signed {text}, now {now:{DATE_FORMAT}}")


@lru_cache(256)
def _date(text: str) -> datetime:
    """What X-Sdk-Date says: the same second for many requests, and strptime is slow."""
    return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=UTC)


def _is_patch(headers: Mapping[str, str]) -> bool:
    """Whether a body is what the cloud's SDKs send to Glance, and don't sign: they sign JSON only.

    Whoever could read the request on its way could send another body with it for as long as its
    signature is in date; there is TLS, or no way that leaves this host.
    """
    return headers.get("content-type", "") == GLANCE_PATCH


def _payload_digest(headers: Mapping[str, str], body: bytes | None) -> str:
    if body is None:
        claimed = headers.get("x-sdk-content-sha256", "")
        if not _DIGEST.fullmatch(claimed):
            raise CallerUnknown(
                reason="a body of any length needs its SHA-256 in X-Sdk-Content-Sha256, signed"
            )
        return claimed
    if headers.get("x-sdk-content-sha256") == UNSIGNED and _is_patch(headers):
        return UNSIGNED
    digest = hashlib.sha256(body).hexdigest()
    if body and headers.get("x-sdk-content-sha256", digest) != digest:
        raise CallerUnknown(reason="X-Sdk-Content-Sha256 is not the hash of the body")
    return digest
