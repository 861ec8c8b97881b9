"""evsctl import: what a file is, by its own marks, and compressed images."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import Evsd
from tests.support.images import accepted, cut, disk, judged, made, patched, refusal
from tests.support.relay import relay
from tests.support.transfer import MIB, attached, identical, run


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


def at(offset: int, magic: bytes) -> Callable[[Path], bytes]:
    """A file of random bytes but for a mark; negative offsets count from the end."""

    def content(_: Path) -> bytes:
        data = bytearray(os.urandom(64 * 1024))
        end = offset + len(magic)
        data[offset : end or None] = magic
        return bytes(data)

    return content


def tar(raw: Path) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.add(raw, "disk.vmdk")
    return archive.getvalue()


def zipped(raw: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(raw, "disk.raw")
    return archive.getvalue()


def parallels(raw: Path) -> bytes:
    image = raw.with_suffix(".hds")
    run("qemu-img", "convert", "-f", "raw", "-O", "parallels", raw, image)
    return image.read_bytes()


def iso_with_a_partition_table(raw: Path) -> bytes:
    data = bytearray(256 * 1024)
    data[32769:32774] = b"CD001"
    image = raw.with_suffix(".iso")
    image.write_bytes(data)
    run("sh", "-c", f"echo 'label: dos\n2048,100K,17' | sfdisk -q --force {image} 2>&1 || true")
    return image.read_bytes()


def page(_: Path) -> bytes:
    return b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n" * 512


FOREIGN = {
    "tar": (tar, "tar -xf"),
    "zip": (zipped, "unzip"),
    "Parallels": (parallels, "qemu-img convert -f parallels"),
    "ISO": (iso_with_a_partition_table, "--format raw"),
    "plain ISO": (at(32769, b"CD001"), "--format raw"),
    "UDF": (at(32769, b"BEA01"), "--format raw"),
    "text": (page, "downloaded"),
    "UTF-16": (lambda _: "a text of some words\r\n".encode("utf-16") * 512, "downloaded"),
    "base64": (lambda _: b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=" * 512, "downloaded"),
    "COWD": (at(0, b"COWD\1\0\0\0"), "qemu-img convert -f vmdk"),
    "SESparse": (at(0, b"\xbe\xba\xfe\xca\0\0\0\0"), "qemu-img convert -f vmdk"),
    "qcow": (at(0, b"QFI\xfb\0\0\0\1"), "qemu-img convert -f qcow"),
    "bochs": (at(0, b"Bochs Virtual HD Image"), "qemu-img convert -f bochs"),
    "cloop": (at(0, b"#!/bin/sh\n#V2.0 Format"), "qemu-img convert -f cloop"),
    "dmg": (at(-512, b"koly"), "qemu-img convert -f dmg"),
    "7z": (at(0, b"7z\xbc\xaf\x27\x1c"), "7z x"),
    "rar": (at(0, b"Rar!\x1a\7\1\0"), "unrar x"),
    "lz4": (at(0, b"\x04\x22\x4d\x18"), "lz4 -dc"),
    "lzip": (at(0, b"LZIP\1"), "lzip -dc"),
    "lzma": (lambda raw: lzma.compress(raw.read_bytes(), lzma.FORMAT_ALONE), "xz -dc"),
    "VMA": (at(0, b"VMA\0"), "vma extract"),
    "EWF": (at(0, b"EVF\x09\x0d\x0a\xff\0"), "ewfexport"),
    "AFF": (at(0, b"AFF10\r\n\0"), "affconvert"),
    "partclone": (at(0, b"partclone-image"), "partclone.restore"),
    "Ghost": (at(0, b"\xfe\xef\1"), "Ghost"),
    "WIM": (at(0, b"MSWIM\0\0\0"), "wimextract"),
    "Android": (at(0, b"\x3a\xff\x26\xed"), "simg2img"),
    "RBD": (at(0, b"rbd diff v1\n"), "rbd import-diff"),
    "age": (at(0, b"age-encryption.org/v1\n"), "age -d"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_disk_image_is_refused_with_what_helps(
    raw: Path, tmp_path: Path, kind: str
) -> None:
    make, helps = FOREIGN[kind]
    image = tmp_path / "it's an image"
    image.write_bytes(make(raw))
    said = refusal(image)
    assert (helps in said, "--format raw" in said) == (True, True), said


@pytest.mark.parametrize("kind", ["zip", "ISO", "text", "tar"])
def test_bytes_are_taken_as_they_are_when_that_is_said(
    raw: Path, tmp_path: Path, kind: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(FOREIGN[kind][0](raw))
    assert "taken for" not in accepted(image, "--format", "raw")


def test_a_raw_image_is_said_to_be_a_guess(raw: Path, tmp_path: Path) -> None:
    length = f"{raw.stat().st_size:,} bytes"
    assert f"{raw} is taken for a raw disk image of {length}" in accepted(raw)
    noise = tmp_path / "noise"
    noise.write_bytes(b"\1" + os.urandom(MIB - 1))
    assert "no partition table or filesystem known here" in accepted(noise)


def test_a_stream_is_no_file() -> None:
    result = judged("-")
    assert (result.status, "give a file" in result.err) == (2, True)


# --- formats of other hypervisors ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["vhdx", "vdi", "vdi-static", "qed", "qcow2-zstd", "vmdk-stream"])
def test_an_image_of_another_hypervisor_is_imported_whole(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, name: str
) -> None:
    """Without a word on its format."""
    image = made(raw, tmp_path / "image", name)
    shared_evsd.ok("import", str(image), f"of-{name}")
    assert shared_evsd.pool_file(f"of-{name}").stat().st_blocks * 512 < 10 * MIB
    with attached(shared_evsd, f"of-{name}") as uri:
        assert identical(raw, uri)


# --- compressed ----------------------------------------------------------------------------------


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_compressed_image_is_imported_as_what_it_holds(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, name: str
) -> None:
    """In several streams too, as parallel compressors and rsyncable archives have it."""
    data, compress = raw.read_bytes(), COMPRESSORS[name]
    image = tmp_path / "image"
    image.write_bytes(compress(data[: 5 * MIB + 5]) + compress(data[5 * MIB + 5 :]))
    done = shared_evsd.ctl("import", str(image), f"of-{name}")
    assert (done.status, f"{len(data):,} bytes" in done.err) == (0, True), done
    assert shared_evsd.pool_file(f"of-{name}").stat().st_blocks * 512 < 10 * MIB
    with attached(shared_evsd, f"of-{name}") as uri:
        assert identical(raw, uri)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_stream_that_is_not_whole_is_refused(raw: Path, tmp_path: Path, name: str) -> None:
    image = tmp_path / "image"
    packed = COMPRESSORS[name](raw.read_bytes())
    image.write_bytes(packed)
    for kept in (len(packed) // 3, len(packed) - 3):
        assert "ends too early" in refusal(cut(image, kept))
    image.write_bytes(packed + b"garbage behind it")
    assert "is damaged" in refusal(image)
    image.write_bytes(packed + packed[: len(packed) // 2])
    refusal(image)
    image.write_bytes(packed)
    refusal(patched(image, (len(packed) // 2, b"\0\1\2\3\4\5\6\7")))


def test_zeros_behind_a_stream_are_padding(raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(lzma.compress(raw.read_bytes()) + bytes(4096))
    accepted(image)


def test_a_compressed_image_of_another_format_is_refused_with_the_command(
    raw: Path, tmp_path: Path
) -> None:
    """Its bytes are no disk."""
    packed = tmp_path / "image.qcow2.xz"
    packed.write_bytes(lzma.compress(made(raw, tmp_path / "image", "qcow2").read_bytes()))
    assert f"xz -dc {packed} > NEW" in refusal(packed)
    packed.write_bytes(gzip.compress(tar(raw)))
    assert "tar or OVA" in refusal(packed)
    packed.write_bytes(gzip.compress(raw.read_bytes() + b"a"))
    assert "it was cut" in refusal(packed)
    packed.write_bytes(gzip.compress(b""))
    assert "0 bytes" in refusal(packed)


def test_what_is_left_of_a_stream_is_imported_when_told(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    image, left = tmp_path / "image", tmp_path / "left"
    packed = gzip.compress(raw.read_bytes())
    image.write_bytes(packed[: len(packed) // 2])
    done = shared_evsd.ctl("import", str(image), "left", "--force-damaged")
    assert (done.status, "ends too early" in done.err) == (0, True), done
    left.write_bytes(raw.read_bytes()[: 5 * MIB])
    with attached(shared_evsd, "left") as uri:
        run("nbdcopy", uri, tmp_path / "whole")
    with (tmp_path / "whole").open("rb") as whole:
        assert whole.read(5 * MIB) == left.read_bytes()


@pytest.mark.parametrize("name", ["raw", "gzip"])
def test_a_file_that_changes_while_it_is_imported_is_refused(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, name: str
) -> None:
    image = tmp_path / "image"
    image.write_bytes(raw.read_bytes() if name == "raw" else gzip.compress(raw.read_bytes()))

    def grows() -> None:
        with image.open("ab") as file:
            file.write(gzip.compress(bytes(MIB)))

    with relay(shared_evsd.socket, b"POST /v2.1/", grows) as socket:
        evsctl = shared_evsd.spawn_ctl("import", str(image), "changed", socket=socket)
        _, said = evsctl.communicate(timeout=120)
    assert (evsctl.returncode, "was changed while it was imported" in said) == (1, True), said
    assert [v for v in shared_evsd.object("list")["volumes"] if "changed" in v["name"]] == []
