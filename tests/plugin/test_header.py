"""The LUKS2 header: what stock tools say of it, and what damage and hostility do to it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbd_plugin import luks2
from tests.support.examples import REPEATABLE
from tests.support.faulty import failing
from tests.support.volume import MIB, create, new_header

COPY = 16384
DEK = bytes(range(64))


@pytest.fixture(params=[True, False], ids=["thin", "thick"])
def header(request: pytest.FixtureRequest) -> luks2.Header:
    """A header of each kind."""
    return new_header(DEK, 4 * MIB, thin=request.param, label="backup")


@pytest.fixture
def path(tmp_path: Path, header: luks2.Header) -> Path:
    """A volume with that header."""
    created = tmp_path / "volume.luks"
    create(created, header)
    return created


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor to read and write."""
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


def read(path: Path) -> luks2.Header:
    """Read a file's header."""
    with opened(path) as fd:
        return luks2.read(fd)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Damage a file."""
    with opened(path) as fd:
        os.pwrite(fd, data, offset)


def copy_with(path: Path, index: int, change: dict[str, Any], **binary: Any) -> None:
    """Rewrite one copy with a changed JSON area and a right checksum."""
    with opened(path) as fd:
        copy = bytearray(os.pread(fd, COPY, index * COPY))
        area = json.loads(copy[4096:].rstrip(b"\0"))
        area.update(change)
        put_area(fd, index, copy, json.dumps(area).encode(), **binary)


def put_area(fd: int, index: int, copy: bytearray, area: bytes, sequence: int = 1) -> None:
    """Store a copy with this JSON text and a right checksum."""
    copy[4096:] = area.ljust(COPY - 4096, b"\0")
    copy[16:24] = struct.pack(">Q", sequence)
    copy[448:512] = bytes(64)
    copy[448:480] = hashlib.sha256(copy).digest()
    os.pwrite(fd, copy, index * COPY)


def cryptsetup(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the stock tool."""
    return subprocess.run(["cryptsetup", *arguments], capture_output=True, text=True, check=False)


def test_what_was_written_is_read_back(path: Path, header: luks2.Header) -> None:
    assert read(path) == header


def test_luks_dump_shows_segment_digest_token_and_requirement(
    path: Path, header: luks2.Header
) -> None:
    dump = cryptsetup("luksDump", str(path)).stdout
    for line in (
        f"UUID:          \t{header.uuid}",
        "Label:         \tbackup",
        "offset: 1048576 [bytes]",
        f"length: {header.size} [bytes]",
        "cipher: aes-xts-plain64",
        "sector: 4096 [bytes]",
        "0: evsd",
        "Iterations: 1000",
    ):
        assert line in dump
    assert ("Requirements:\tevsd-thin-v1" in dump) == header.thin


def test_token_export_shows_the_wrapped_key(path: Path, header: luks2.Header) -> None:
    exported = json.loads(cryptsetup("token", "export", "--token-id", "0", str(path)).stdout)
    assert exported["type"] == "evsd"
    assert exported["cmk_id"] == header.cmk_id
    assert exported["encryption_context"] == header.context


@pytest.mark.parametrize(("dek", "status"), [(DEK, 0), (DEK[::-1], 2)], ids=["right", "wrong"])
def test_cryptsetup_checks_the_volume_key(
    path: Path, tmp_path: Path, dek: bytes, status: int
) -> None:
    key = tmp_path / "key"
    key.write_bytes(dek)
    checked = cryptsetup(
        *("open", "--test-passphrase", "--volume-key-file", str(key)),
        *("--key-size", "512", str(path)),
    )
    assert checked.returncode == status, checked.stderr


@pytest.mark.parametrize("index", [0, 1])
def test_any_flipped_bit_in_one_copy_leaves_the_other(
    path: Path, header: luks2.Header, index: int
) -> None:
    chance = random.Random(index)  # noqa: S311
    original = path.read_bytes()[: 2 * COPY]
    for position in [*range(0, 512, 7), *(chance.randrange(COPY) for _ in range(200))]:
        at = index * COPY + position
        overwrite(path, at, bytes([original[at] ^ (1 << chance.randrange(8))]))
        assert read(path) == header
        overwrite(path, at, original[at : at + 1])


def test_two_damaged_copies_are_refused(path: Path) -> None:
    overwrite(path, 5000, b"x")
    overwrite(path, COPY + 5000, b"x")
    with pytest.raises(luks2.HeaderError, match="damaged"):
        read(path)


@pytest.mark.parametrize("bad", ["-lt 4096", "-ge 8192 -a $4 -lt 16384", "-ge 16384"])
def test_a_bad_block_under_one_copy_leaves_the_other(
    path: Path, header: luks2.Header, tmp_path: Path, bad: str
) -> None:
    beyond = "$(( $4 + $3 ))"  # reads are a page or more, up to all that is wanted
    condition = f"[ $4 {bad} ] || [ $4 -lt 4096 -a {beyond} -gt 8192 ]"
    with failing(path, tmp_path / "bad", pread=condition) as mounted:
        assert read(mounted) == header


