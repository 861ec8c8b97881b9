"""evsctl import of images that are cut, damaged or contradict themselves: whole, or not at all."""

from __future__ import annotations

import struct
import uuid
import zlib
from pathlib import Path

import pytest

from tests.support.daemon import Evsd
from tests.support.images import FORMATS, accepted, cut, disk, made, patched, refusal
from tests.support.transfer import MIB, attached, identical, run

SHORT = "ends too early"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk(tmp_path_factory.mktemp("raw") / "raw")


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_that_is_cut_anywhere_is_refused(raw: Path, tmp_path: Path, name: str) -> None:
    whole = made(raw, tmp_path / "image", name)
    used = len(whole.read_bytes().rstrip(b"\0"))
    for kept in (used // 3, 100_000, (used - 1) // 512 * 512, used - 10):
        said = refusal(cut(whole, kept))
        assert SHORT in said or "can't be read as" in said or "is damaged" in said, (kept, said)
        assert "copy" in said, (kept, said)
    accepted(whole)


@pytest.mark.parametrize("kept", [1, 3])
def test_a_compressed_cluster_must_be_there_to_its_last_byte(tmp_path: Path, kept: int) -> None:
    """What is missing of it would be decompressed to other data without an error."""
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(256)) * 1024)
    whole = tmp_path / "image"
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, whole)
    data = whole.read_bytes().rstrip(b"\0")
    assert SHORT in refusal(cut(whole, len(data) * kept // 4))
    assert SHORT in refusal(cut(whole, len(data) - 2))
    accepted(cut(whole, len(data)))


def test_a_fixed_vhd_that_is_cut_is_refused(raw: Path, tmp_path: Path) -> None:
    whole = tmp_path / "image"
    options = ("-o", "subformat=fixed,force_size=on")
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", *options, raw, whole)
    accepted(whole, "--format", "vhd")
    for kept in (100_000, whole.stat().st_size - 1000):
        assert "footer" in refusal(cut(whole, kept), "--format", "vhd")
    footer = whole.read_bytes()[-512:]
    shorter = cut(whole, 4 * MIB)
    shorter.write_bytes(shorter.read_bytes() + footer)
    assert "contradicts itself" in refusal(shorter, "--format", "vhd")


# --- flags ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "patch", "said"),
    [
        ("qcow2", (72 + 7, b"\1"), "was not closed"),
        ("qcow2", (72 + 7, b"\2"), "marked as corrupt"),
        ("qed", (16, b"\2"), "was not closed"),
        ("vmdk", (72, b"\1"), "was not closed"),
        ("vmdk", (73, b"\n \n\n"), "transfer as text"),
        ("vmdk", (12, (12 * 2048 + 128).to_bytes(8, "little")), "contradicts itself"),
        ("vhd", (-512 + 48, b"\0"), "damaged footer"),
        ("vhd", (100, b"other"), "not the copy"),
    ],
)
def test_an_image_whose_own_header_says_that_it_is_not_whole_is_refused(
    raw: Path, tmp_path: Path, name: str, patch: tuple[int, bytes], said: str
) -> None:
    image = made(raw, tmp_path / "image", name)
    patched(image, patch if name != "vhd" or patch[0] > 0 else (patch[0] + 3, b"\1"))
    assert said in refusal(image)


def test_a_vhdx_whose_log_was_not_replayed_is_refused(raw: Path, tmp_path: Path) -> None:
    image = made(raw, tmp_path / "image", "vhdx")
    before = image.read_bytes()
    identity = uuid.UUID(int=7).bytes_le
    headers = [(at, before[at : at + 4096]) for at in (64 * 1024, 128 * 1024)]
    log = struct.unpack_from("<Q", headers[0][1], 72)[0]
    entry = struct.pack("<4sIIIQII16sQQ", b"loge", 0, 4096, 0, 1, 0, 0, identity, 0, 0)
    patches = [(at, sealed(data[:48] + identity + data[64:])) for at, data in headers]
    length = image.stat().st_size.to_bytes(8, "little")
    entry = entry[:48] + length + length
    image = patched(image, *patches, (log, sealed(entry.ljust(4096, b"\0"))))
    assert "log is to be replayed" in refusal(image)
    assert image.read_bytes() != before


def sealed(data: bytes) -> bytes:
    """With CRC-32C over all of it in the bytes from 4 to 8."""
    checksum = 0xFFFFFFFF
    for byte in data[:4] + bytes(4) + data[8:]:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return data[:4] + (checksum ^ 0xFFFFFFFF).to_bytes(4, "little") + data[8:]


def test_tables_that_contradict_each_other_are_refused(raw: Path, tmp_path: Path) -> None:
    """qemu-img check finds that used clusters are counted as unused."""
    image = made(raw, tmp_path / "image", "qcow2")
    table = int.from_bytes(image.read_bytes()[48:56], "big")
    block = int.from_bytes(image.read_bytes()[table : table + 8], "big")
    assert "qemu-img check" in refusal(patched(image, (block, bytes(64))))


def test_clusters_that_nothing_uses_are_no_damage(raw: Path, tmp_path: Path) -> None:
    image = made(raw, tmp_path / "image", "qcow2")
    table = int.from_bytes(image.read_bytes()[48:56], "big")
    block = int.from_bytes(image.read_bytes()[table : table + 8], "big")
    end = image.stat().st_size
    with image.open("ab") as file:
        file.write(bytes(65536))
    patched(image, (block + 2 * (end // 65536), b"\0\1"))
    assert "unused clusters: 1" in accepted(image)


@pytest.mark.parametrize("name", ["vmdk", "vhdx", "vdi"])
def test_a_table_behind_the_end_is_refused(raw: Path, tmp_path: Path, name: str) -> None:
    """Readers take it for one of zeros, and so the disk for one that is empty."""
    image = made(raw, tmp_path / "image", name)
    far = image.stat().st_size + 64 * MIB
    if name == "vmdk":
        patched(image, (56, (far // 512).to_bytes(8, "little")))
    elif name == "vdi":
        blocks = int.from_bytes(image.read_bytes()[340:344], "little")
        patched(image, (blocks, (200).to_bytes(4, "little")))
    else:
        data = image.read_bytes()
        for at in (192 * 1024, 256 * 1024):
            table = data[at : at + 16] + data[at + 16 : at + 32] + far.to_bytes(8, "little")
            whole = sealed(table + data[at + 40 : at + 64 * 1024])
            patched(image, (at, whole))
    assert SHORT in refusal(image) or "can't be read as" in refusal(image)


def test_an_image_of_nothing_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "0")
    assert "0 bytes" in refusal(image)


# --- what is a part of something -----------------------------------------------------------------


def vhd_difference(image: Path, raw: Path) -> None:
    made(raw, image, "vhd")
    data = image.read_bytes()
    footer = bytearray(data[-512:])
    footer[60:64] = (4).to_bytes(4, "big")
    footer[64:68] = bytes(4)
    footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
    patched(image, (0, bytes(footer)), (-512, bytes(footer)))


def vdi_difference(image: Path, raw: Path) -> None:
    made(raw, image, "vdi")
    patched(image, (76, (4).to_bytes(4, "little")), (424, b"\1" * 16))


def vmdk_difference(image: Path, raw: Path) -> None:
    made(raw, image, "vmdk")
    data = image.read_bytes().replace(b"parentCID=ffffffff", b"parentCID=12345678")
    image.write_bytes(data)


def vmdk_extent(image: Path, raw: Path) -> None:
    disk = image.with_suffix(".vmdk")
    options = ("-o", "subformat=twoGbMaxExtentSparse")
    run("qemu-img", "convert", "-f", "raw", "-O", "vmdk", *options, raw, disk)
    image.with_name(f"{image.stem}-s001.vmdk").rename(image)


def qed_difference(image: Path, raw: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qed", "-b", raw, "-F", "raw", image)


@pytest.mark.parametrize(
    "make", [vhd_difference, vdi_difference, vmdk_difference, vmdk_extent, qed_difference]
)
def test_an_image_that_is_a_part_of_a_disk_is_refused(
    raw: Path, tmp_path: Path, make: object
) -> None:
    image = tmp_path / "image"
    make(image, raw)  # type: ignore[operator]
    refusal(image)


# --- what is on the disk -------------------------------------------------------------------------

CONTENTS = {
    "GPT": "echo 'label: gpt\n,20M\n,,' | sfdisk -q {}",
    "MBR": "echo 'label: dos\n,20M\n,,' | sfdisk -q {}",
    "ext": "mke2fs -q -t ext4 -O 64bit {}",
    "XFS": "mkfs.xfs -q {}",
    "FAT": "mkfs.vfat -F 32 {}",
    "NTFS": "mkfs.ntfs -q -F {}",
    "swap": "mkswap -q {}",
}


def disk_with(path: Path, content: str) -> Path:
    with path.open("wb") as file:
        file.truncate((400 if content == "XFS" else 64) * MIB)
    run("sh", "-c", CONTENTS[content].format(path))
    return path


@pytest.mark.parametrize("content", CONTENTS)
def test_a_raw_disk_that_is_shorter_than_what_is_on_it_is_refused(
    tmp_path: Path, content: str
) -> None:
    image = disk_with(tmp_path / "image", content)
    assert content in accepted(image)
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - 4096)
    for options in ((), ("--format", "raw")):
        said = refusal(image, *options)
        assert (content in said, "it was cut" in said) == (True, True)


def test_a_partition_table_in_sectors_of_4096_bytes_is_understood(tmp_path: Path) -> None:
    image = tmp_path / "image"
    fields = (b"EFI PART", 0x10000, 92, 0, 0, 1, 16 * 256 - 1, 6, 16 * 256 - 6)
    header = struct.pack("<8sIIIIQQQQ", *fields).ljust(92, b"\0")
    header = header[:16] + zlib.crc32(header).to_bytes(4, "little") + header[20:]
    image.write_bytes((bytes(4096) + header).ljust(16 * MIB, b"\0"))
    assert "GPT" in accepted(image)
    assert "it was cut" in refusal(cut(image, 8 * MIB))


@pytest.mark.parametrize("name", ["qcow2", "vmdk-stream"])
def test_a_disk_that_is_too_small_for_its_filesystem_is_refused_in_any_format(
    tmp_path: Path, name: str
) -> None:
    raw = disk_with(tmp_path / "raw", "ext")
    with raw.open("r+b") as file:
        file.truncate(40 * MIB)
    assert "it was cut" in refusal(made(raw, tmp_path / "image", name))


def test_a_raw_image_that_ends_inside_a_sector_is_refused(raw: Path) -> None:
    assert "it was cut" in refusal(cut(raw, 2 * MIB + 100))


# --- with evsd -----------------------------------------------------------------------------------


def vhd_of(creator: bytes, image: Path, raw: Path) -> None:
    """A VHD as another program makes it: its size is none that a geometry can have."""
    options = ("-o", "subformat=fixed,force_size=on")
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", *options, raw, image)
    footer = bytearray(image.read_bytes()[-512:])
    footer[28:32] = creator
    footer[64:68] = bytes(4)
    footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
    patched(image, (-512, bytes(footer)))


@pytest.mark.parametrize("creator", [b"vbox", b"vpc ", b"none"])
def test_a_vhd_is_as_large_as_its_footer_says(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, creator: bytes
) -> None:
    """qemu-img by itself reads a smaller disk, and loses the end of this one."""
    image, name = tmp_path / "image", f"vhd-{creator.decode().strip()}"
    vhd_of(creator, image, raw)
    shared_evsd.ok("import", str(image), name, "--format", "vhd")
    with attached(shared_evsd, name) as uri:
        assert identical(raw, uri)
    shared_evsd.ok("delete", name, "--yes")


def test_what_is_left_of_a_damaged_image_is_imported_when_told(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    """And what is missing is said."""
    whole = made(raw, tmp_path / "image", "qcow2")
    short = cut(whole, whole.stat().st_size - MIB)
    done = shared_evsd.ctl("import", str(short), "rescued", "--force-damaged")
    assert (done.status, SHORT in done.err) == (0, True), done
    left = tmp_path / "left"
    left.write_bytes(raw.read_bytes()[: 11 * MIB].ljust(12 * MIB, b"\0"))
    with attached(shared_evsd, "rescued") as uri:
        assert identical(left, uri)


def test_sectors_that_can_not_be_read_are_counted_when_the_rest_is_imported(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    image = made(raw, tmp_path / "image", "vmdk-stream")
    data = image.read_bytes()
    grain = data.index((5 * 2048).to_bytes(8, "little") + data[65536 + 8 : 65536 + 9], 65536)
    patched(image, (grain + 20, b"\xff" * 64))
    assert shared_evsd.ctl("import", str(image), "no").status == 1
    done = shared_evsd.ctl("import", str(image), "salvaged", "--force-damaged")
    assert (done.status, "65,536 bytes could not be read" in done.err) == (0, True), done
    left = bytearray(raw.read_bytes())
    left[5 * MIB : 5 * MIB + 65536] = bytes(65536)
    (tmp_path / "left").write_bytes(left)
    with attached(shared_evsd, "salvaged") as uri:
        assert identical(tmp_path / "left", uri)
    assert [v["name"] for v in shared_evsd.object("list")["volumes"]].count("no") == 0
