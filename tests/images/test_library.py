"""The package without evsctl and without evsd: any NBD export will do."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evsd import images
from tests.support.daemon import until
from tests.support.images import FORMATS, cut, disk, made
from tests.support.sockets import listens
from tests.support.transfer import MIB, decrypted, identical, image, luks_segment, run

PASSPHRASE = b"open sesame"
SIZE = 20 * MIB
IN_FILES = {name: name.partition("-")[0] for name in FORMATS}


@pytest.fixture
def uri() -> Iterator[str]:
    """An export of 20 MiB that reads as zeros."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        socket = Path(directory) / "s"
        words = ["nbdkit", "--foreground", f"--unix={socket}", "memory", str(SIZE)]
        with subprocess.Popen(words) as server:
            until(lambda: listens(socket))
            yield f"nbd+unix:///?socket={socket}"
            server.terminate()


def no_passphrase() -> bytes:
    raise AssertionError("it is not asked for")


def unheard(_: int) -> None:
    pass


@pytest.mark.parametrize("image_format", ["raw", "qcow2", "gzip"])
def test_an_image_is_copied_in_and_out(tmp_path: Path, uri: str, image_format: str) -> None:
    raw, source = image(tmp_path / "raw", size=SIZE), tmp_path / "source"
    if image_format == "gzip":
        source.write_bytes(subprocess.run(["gzip", "-c", raw], capture_output=True).stdout)
    else:
        run("qemu-img", "convert", "-f", "raw", "-O", image_format, raw, source)
    with images.open_image(source) as opened:
        assert images.detect_format(opened) == image_format
        found = images.inspect(
            opened, image_format, unheard, passphrase=no_passphrase, guessed=True
        )
        assert (found.size, found.findings.damage) == (SIZE, [])
        assert bool(found.findings.notes) == (image_format != "qcow2")
        assert found.copy_to(uri, unheard, salvage=False) == []
    with images.new_file(tmp_path / "out", replace=False) as partial:
        images.export_file(uri, SIZE, partial, "raw", unheard, passphrase=b"")
    assert identical(raw, tmp_path / "out")


@contextmanager
def served(file: Path) -> Iterator[Path]:
    """A file, rounded up to whole blocks, as an export on a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        socket = Path(directory) / "s"
        words = ["nbdkit", "--foreground", f"--unix={socket}", "--filter=truncate", "file"]
        with subprocess.Popen([*words, file, "round-up=4096"]) as server:
            try:
                until(lambda: listens(socket))
                yield socket
            finally:
                server.terminate()


@pytest.mark.parametrize("name", ["raw", *FORMATS])
def test_an_image_in_an_export_is_read_as_a_file_is(tmp_path: Path, uri: str, name: str) -> None:
    raw = disk(tmp_path / "raw")
    source = raw if name == "raw" else made(raw, tmp_path / "source", name)
    with (
        served(source) as socket,
        images.served_image("an upload", socket, source.stat().st_size) as opened,
    ):
        image_format = images.detect_format(opened)
        found = images.inspect(
            opened, image_format, unheard, passphrase=no_passphrase, guessed=True
        )
        assert (found.size, found.findings.damage) == (12 * MIB, [])
        assert found.copy_to(uri, unheard, salvage=False) == []
    run("nbdcopy", uri, tmp_path / "out")
    assert identical(raw, tmp_path / "out")


@pytest.mark.parametrize("name", ["raw", *FORMATS])
def test_an_image_in_an_export_that_was_cut_is_refused(tmp_path: Path, name: str) -> None:
    raw = disk(tmp_path / "raw")
    source = raw if name == "raw" else made(raw, tmp_path / "source", name)
    source = cut(source, source.stat().st_size * 3 // 5 + 7)
    with (
        served(source) as socket,
        images.served_image("an upload", socket, source.stat().st_size) as opened,
    ):
        assert damage_of(opened, IN_FILES.get(name, name))


def damage_of(image: images.Image, image_format: str) -> str:
    """Why it is not imported."""
    try:
        found = images.inspect(image, image_format, unheard, passphrase=no_passphrase, guessed=True)
    except images.ImageError as refused:
        return str(refused)
    return found.findings.damage[0].what


def test_a_disk_is_copied_from_export_to_export(tmp_path: Path, uri: str) -> None:
    raw = image(tmp_path / "raw", size=12 * MIB)
    with served(raw) as socket:
        images.copy_export(socket, Path(uri.partition("?socket=")[2]), unheard)
    run("nbdcopy", uri, tmp_path / "out")
    assert identical(raw, tmp_path / "out")


def test_a_luks_file_goes_out_and_in_by_its_passphrase(tmp_path: Path, uri: str) -> None:
    raw, target, key = image(tmp_path / "raw", size=SIZE), tmp_path / "out", tmp_path / "key"
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", raw, uri)
    with images.new_file(target, replace=False) as partial:
        images.export_file(uri, SIZE, partial, "luks2", unheard, passphrase=PASSPHRASE)
    key.write_bytes(PASSPHRASE)
    assert luks_segment(target)["type"] == "crypt"
    decrypted(target, key, tmp_path / "plain")
    assert identical(raw, tmp_path / "plain")
    with images.open_image(target) as opened:
        found = images.inspect(
            opened, "luks", unheard, passphrase=lambda: PASSPHRASE, guessed=False
        )
        assert found.size == SIZE
        with pytest.raises(images.WrongPassphrase, match="the passphrase opens no slot"):
            images.inspect(opened, "luks", unheard, passphrase=lambda: b"barley", guessed=False)


def test_an_error_names_the_file_its_state_and_what_helps(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"7z\xbc\xaf\x27\x1c" + os.urandom(4096))
    with images.open_image(source) as opened, pytest.raises(images.ImageError) as refused:
        images.detect_format(opened)
    error = refused.value
    assert (error.name, error.state) == (str(source), "is a 7z archive, not a disk image")
    assert "7z x" in error.remedy
    assert str(error) == f"{error.name} {error.state}"


def test_what_is_not_finished_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with images.new_file(tmp_path / "out", replace=False) as partial:
            partial.write_bytes(b"a part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