def test_the_newer_copy_wins(path: Path, header: luks2.Header) -> None:
    newer = header._replace(sequence=2, cmk_version=7)
    other = path.with_name("other")
    create(other, newer)
    for index in range(2):
        create(path, header)
        overwrite(path, index * COPY, other.read_bytes()[index * COPY : (index + 1) * COPY])
        assert read(path) == newer


@pytest.mark.parametrize("damaged", [None, 0, 1])
def test_a_write_interrupted_anywhere_leaves_a_good_copy(
    path: Path, header: luks2.Header, damaged: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = header._replace(sequence=2)
    real = os.pwrite
    for limit in range(0, 2 * COPY, 1777):
        create(path, header)
        if damaged is not None:
            overwrite(path, damaged * COPY + 9000, b"damage")
        left = [limit]

        def torn(fd: int, data: bytes, offset: int, left: list[int] = left) -> int:
            part = data[: left[0]]
            left[0] -= len(part)
            real(fd, part, offset)
            if len(part) < len(data):
                raise InterruptedError
            return len(part)

        with opened(path) as fd, monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", torn)
            with pytest.raises(InterruptedError):
                luks2.write(fd, newer)
        assert read(path) in (header, newer)


@pytest.mark.parametrize("length", [0, 5, 100, 4096, 16384])
def test_a_short_or_empty_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(length))
    with pytest.raises(luks2.HeaderError, match="empty"):
        read(path)
    create(tmp_path / "whole", new_header(DEK, MIB))
    path.write_bytes((tmp_path / "whole").read_bytes()[:length])
    if length < COPY:
        with pytest.raises(luks2.HeaderError):
            read(path)


def test_random_data_is_no_luks2_volume(tmp_path: Path) -> None:
    path = tmp_path / "random"
    path.write_bytes(os.urandom(MIB))
    with pytest.raises(luks2.HeaderError, match="it is no LUKS2 volume"):
        read(path)


