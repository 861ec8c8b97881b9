"""evsctl export: files that need no evsd, and no half file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.support.daemon import Evsd, until
from tests.support.transfer import MIB, decrypted, identical, image, luks_segment, opens, run


@pytest.fixture(scope="module")
def raw(shared_evsd: Evsd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of volume `data`."""
    file = image(tmp_path_factory.mktemp("raw") / "raw")
    shared_evsd.ok("import", str(file), "data", "--key", "test-key")
    return file


def available(evsd: Evsd, volume: str) -> bool:
    shown = evsd.object("show", volume)["volume"]
    return shown["status"] == "available" and not evsd.server_pids()


def test_a_raw_file_is_the_volume_and_sparse(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    target = tmp_path / "out: odd, name.raw"
    shared_evsd.ok("export", "data", str(target))
    assert target.stat().st_size == 1024 * MIB
    assert target.stat().st_blocks * 512 < 4 * MIB
    assert target.stat().st_mode & 0o777 == 0o600
    padded = raw.read_bytes() + bytes(1024 * MIB - raw.stat().st_size)
    with target.open("rb") as file:
        exported = hashlib.file_digest(file, "sha256").digest()
    assert exported == hashlib.sha256(padded).digest()
    assert available(shared_evsd, "data")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_qcow2_file_is_the_volume(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.qcow2"
    shared_evsd.ok("export", "data", str(target), "--format", "qcow2")
    assert identical(raw, target, "qcow2")
    assert target.stat().st_size < 4 * MIB


def test_a_luks2_file_is_the_volume_to_stock_cryptsetup(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    """Under a key of its own, and ciphertext all over; the key file holds any bytes."""
    target, key, plain = tmp_path / "out.luks", tmp_path / "key", tmp_path / "plain"
    key.write_bytes(b"\0\xff\n" + os.urandom(61))
    shared_evsd.ok("export", "data", str(target), "--format", "luks2", "--key-file", str(key))
    assert luks_segment(target)["type"] == "crypt"
    dump = run("cryptsetup", "luksDump", target)
    assert ("Requirements" in dump, "argon2id" in dump) == (False, True)
    assert "evsd" not in dump
    assert opens(target, key)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(key.read_bytes() + b"x")
    assert not opens(target, wrong)
    decrypted(target, key, plain)
    assert plain.stat().st_size == 1024 * MIB
    assert identical(raw, plain)
    volume_key = tmp_path / "volume-key"
    volume_key.write_bytes(shared_evsd.data_key("data"))
    test = ["cryptsetup", "open", "--test-passphrase", "--key-size", "512", "--volume-key-file"]
    assert subprocess.run([*test, volume_key, target], check=False).returncode != 0


def test_an_existing_file_is_replaced_only_when_told(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.raw"
    target.write_text("mine")
    refused = shared_evsd.ctl("export", "data", str(target))
    assert (refused.status, "--force" in refused.err) == (1, True)
    assert target.read_text() == "mine"
    shared_evsd.ok("export", "data", str(target), "--force")
    assert identical(raw, target)


def test_a_link_is_replaced_and_not_followed(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    target, other = tmp_path / "out.raw", tmp_path / "other"
    other.write_text("another's")
    target.symlink_to(other)
    assert shared_evsd.ctl("export", "data", str(target)).status == 1
    shared_evsd.ok("export", "data", str(target), "--force")
    assert other.read_text() == "another's"
    assert not target.is_symlink()
    assert identical(raw, target)


def null(_: Path) -> str:
    return "/dev/null"


def fifo(directory: Path) -> str:
    os.mkfifo(directory / "fifo")
    return str(directory / "fifo")


def directory(directory: Path) -> str:
    (directory / "directory").mkdir()
    return str(directory / "directory")


def nothing(directory: Path) -> str:
    return str(directory / "nothing")


@pytest.mark.parametrize("leads_to", [null, fifo, directory, nothing])
def test_a_link_to_what_is_no_file_is_refused(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, leads_to: Callable[[Path], str]
) -> None:
    link, target = tmp_path / "out.raw", leads_to(tmp_path)
    link.symlink_to(target)
    for options in ((), ("--force",)):
        refused = shared_evsd.ctl("export", "data", str(link), *options)
        assert (refused.status, "not a regular file" in refused.err) == (1, True), raw
    assert str(link.readlink()) == target


def to_stream(evsd: Evsd, directory: Path, *options: str, **streams: Any) -> Popen[bytes]:
    """Evsctl export to - in a directory of its own."""
    return Popen(
        [evsd.evsctl, "export", "data", "-", *options],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{evsd.socket}"},
        stderr=PIPE,
        **streams,
    )


def test_a_volume_is_written_to_standard_output_and_nothing_else(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    with to_stream(shared_evsd, tmp_path, stdout=PIPE) as evsctl:
        assert evsctl.stdout is not None
        digest = hashlib.sha256()
        while data := evsctl.stdout.read(MIB):
            digest.update(data)
    assert evsctl.returncode == 0
    padded = raw.read_bytes() + bytes(1024 * MIB - raw.stat().st_size)
    assert digest.digest() == hashlib.sha256(padded).digest()
    assert list(tmp_path.iterdir()) == []
    assert available(shared_evsd, "data")


def test_a_stream_goes_on_where_the_file_it_goes_to_ends(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"before" + bytes(4090))
    with target.open("ab") as file, to_stream(shared_evsd, tmp_path, stdout=file) as evsctl:
        evsctl.communicate(timeout=120)
    assert (evsctl.returncode, target.stat().st_size) == (0, 4096 + 1024 * MIB)
    with target.open("rb") as made:
        assert made.read(6) == b"before"
        made.seek(4096)
        assert made.read(raw.stat().st_size) == raw.read_bytes()


def test_a_stream_that_nobody_reads_is_an_error(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    with to_stream(shared_evsd, tmp_path, stdout=PIPE) as evsctl:
        assert evsctl.stdout is not None
        assert evsctl.stderr is not None
        evsctl.stdout.read(MIB)
        evsctl.stdout.close()
        said = evsctl.stderr.read()
    assert (evsctl.returncode, b"Broken pipe" in said, b"Traceback" in said) == (1, True, False)
    assert available(shared_evsd, "data"), raw


@pytest.mark.parametrize("file_format", ["qcow2", "luks2"])
def test_a_format_that_is_not_written_in_order_is_not_streamed(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, file_format: str
) -> None:
    options = ("--format", file_format)
    with to_stream(shared_evsd, tmp_path, *options, stdout=PIPE) as evsctl:
        made, said = evsctl.communicate(timeout=120)
    assert (evsctl.returncode, made, b"export it to a file" in said) == (2, b"", True), raw
    assert list(tmp_path.iterdir()) == []


def test_a_volume_is_not_written_to_a_terminal(
    shared_evsd: Evsd, raw: Path, tmp_path: Path
) -> None:
    ours, theirs = os.openpty()
    with to_stream(shared_evsd, tmp_path, stdout=theirs) as evsctl:
        _, said = evsctl.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert (evsctl.returncode, b"terminal" in said) == (2, True), raw


@pytest.mark.parametrize("target", ["/dev/null", "/tmp", "/no/such/directory/file"])
def test_what_can_not_become_a_file_is_refused(shared_evsd: Evsd, raw: Path, target: str) -> None:
    refused = shared_evsd.ctl("export", "data", target, "--force")
    assert (refused.status, "Traceback" in refused.err) == (1, False), raw


def test_an_attached_volume_is_not_exported(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    shared_evsd.ok("attach", "data", "--transport", "uri")
    refused = shared_evsd.ctl("export", "data", str(tmp_path / "out"))
    shared_evsd.ok("detach", "data")
    assert (refused.status, "EVS.2134" in refused.err) == (1, True), raw
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(shared_evsd: Evsd, raw: Path, tmp_path: Path) -> None:
    run("mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path)
    try:
        refused = shared_evsd.ctl("export", "data", str(tmp_path / "out"))
        assert (refused.status, "No space left" in refused.err) == (1, True), raw
        assert list(tmp_path.iterdir()) == []
    finally:
        run("umount", tmp_path)
    assert available(shared_evsd, "data")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(
    shared_evsd: Evsd, raw: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """A LUKS2 file: that takes long enough to be interrupted."""
    key, target = tmp_path / "key", tmp_path / "out" / "file"
    key.write_text("key")
    target.parent.mkdir()
    words = ["export", "data", str(target), "--format", "luks2", "--key-file", str(key)]
    evsctl = shared_evsd.spawn_ctl(*words)
    until(lambda: sum(f.stat().st_blocks for f in target.parent.iterdir()) * 512 > 8 * MIB)
    evsctl.send_signal(number)
    evsctl.communicate(timeout=60)
    assert evsctl.returncode == 1, raw
    assert list(target.parent.iterdir()) == []
    assert available(shared_evsd, "data")
