r"""The header of a volume: standard LUKS2, so that nobody is locked in.

A volume file (numbers in the binary header are big-endian)::

    0        primary copy      4096 bytes binary header, 12 KiB JSON
    16384    secondary copy    the same with another magic, hdr_offset and salt
    32768    keyslots area     never touched: what is here an administrator added
    1 MiB    payload           `size` bytes, AES-256-XTS, sectors of 4096 bytes

The binary header::

    offset  length  field
    0       6       magic: "LUKS\xba\xbe", in the secondary copy "SKUL\xba\xbe"
    6       2       version: 2
    8       8       hdr_size: 16384, binary header and JSON together
    16      8       seqid: the copy with the higher one is the newer one
    24      48      label, NUL-terminated
    72      32      checksum algorithm: "sha256"
    104     64      salt: random, makes the checksums of two headers differ
    168     40      uuid: the volume id, NUL-terminated
    208     48      subsystem, NUL-terminated
    256     8       hdr_offset: 0 or 16384
    264     184     zeros
    448     64      checksum: SHA-256 of all 16384 bytes with this field zeroed, then zeros
    512     3584    zeros

The JSON: segment "0", `crypt`, aes-xts-plain64, sector size 4096, at 1 MiB and of a
fixed size, so that a truncated file is noticed; a `pbkdf2` digest of the 64-byte DEK, so that a
wrong one is noticed before it destroys anything; and one token of type "evsd" with the wrapped
DEK. Thin volumes read ciphertext zeros as plaintext zeros, which dm-crypt does not: they carry
a mandatory requirement that makes it refuse them.

A volume with snapshots is a chain of such files, its *layers*: the token says which layer this is
and which one is below it, where a sector of ciphertext zeros is looked for. A second requirement
makes whoever knows nothing of layers refuse each of them.

An administrator may add keyslots, tokens and more with stock cryptsetup: all that is not ours is
written again as it was read.
"""

from __future__ import annotations

import binascii
import os
from _struct import Struct  # this and `_sha256`: less to load in every server

from nbd_plugin import compactjson

try:
    from _sha256 import sha256  # type: ignore[import-not-found]
except ImportError:  # Python 3.12 and later
    from hashlib import sha256

TYPE_CHECKING = False  # `typing` itself would cost every server 0.7 MB
if TYPE_CHECKING:
    from typing import Any

DATA_OFFSET = 1024 * 1024
SECTOR_SIZE = 4096
THIN_REQUIREMENT = "evsd-thin-v1"
LAYER_REQUIREMENT = "evsd-layer-v1"
TOKEN_TYPE = "evsd"  # noqa: S105, a type's name
TOKEN_VERSION = 1

DEK_LENGTH = 64
MAX_DIGEST_ITERATIONS = 10_000_000  # about 3 s: a hostile header must not hold up an attach
MAX_WRAPPED_DEK = 4096
MAX_SIZE = 1 << 62
MAX_SEQUENCE = 2**64 - 1