@pytest.mark.parametrize(
    ("kind", "message"), [("luks2", "it is no evsd volume"), ("luks1", "it is a LUKS1 volume")]
)
def test_a_stock_luks_file_is_refused_by_name(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "stock"
    path.write_bytes(bytes(20 * MIB))
    key = tmp_path / "key"
    key.write_bytes(b"passphrase")
    made = cryptsetup(
        *("luksFormat", "--batch-mode", "--type", kind, "--pbkdf", "pbkdf2"),
        *("--pbkdf-force-iterations", "1000", str(path), str(key)),
    )
    assert made.returncode == 0, made.stderr
    with pytest.raises(luks2.HeaderError, match=message):
        read(path)


def test_an_unknown_requirement_is_refused_even_with_an_older_copy_without(path: Path) -> None:
    config = {"json_size": "12288", "keyslots_size": "0"}
    required = {"config": {**config, "requirements": {"mandatory": ["evsd-thin-v2"]}}}
    copy_with(path, 1, required, sequence=2)
    with pytest.raises(luks2.HeaderError, match="it needs evsd-thin-v2"):
        read(path)


def test_what_a_hostile_header_asks_for_is_said_on_one_printable_line(path: Path) -> None:
    names = ["x\nnbdkit: all is well", "\ud800\x1b[2J"]
    config = {"json_size": "12288", "keyslots_size": "0", "requirements": {"mandatory": names}}
    copy_with(path, 0, {"config": config})
    with pytest.raises(luks2.HeaderError) as refused:
        read(path)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("header", [False], indirect=True, ids=["thick"])
def test_a_header_that_cryptsetup_has_rewritten_is_read(path: Path, header: luks2.Header) -> None:
    assert cryptsetup("config", "--label", "renamed", str(path)).returncode == 0
    rewritten = read(path)
    assert rewritten == header._replace(label="renamed", sequence=rewritten.sequence)


@pytest.mark.parametrize("header", [False], indirect=True, ids=["thick"])
def test_labels_of_an_administrator_are_kept_whatever_bytes_they_are(path: Path) -> None:
    label, subsystem = b"caf\xe9", "s" * 47
    words = ("--label", os.fsdecode(label), "--subsystem", subsystem)
    assert cryptsetup("config", *words, str(path)).returncode == 0
    found = read(path)
    with opened(path) as fd:
        luks2.write(fd, found._replace(sequence=found.sequence + 1))
        for index in range(2):
            copy = os.pread(fd, COPY, index * COPY)
            assert copy[24:72].rstrip(b"\0") == label
            assert copy[208:256].rstrip(b"\0") == subsystem.encode()


def test_reading_writes_nothing(path: Path) -> None:
    overwrite(path, 5000, b"x")
    before = path.read_bytes()
    read(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("settled", [0, MIB])
def test_what_is_settled_is_read_back_and_no_matter_to_cryptsetup(
    path: Path, header: luks2.Header, settled: int
) -> None:
    unsettled = header._replace(settled=settled, sequence=2)
    with opened(path) as fd:
        luks2.write(fd, unsettled)
    assert read(path) == unsettled != header
    assert cryptsetup("luksDump", str(path)).returncode == 0


def test_a_header_that_would_be_refused_is_not_written(path: Path, header: luks2.Header) -> None:
    before = path.read_bytes()
    for change in (
        {"size": 4097},
        {"size": 0},
        {"settled": 8 * MIB},
        {"settled": 512},
        {"settled": -4096},
        {"uuid": "../etc"},
        {"context": {"a": "b" * 13000}},
        {"label": "x" * 48},
        {"digest": b"short"},
        {"cmk_version": -1},
        {"sequence": 0},
        {"sequence": 2**64},
    ):
        with opened(path) as fd, pytest.raises(luks2.HeaderError):
            luks2.write(fd, header._replace(**change))
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples."""
    return tmp_path_factory.mktemp("fuzz") / "volume.luks"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FOREIGN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
OBJECTS = st.dictionaries(TEXT, FOREIGN, max_size=3)


@settings(REPEATABLE, max_examples=100)
@given(data=st.data())
def test_what_others_put_into_the_json_is_written_as_it_was_read(
    scratch: Path, data: st.DataObject
) -> None:
    create(scratch, new_header(DEK, MIB))
    with opened(scratch) as fd:
        copy = bytearray(os.pread(fd, COPY, 0))
        area = json.loads(copy[4096:].rstrip(b"\0"))
        for name in ("keyslots", "tokens", "digests", "config"):
            for key, value in data.draw(OBJECTS).items():
                area[name].setdefault(f"x{key}", {"type": "x", "segments": [], "x": value})
        area["digests"]["0"] |= {f"x{key}": value for key, value in data.draw(OBJECTS).items()}
        area["tokens"]["0"] |= {f"x{key}": value for key, value in data.draw(OBJECTS).items()}
        area |= {f"x{key}": value for key, value in data.draw(OBJECTS).items()}
        text = json.dumps(area, ensure_ascii=data.draw(st.booleans())).encode()
        for index in range(2):
            put_area(fd, index, bytearray(os.pread(fd, COPY, index * COPY)), text)
        luks2.write(fd, luks2.read(fd)._replace(size=2 * MIB, settled=MIB, sequence=2))
        area["segments"]["0"]["size"] = str(2 * MIB)
        area["tokens"]["0"]["settled"] = str(MIB)
        for index in range(2):
            written = os.pread(fd, COPY - 4096, index * COPY + 4096).rstrip(b"\0")
            assert json.loads(written) == area


@pytest.mark.parametrize("value", ["1e999", '"' + "x" * 11000 + '"', '"\\ud800"'])
def test_what_others_put_into_the_json_and_can_not_be_written_again_is_left_as_it_is(
    path: Path, value: str
) -> None:
    with opened(path) as fd:
        for index in range(2):
            copy = bytearray(os.pread(fd, COPY, index * COPY))
            area = (
                bytes(copy[4096:]).rstrip(b"\0").replace(b'{"keyslots"', b'{"x":%b,"keyslots"', 1)
            )
            put_area(fd, index, copy, area.replace(b"%b", value.encode(), 1))
        before, found = os.pread(fd, 2 * COPY, 0), luks2.read(fd)
        big = found._replace(context={"a": "b" * 500}, sequence=2)
        with pytest.raises(luks2.HeaderError, match=r"has no room|can't be written again"):
            luks2.write(fd, big)
        assert os.pread(fd, 2 * COPY, 0) == before


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b'{"a":' * 5000,
    b"[" * 12000,
    b"1" * 9000,
    b"NaN",
    b"\xff\xfe",
    b'{"config":{},"tokens":{},"digests":{},"segments":{}}',
    b"x" * 12288,  # without a NUL at its end
]


@pytest.mark.parametrize("area", HOSTILE, ids=lambda area: repr(area[:12]))
def test_hostile_json_is_refused(path: Path, area: bytes) -> None:
    with opened(path) as fd:
        for index in range(2):
            put_area(fd, index, bytearray(os.pread(fd, COPY, index * COPY)), area)
        with pytest.raises(luks2.HeaderError):
            luks2.read(fd)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0", "-1", "1048576", "9" * 30, "\ud800", "٣"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(REPEATABLE, max_examples=300)
@given(data=st.data())
def test_any_value_in_any_field_is_accepted_or_refused_but_never_crashes(
    scratch: Path, data: st.DataObject
) -> None:
    create(scratch, new_header(DEK, MIB))
    with opened(scratch) as fd:
        copy = bytearray(os.pread(fd, COPY, 0))
        area = json.loads(copy[4096:].rstrip(b"\0"))
        node = area
        while True:  # walk to a random field and replace it
            name = data.draw(st.sampled_from(sorted(node)))
            if not isinstance(node[name], dict) or not node[name] or data.draw(st.booleans()):
                node[name] = data.draw(VALUES)
                break
            node = node[name]
        text = json.dumps(area).encode()
        for index in range(2):
            put_area(fd, index, bytearray(os.pread(fd, COPY, index * COPY)), text)
        try:
            read_back = luks2.read(fd)
        except luks2.HeaderError:
            return
        assert read_back.size > 0
        assert isinstance(read_back.cmk_id, str)
