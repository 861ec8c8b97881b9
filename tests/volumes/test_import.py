"""evsctl import: every format, nothing of other files, and no half volume."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.faulty import fuse_file
from tests.support.relay import interrupted, relay
from tests.support.transfer import MIB, attached, identical, image, run, small_pool

PASSPHRASE = "open sesame"  # noqa: S105
ID = "2e7c1a90-5b3d-4f68-8a1c-d4e0f7b92a13"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image(tmp_path_factory.mktemp("raw") / "image, with: odd name.raw")


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(f"{PASSPHRASE}\n")
    return file


def key_of(passphrase: Path) -> Path:
    """The same passphrase as cryptsetup's --key-file takes it."""
    key = passphrase.with_suffix(".key")
    key.write_text(PASSPHRASE)
    return key


def holds(evsd: Evsd, volume: str, raw: Path) -> bool:
    with attached(evsd, volume) as uri:
        return identical(raw, uri)


def no_volume(evsd: Evsd, name: str) -> bool:
    names = [volume["name"] for volume in evsd.object("list")["volumes"]]
    return not [found for found in names if found.startswith(name)] and not evsd.server_pids()


@pytest.mark.parametrize(
    ("image_format", "driver"),
    [("raw", "raw"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc")],
)
def test_an_image_is_imported_whole_and_sparse(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, image_format: str, driver: str
) -> None:
    source, name = tmp_path / "source", f"of-{image_format}"
    run("qemu-img", "convert", "-f", "raw", "-O", driver, raw, source)
    shown = shared_evsd.object("import", str(source), name, "--key", "test-key")["volume"]
    assert (shown["name"], shown["size"], shown["status"]) == (name, 1, "available")
    assert shared_evsd.pool_file(name).stat().st_blocks * 512 < 4 * MIB
    assert holds(shared_evsd, name, raw)


def test_a_fixed_vhd_has_to_be_named(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    """Its mark is where the guest of a raw image may write."""
    source = tmp_path / "source.vhd"
    run("qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed", "-f", "raw", raw, source)
    assert shared_evsd.ctl("import", str(source), "fixed").status == 2
    shared_evsd.ok("import", str(source), "fixed", "--format", "vhd")
    assert holds(shared_evsd, "fixed", raw)


def test_an_image_can_become_a_thick_volume(shared_evsd: Evsd, raw: Path) -> None:
    shown = shared_evsd.object("import", str(raw), "thick", "--thick")["volume"]
    assert shown["metadata"]["evsd:provisioning"] == "thick"
    assert holds(shared_evsd, "thick", raw)
    shared_evsd.ok("delete", "thick", "--yes")


def test_a_luks1_file_is_imported(shared_evsd: Evsd, tmp_path: Path, passphrase: Path) -> None:
    source, raw = tmp_path / "source.luks", image(tmp_path / "raw", size=20 * MIB)
    luks_file(source, raw, key_of(passphrase), "--type=luks1")
    shared_evsd.ok("import", str(source), "luks1", "--passphrase-file", str(passphrase))
    assert holds(shared_evsd, "luks1", raw)
    assert shared_evsd.pool_file("luks1").stat().st_blocks * 512 < 4 * MIB


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_luks2_file_is_imported(
    shared_evsd: Evsd, tmp_path: Path, passphrase: Path, sector: int
) -> None:
    """Its payload is all noise but what reads as zeros: that stays sparse too."""
    source, raw, name = tmp_path / "source.luks", tmp_path / "raw", f"luks2-{sector}"
    image(raw, size=20 * MIB)
    luks_file(source, raw, key_of(passphrase), f"--sector-size={sector}", sector=sector)
    shared_evsd.ok("import", str(source), name, "--passphrase-file", str(passphrase))
    assert holds(shared_evsd, name, raw)
    assert shared_evsd.pool_file(name).stat().st_blocks * 512 < 4 * MIB


def luks_file(target: Path, raw: Path, key: Path, *options: str, sector: int = 512) -> None:
    """A file of stock cryptsetup's; the payload by `cryptography`, for want of device-mapper."""
    data, volume_key = raw.read_bytes(), os.urandom(64)
    key_file = target.with_suffix(".volume-key")
    key_file.write_bytes(volume_key)
    with target.open("wb") as file:
        file.truncate(16 * MIB + len(data))
    run(
        *("cryptsetup", "luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", 1000),
        *("--cipher", "aes-xts-plain64", "--key-size", 512, "--align-payload", 16 * MIB // 512),
        *("--volume-key-file", key_file, "--key-file", key, *options, target),
    )
    with target.open("r+b") as file:
        file.seek(16 * MIB)
        for at in range(0, len(data), sector):
            tweak = modes.XTS((at // 512).to_bytes(16, "little"))
            encryptor = Cipher(algorithms.AES(volume_key), tweak).encryptor()
            file.write(encryptor.update(data[at : at + sector]))


def test_a_wrong_passphrase_leaves_no_volume(
    shared_evsd: Evsd, tmp_path: Path, passphrase: Path
) -> None:
    source = tmp_path / "source.luks"
    luks_file(source, image(tmp_path / "raw", size=4 * MIB), key_of(passphrase))
    passphrase.write_text("open barley\n")
    refused = shared_evsd.ctl("import", str(source), "no", "--passphrase-file", str(passphrase))
    assert (refused.status, "opens no slot" in refused.err) == (1, True)
    assert no_volume(shared_evsd, "no")


def test_a_passphrase_is_not_taken_from_nowhere(shared_evsd: Evsd, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"LUKS\xba\xbe\0\2" + bytes(MIB))
    assert shared_evsd.ctl("import", str(tmp_path / "source"), "no").status == 2


SECRET = b"what another file of this host holds".ljust(4096, b".")


def backing(source: Path, other: Path, _: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", other, "-F", "raw", source)


def data_file(source: Path, other: Path, _: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={other}.q", source, "1M")
    header = source.read_bytes().replace(f"{other}.q".encode(), f"{other}\0\0".encode())
    source.write_bytes(header)


def flat_vmdk(source: Path, other: Path, directory: Path) -> None:
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", source, "1M")
    shutil.copy(other, directory / "source-flat.vmdk")


def vmdk_with_a_descriptor_of_another_file(source: Path, other: Path, _: Path) -> None:
    descriptor = (
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n"
        f'createType="monolithicFlat"\nRW 8 FLAT "{other}" 0\n'
    )
    head = b"KDMV" + (1).to_bytes(4, "little") + bytes(4 + 8 + 8)  # capacity 0
    head += (1).to_bytes(8, "little") + (20).to_bytes(8, "little")  # descriptor at sector 1
    source.write_bytes(head.ljust(512, b"\0") + descriptor.encode().ljust(20 * 512, b"\0"))


@pytest.mark.parametrize(
    "make", [backing, data_file, flat_vmdk, vmdk_with_a_descriptor_of_another_file]
)
def test_an_image_that_names_other_files_is_refused(
    shared_evsd: Evsd, tmp_path: Path, make: object
) -> None:
    other, source = tmp_path / "other", tmp_path / "source.vmdk"
    other.write_bytes(SECRET)
    make(source, other, tmp_path)  # type: ignore[operator]
    refused = shared_evsd.ctl("import", str(source), "no")
    assert refused.status == 1, refused
    assert "other file" in refused.err or "another file" in refused.err, refused
    assert no_volume(shared_evsd, "no")


def test_a_raw_image_that_looks_like_qcow2_is_imported_as_it_is_if_that_is_said(
    shared_evsd: Evsd, tmp_path: Path
) -> None:
    other, source = tmp_path / "other", tmp_path / "source"
    other.write_bytes(SECRET)
    backing(source, other, tmp_path)
    shared_evsd.ok("import", str(source), "looks-so", "--format", "raw")
    assert holds(shared_evsd, "looks-so", source)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty", "broken"])
def test_a_file_that_is_no_image_is_refused(shared_evsd: Evsd, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "directory":
        source.mkdir()
    elif kind == "fifo":
        os.mkfifo(source)
    elif kind == "empty":
        source.touch()
    elif kind == "broken":
        source.write_bytes(b"QFI\xfb" + os.urandom(4096))
    refused = shared_evsd.ctl("import", str(source), "no")
    assert (refused.status, "Traceback" in refused.err) == (1, False), refused
    assert no_volume(shared_evsd, "no")


def test_a_name_that_is_taken_is_refused_before_anything_is_copied(
    shared_evsd: Evsd, raw: Path
) -> None:
    shared_evsd.ok("create", "taken", "--size", "1G")
    refused = shared_evsd.ctl("import", str(raw), "taken")
    assert (refused.status, "EVS.1003" in refused.err) == (1, True)
    assert [v["name"] for v in shared_evsd.object("list")["volumes"]].count("taken") == 1


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An image whose copying takes ten seconds, however fast the machine is."""
    file = tmp_path_factory.mktemp("slow") / "raw"
    with fuse_file(file, "--filter=delay", "pattern", "64M", "delay-read=150ms"):
        yield file


def importing(evsd: Evsd, source: Path) -> subprocess.Popen[str]:
    """Evsctl in the middle of an import."""
    before = allocated(evsd)
    evsctl = evsd.spawn_ctl("import", str(source), "data")
    until(lambda: allocated(evsd) > before + 4 * MIB)
    return evsctl


def allocated(evsd: Evsd) -> int:
    found = 0
    for file in evsd.pool.iterdir():
        with contextlib.suppress(FileNotFoundError):  # files get other names while we look
            found += file.stat().st_blocks * 512
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_leaves_nothing(
    shared_evsd: Evsd, slow: Path, number: signal.Signals
) -> None:
    evsctl = importing(shared_evsd, slow)
    evsctl.send_signal(number)
    evsctl.communicate(timeout=60)
    assert evsctl.returncode == 1
    assert no_volume(shared_evsd, "data")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["import", "create"])
def test_an_interrupt_at_the_moment_of_creation_leaves_nothing(
    shared_evsd: Evsd, raw: Path, number: signal.Signals, command: str
) -> None:
    words = {"import": ["import", str(raw), "data"], "create": ["create", "data", "--size", "1G"]}
    assert interrupted(shared_evsd, number, b"POST /v2.1/", *words[command]) == 1
    assert no_volume(shared_evsd, "data")


def test_what_a_killed_import_has_left_is_told_at_the_next(
    shared_evsd: Evsd, raw: Path, slow: Path
) -> None:
    evsctl = importing(shared_evsd, slow)
    evsctl.kill()
    evsctl.communicate(timeout=60)
    done = shared_evsd.ctl("import", str(raw), "data")
    assert done.status == 0
    told = re.search("evsctl detach ([0-9a-f-]{36}); evsctl delete ([0-9a-f-]{36})", done.err)
    assert told is not None
    shared_evsd.ok("detach", told[1])
    shared_evsd.ok("delete", told[2], "--yes")
    shared_evsd.ok("delete", "data", "--yes")
    assert no_volume(shared_evsd, "data")


@pytest.mark.parametrize("name", ["", " data", ID, "x" * 256])
def test_a_bad_name_is_refused_before_anything_is_copied(
    shared_evsd: Evsd, raw: Path, name: str
) -> None:
    before = shared_evsd.object("list")["count"]
    refused = shared_evsd.ctl("import", str(raw), name)
    assert (refused.status, "EVS.1003" in refused.err) == (1, True), refused
    assert shared_evsd.object("list")["count"] == before


def test_a_killed_evsd_leaves_no_volume_of_that_name(evsd: Evsd, raw: Path, slow: Path) -> None:
    evsd.prepare()
    evsctl = importing(evsd, slow)
    evsd.kill()
    _, errors = evsctl.communicate(timeout=120)
    assert (evsctl.returncode, "can't be reached" in errors) == (1, True)
    evsd.start()
    [left] = evsd.object("list")["volumes"]
    assert left["name"].startswith("data.importing-")
    evsd.ok("detach", left["id"])
    evsd.ok("delete", left["id"], "--yes")
    evsd.ok("import", str(raw), "data")
    assert holds(evsd, "data", raw)


def test_a_pool_that_is_full_leaves_nothing_of_an_import(tmp_path: Path) -> None:
    large = image(tmp_path / "raw", data_mib=90)
    with small_pool(64) as (pool, config), running_evsd("--config", str(config)) as evsd:
        evsd.prepare()
        refused = evsd.ctl("import", str(large), "data")
        assert (refused.status, "No space left" in refused.err) == (1, True), refused
        assert no_volume(evsd, "data")
        assert list(pool.iterdir()) == []


UNUSABLE: dict[str, tuple[str, ...]] = {
    "disabled": ("key", "disable", "test-key", "--yes"),
    "scheduled for deletion": ("key", "schedule-deletion", "test-key", "--days", "7", "--yes"),
    "may not use keys": ("delegation", "revoke", "--yes"),
}
AGAIN: dict[str, list[tuple[str, ...]]] = {
    "disabled": [("key", "enable", "test-key")],
    "scheduled for deletion": [
        ("key", "cancel-deletion", "test-key"),
        ("key", "enable", "test-key"),
    ],
    "may not use keys": [("delegation", "create")],
}


@pytest.mark.parametrize("state", UNUSABLE)
@pytest.mark.parametrize("command", ["import", "export"])
def test_a_copy_whose_key_can_not_be_used_any_more_says_so(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, command: str, state: str
) -> None:
    """The key is lost when the volume has been attached, before the first byte is copied."""
    words = ["import", str(raw), "data", "--key", "test-key"]
    if command == "export":
        shared_evsd.ok("create", "whole", "--size", "1G", "--key", "test-key")
        words = ["export", "whole", str(tmp_path / "out")]
    attached_now = f"GET /v3/{shared_evsd.project_id()}/attachments/".encode()
    with relay(
        shared_evsd.socket, attached_now, lambda: shared_evsd.ok(*UNUSABLE[state])
    ) as socket:
        evsctl = shared_evsd.spawn_ctl(*words, socket=socket)
        _, said = evsctl.communicate(timeout=120)
    for again in AGAIN[state]:
        shared_evsd.ok(*again)
    assert (evsctl.returncode, state in said) == (1, True), said
    assert "test-key" in said or state == "may not use keys", said
    assert "evsctl " in said, said
    assert no_volume(shared_evsd, "data")
    assert list(tmp_path.iterdir()) == []
    if command == "export":
        shared_evsd.ok("delete", "whole", "--yes")