_REQUIREMENTS = (THIN_REQUIREMENT, LAYER_REQUIREMENT)
_LAYER_FIELDS = ("layer_id", "parent_layer_id", "frozen_by")
_BINARY = Struct(">6sHQQ48s32s64s40s48sQ184s64s3584s")
_COPY_SIZE = 16384
_JSON_SIZE = _COPY_SIZE - _BINARY.size
_MAGICS = (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
_CHECKSUM = slice(448, 512)
_KEYSLOTS_OFFSET = 2 * _COPY_SIZE
HEADER_LENGTH = 2 * _COPY_SIZE  # both copies


class HeaderError(Exception):
    """A file without a usable header; the message says what it is instead."""


class _NotOurs(HeaderError):
    """An intact copy that forbids to open the volume: the other copy must not be used instead."""


class Header:
    """What a volume's header says. Not to be changed: `_replace` makes another.

    `size` is in bytes of payload; those behind the first `settled` are being added and hold
    nothing yet. `layer_id`, `parent_layer_id` and `frozen_by` (a snapshot's id) are "" in a volume
    that has no layers; a layer without a parent is the lowest, one that is not frozen is written
    to. `digest` is PBKDF2-HMAC-SHA256 of the 64-byte DEK over `digest_salt`,
    `digest_iterations` times. `sequence` grows with every write. `area` is the JSON it was read
    from, with what others put there; None for a volume that is being made.
    """

    # Neither a dataclass nor a namedtuple: their modules cost every server 0.4 MB and more.
    __slots__ = (
        "area",
        "cmk_id",
        "cmk_version",
        "context",
        "digest",
        "digest_iterations",
        "digest_salt",
        "frozen_by",
        "label",
        "layer_id",
        "parent_layer_id",
        "sequence",
        "settled",
        "size",
        "subsystem",
        "thin",
        "uuid",
        "wrapped_dek",
    )

    def __init__(
        self,
        *,
        uuid: str,
        label: str,
        size: int,
        thin: bool,
        wrapped_dek: bytes,
        cmk_id: str,
        cmk_version: int,
        context: dict[str, str],
        digest_salt: bytes,
        digest_iterations: int,
        digest: bytes,
        sequence: int,
        settled: int | None = None,
        subsystem: str = "",
        layer_id: str = "",
        parent_layer_id: str = "",
        frozen_by: str = "",
        area: dict[str, Any] | None = None,
    ) -> None:
        self.uuid, self.label, self.size, self.thin = uuid, label, size, thin
        self.subsystem, self.area = subsystem, area
        self.wrapped_dek, self.cmk_id, self.cmk_version = wrapped_dek, cmk_id, cmk_version
        self.context, self.sequence = context, sequence
        self.digest_salt, self.digest_iterations = digest_salt, digest_iterations
        self.digest = digest
        self.settled = size if settled is None else settled
        self.layer_id, self.parent_layer_id = layer_id, parent_layer_id
        self.frozen_by = frozen_by

    @property
    def own_layer(self) -> str:
        """What a layer above names as its parent: the first layer of a volume has its id."""
        return self.layer_id or self.uuid

    def has_key_of(self, other: Header) -> bool:
        """Whether both are of one volume, and one data key is that of both."""
        names = ("uuid", "wrapped_dek", "digest", "digest_salt", "digest_iterations")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    def __eq__(self, other: object) -> bool:
        """Whether every field is the same; in what is not ours they may differ."""
        return isinstance(other, Header) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__ if name != "area"
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """For tests that fail."""
        return f"Header({self._fields()})"

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def _replace(self, **changes: Any) -> Header:
        """The same with other values in some fields."""
        return Header(**(self._fields() | changes))


def read(fd: int) -> Header:
    """Read the newer of the two intact copies.

    Raises `HeaderError` when there is none, or when this is no volume of ours; OSError when the
    file can't be read. Writes nothing.
    """
    headers: list[Header] = []
    errors: list[Exception] = []
    for index in range(2):
        try:
            headers.append(_decode(_read_copy(fd, index), index))
        except _NotOurs:
            raise
        except (HeaderError, OSError) as error:  # a bad block under one copy leaves the other
            errors.append(error)
    if not headers:
        raise _both(*errors)
    return max(headers, key=lambda header: header.sequence)


def newest_sequence(fd: int) -> int:
    """The highest seqid of a copy with a right checksum, whatever else is in it; 0 without one."""
    newest = 0
    for index in range(2):
        try:
            newest = max(newest, _binary(_read_copy(fd, index), index)[0])
        except (HeaderError, OSError):
            continue
    return newest


def write(fd: int, header: Header) -> None:
    """Write both copies and wait until they are on disk.

    The copy that `read` would not choose is overwritten first, so one good copy is there whenever
    this is interrupted. Raises `HeaderError` for a header that `read` would refuse, OSError when
    the file can't be written.
    """
    copies = [_encode(header, index) for index in range(2)]
    for index, copy in enumerate(copies):
        if _decode(copy, index) != header:
            raise HeaderError("the header would not be read back as it is")
    for index in _worse_first(fd):
        write_all(fd, copies[index], index * _COPY_SIZE)
        os.fsync(fd)


def _worse_first(fd: int) -> list[int]:
    return sorted(range(2), key=lambda index: _sequence(fd, index))


def _sequence(fd: int, index: int) -> int:
    try:
        return _decode(_read_copy(fd, index), index).sequence
    except (HeaderError, OSError):
        return -1


def _read_copy(fd: int, index: int) -> bytes:
    """One copy, or what there is of it where the file ends; a read may return less than asked."""
    copy = b""
    while part := os.pread(fd, _COPY_SIZE - len(copy), index * _COPY_SIZE + len(copy)):
        copy += part
    return copy


def _both(primary: Exception, secondary: Exception) -> Exception:
    """What to say where neither copy is good."""
    if isinstance(primary, OSError) or str(primary) == str(secondary):
        return primary
    return HeaderError(f"{primary}; second copy: {secondary}")


def write_all(fd: int, data: bytes, offset: int) -> None:
    """As os.pwrite, which may write less than asked."""
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


# Decoding: everything below treats its input as hostile.


def _decode(copy: bytes, index: int) -> Header:
    """Check one copy and take it apart."""
    sequence, uuid, label, subsystem = _binary(copy, index)
    try:
        return _from_json(
            _parse(copy[_BINARY.size :]),
            uuid=_uuid(_text(uuid)),
            label=_text(label),
            subsystem=_text(subsystem),
            sequence=sequence,
        )
    except RecursionError:
        raise HeaderError("its LUKS2 header is malformed: nested too deeply") from None
    except KeyError as error:
        raise HeaderError(f"its LUKS2 header is malformed: {error} is missing") from None
    except (ValueError, TypeError) as error:
        raise HeaderError(f"its LUKS2 header is malformed: {error}") from None


def _binary(copy: bytes, index: int) -> tuple[int, bytes, bytes, bytes]:
    """Seqid, UUID, label and subsystem of a copy whose checksum is right."""
    if not any(copy):
        raise HeaderError("it is empty, there is no LUKS2 header")
    if copy[:6] == _MAGICS[0] and copy[6:8] == b"\0\1":
        raise HeaderError("it is a LUKS1 volume")
    if copy[:6] != _MAGICS[index]:
        raise HeaderError("it is no LUKS2 volume")
    if len(copy) < _COPY_SIZE:
        raise HeaderError("it ends inside the LUKS2 header")
    _, version, size, sequence, label, algorithm, _, uuid, subsystem, offset, _, _, _ = (
        _BINARY.unpack(copy[: _BINARY.size])
    )
    if (version, size, offset) != (2, _COPY_SIZE, index * _COPY_SIZE):
        raise HeaderError("its LUKS2 header has a version, size or offset that evsd does not use")
    if algorithm[:7] != b"sha256\0" or copy[_CHECKSUM] != _checksum(copy):
        raise HeaderError("the checksum of its LUKS2 header does not match, it is damaged")
    return sequence, uuid, label, subsystem


def _checksum(copy: bytes) -> bytes:
    digest = sha256(copy[: _CHECKSUM.start])
    digest.update(bytes(64))
    digest.update(copy[_CHECKSUM.stop :])
    return bytes(digest.digest()) + bytes(32)


def _text(field: bytes) -> str:
    """A NUL-terminated field; raises ValueError if it is not. cryptsetup takes any bytes."""
    end = field.index(0)
    return field[:end].decode(errors="surrogateescape")


def _parse(area: bytes) -> dict[str, Any]:
    return _mapping(compactjson.loads(area[: area.index(0)].decode()))


def _from_json(area: dict[str, Any], **binary: Any) -> Header:
    required = _requirements(_mapping(area["config"]))
    token = _token(_mapping(area["tokens"]))
    digest = _digest(_mapping(area["digests"]))
    size = _segment_size(_mapping(area["segments"]))
    return Header(
        size=size,
        thin=THIN_REQUIREMENT in required,
        wrapped_dek=_bytes(token["wrapped_dek"], 1, MAX_WRAPPED_DEK),
        cmk_id=_string(token["cmk_id"], 1, 64),
        cmk_version=_integer(token["cmk_version"], 0, 2**32 - 1),
        context=_context(token["encryption_context"]),
        digest_salt=_bytes(digest["salt"], 8, 256),
        digest_iterations=_integer(digest["iterations"], 1, MAX_DIGEST_ITERATIONS),
        digest=_bytes(digest["digest"], 32, 32),
        settled=_settled(token, size),
        area=area,
        **_layer(token, LAYER_REQUIREMENT in required),
        **binary,
    )


def _layer(token: dict[str, Any], is_layer: bool) -> dict[str, Any]:
    """What the token says of layers; all of it or nothing goes with the requirement."""
    fields = {name: _uuid(token[name]) for name in _LAYER_FIELDS if name in token}
    if ("layer_id" in fields) != is_layer or (fields and not is_layer):
        raise ValueError(f"its token and {LAYER_REQUIREMENT} do not say the same of layers")
    if fields and fields["layer_id"] == fields.get("parent_layer_id"):
        raise ValueError("it is a layer above itself")
    return fields


def _settled(token: dict[str, Any], size: int) -> int:
    settled = _decimal(token["settled"]) if "settled" in token else size
    if settled > size or settled % SECTOR_SIZE:
        raise ValueError("more of it is settled than there is")
    return settled


def _requirements(config: dict[str, Any]) -> list[Any]:
    required = _list(_mapping(config.get("requirements", {})).get("mandatory", []))
    unknown = [str(name) for name in required if name not in _REQUIREMENTS]
    if unknown:
        named = "".join(c if c.isprintable() else " " for c in ", ".join(unknown)[:200])
        raise _NotOurs(f"it needs {named}, which this version does not have")
    return required


def _token(tokens: dict[str, Any]) -> dict[str, Any]:
    numbers = _token_numbers(tokens)
    if not numbers:
        raise _NotOurs(
            "it is a LUKS2 volume, but has no token of evsd: "
            "it is no evsd volume, or its token was removed"
        )
    if len(numbers) > 1:
        raise _NotOurs("it has more than one token of evsd: remove the one that was added")
    token: dict[str, Any] = tokens[numbers[0]]
    if _integer(token["version"], 0, 2**32) != TOKEN_VERSION:
        raise _NotOurs(f"its evsd token has version {token['version']}, not {TOKEN_VERSION}")
    return token


def _token_numbers(tokens: dict[str, Any]) -> list[str]:
    return [number for number in tokens if _mapping(tokens[number])["type"] == TOKEN_TYPE]


def _segment_size(segments: dict[str, Any]) -> int:
    if list(segments) != ["0"]:
        raise ValueError("it has not exactly one segment")
    segment = _mapping(segments["0"])
    if segment["size"] == "dynamic":
        raise _NotOurs(
            "its segment has no fixed size, as after a reencryption by cryptsetup: "
            "evsd has no key for what was reencrypted"
        )
    expected = {
        "type": "crypt",
        "offset": str(DATA_OFFSET),
        "iv_tweak": "0",
        "encryption": "aes-xts-plain64",
        "sector_size": SECTOR_SIZE,
    }
    for name, value in expected.items():
        found = segment[name]
        if type(found) is not type(value) or found != value:
            raise ValueError(f"its segment's {name} is not {value}")
    if "integrity" in segment:
        raise ValueError("its segment has integrity data")
    size = _decimal(segment["size"])
    if not SECTOR_SIZE <= size <= MAX_SIZE or size % SECTOR_SIZE:
        raise ValueError("its size is out of range")
    return size


def _digest(digests: dict[str, Any]) -> dict[str, Any]:
    found = [d for d in map(_mapping, digests.values()) if "0" in _list(d["segments"])]
    if len(found) != 1:
        raise ValueError("it has not exactly one digest of its key")
    if found[0]["type"] != "pbkdf2" or found[0]["hash"] != "sha256":
        raise ValueError("the digest of its key is not pbkdf2 with sha256")
    return found[0]


def _context(value: object) -> dict[str, str]:
    context = _mapping(value)
    return {_string(name, 1, 256): _string(text, 0, 4096) for name, text in context.items()}


def _uuid(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a UUID is expected")
    if len(value) != 36 or not set(value) <= set("0123456789abcdef-"):
        raise ValueError("its UUID is malformed")
    return value


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object is expected")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("an array is expected")
    return value


def _integer(value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError("a number is missing or out of range")
    return value


def _decimal(value: object) -> int:
    """LUKS2 writes 64-bit numbers as strings, for readers whose numbers are floats."""
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 20:
        raise ValueError("a 64-bit number is malformed")
    return int(value)


def _string(value: object, low: int, high: int) -> str:
    if not isinstance(value, str) or not low <= len(value.encode()) <= high:
        raise ValueError("a text is missing or too long")
    return value


def _bytes(value: object, low: int, high: int) -> bytes:
    decoded = binascii.a2b_base64(_string(value, 0, 2 * high + 4), strict_mode=True)
    if not low <= len(decoded) <= high:
        raise ValueError("a field of bytes has the wrong length")
    return decoded


# Encoding.


def _encode(header: Header, index: int) -> bytes:
    if not 0 < header.sequence <= MAX_SEQUENCE:
        raise HeaderError("its header was written too often")
    binary = _BINARY.pack(
        _MAGICS[index],
        2,
        _COPY_SIZE,
        header.sequence,
        _field(header.label),
        b"sha256",
        os.urandom(64),
        _field(header.uuid, 40),
        _field(header.subsystem),
        index * _COPY_SIZE,
        b"",
        b"",
        b"",
    )
    copy = bytearray(binary + _json(header).ljust(_JSON_SIZE, b"\0"))
    copy[_CHECKSUM] = _checksum(bytes(copy))
    return bytes(copy)


def _field(text: str, length: int = 48) -> bytes:
    encoded = text.encode(errors="surrogateescape")
    if len(encoded) >= length or 0 in encoded:
        raise HeaderError(f"{text!r} does not fit into the header")
    return encoded


def _json(header: Header) -> bytes:
    try:
        text = compactjson.dumps(_with_ours(header.area or _new_area(header), header)).encode()
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"its LUKS2 header can't be written again: {error}") from None
    if len(text) >= _JSON_SIZE:
        raise HeaderError(
            f"its LUKS2 header has no room: it would take {len(text)} bytes of JSON, "
            f"{_JSON_SIZE - 1} fit; cryptsetup can remove tokens and keyslots that are not needed"
        )
    return text


def _with_ours(area: dict[str, Any], header: Header) -> dict[str, Any]:
    """The JSON with what of it is ours and can change; the rest is as it was."""
    [number] = _token_numbers(area["tokens"])
    token = {
        **area["tokens"][number],
        "wrapped_dek": _base64(header.wrapped_dek),
        "cmk_id": header.cmk_id,
        "cmk_version": header.cmk_version,
        "encryption_context": header.context,
        "settled": str(header.settled),
    }
    if header.settled == header.size:
        del token["settled"]
    for name in _LAYER_FIELDS:
        token.pop(name, None)
        if getattr(header, name):
            token[name] = getattr(header, name)
    return {
        **area,
        "tokens": {**area["tokens"], number: token},
        "segments": {"0": {**area["segments"]["0"], "size": str(header.size)}},
        "config": _with_requirement(area["config"], bool(header.layer_id)),
    }


def _with_requirement(config: dict[str, Any], is_layer: bool) -> dict[str, Any]:
    """What a volume needs besides: a layer its requirement, and what is none any more none."""
    requirements = config.get("requirements", {})
    required = _list(requirements.get("mandatory", []))
    if (LAYER_REQUIREMENT in required) == is_layer:
        return config
    others = [name for name in required if name != LAYER_REQUIREMENT]
    rest = {name: value for name, value in requirements.items() if name != "mandatory"}
    wanted = others + [LAYER_REQUIREMENT] * is_layer
    changed = {**rest, "mandatory": wanted} if wanted else rest
    without = {name: value for name, value in config.items() if name != "requirements"}
    return {**without, "requirements": changed} if changed else without


def _new_area(header: Header) -> dict[str, Any]:
    """The JSON of a volume that is being made, but for what `_with_ours` adds."""
    config: dict[str, Any] = {
        "json_size": str(_JSON_SIZE),
        "keyslots_size": str(DATA_OFFSET - _KEYSLOTS_OFFSET),
    }
    if header.thin:
        config["requirements"] = {"mandatory": [THIN_REQUIREMENT]}
    return {
        "keyslots": {},
        "tokens": {"0": {"type": TOKEN_TYPE, "keyslots": [], "version": TOKEN_VERSION}},
        "segments": {
            "0": {
                "type": "crypt",
                "offset": str(DATA_OFFSET),
                "size": "",
                "iv_tweak": "0",
                "encryption": "aes-xts-plain64",
                "sector_size": SECTOR_SIZE,
            }
        },
        "digests": {
            "0": {
                "type": "pbkdf2",
                "keyslots": [],
                "segments": ["0"],
                "hash": "sha256",
                "iterations": header.digest_iterations,
                "salt": _base64(header.digest_salt),
                "digest": _base64(header.digest),
            }
        },
        "config": config,
    }


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
