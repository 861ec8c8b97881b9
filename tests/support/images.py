"""Disk images of every format, and evsctl's word on them before there is a volume."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner

from evsd.cli.main import main
from tests.support.daemon import Result
from tests.support.transfer import MIB, run

NOWHERE = {"EVSD_ENDPOINT": "unix:///no/such/evsd.sock"}
# By what the tests call them: qemu-img's name for the format, and options.
FORMATS = {
    "qcow2": ("qcow2",),
    "qcow2-zlib": ("qcow2", "-c"),
    "qcow2-zstd": ("qcow2", "-c", "-o", "compression_type=zstd"),
    "qed": ("qed",),
    "vdi": ("vdi",),
    "vdi-static": ("vdi", "-o", "static=on"),
    "vhdx": ("vhdx",),
    "vhdx-fixed": ("vhdx", "-o", "subformat=fixed"),
    "vmdk": ("vmdk",),
    "vmdk-stream": ("vmdk", "-o", "subformat=streamOptimized"),
    "vhd": ("vpc", "-o", "force_size=on"),
}


def disk(path: Path) -> Path:
    """A disk of 12 MiB: text, which compresses, at both ends, and holes."""
    text = b"".join(b"line %d\n" % number for number in range(100_000))
    with path.open("wb") as file:
        for at in (MIB, 5 * MIB, 11 * MIB):
            file.seek(at)
            file.write(text[:MIB])
    return path


def made(raw: Path, path: Path, name: str) -> Path:
    """The raw image in one of `FORMATS`."""
    image_format, *options = FORMATS[name]
    run("qemu-img", "convert", "-f", "raw", "-O", image_format, *options, raw, path)
    return path


def cut(path: Path, length: int) -> Path:
    """The first `length` bytes of a file, beside it."""
    short = path.with_suffix(".cut")
    short.write_bytes(path.read_bytes()[:length])
    return short


def patched(path: Path, *patches: tuple[int, bytes]) -> Path:
    """The same file with other bytes in some places; from the end where they are negative."""
    with path.open("r+b") as file:
        for offset, data in patches:
            file.seek(offset, os.SEEK_SET if offset >= 0 else os.SEEK_END)
            file.write(data)
    return path


def judged(image: Path | str, *options: str) -> Result:
    """What evsctl says to an import where no evsd is; in this process, which is quicker."""
    done = CliRunner(env=NOWHERE).invoke(main, ["import", str(image), "name", *options])
    return Result(done.exit_code, done.stdout, done.stderr)


def refusal(image: Path, *options: str) -> str:
    """Why evsctl refuses the image; it does before it asks evsd for anything."""
    result = judged(image, *options)
    assert result.status == 1, result
    assert "can't be reached" not in result.err, result
    assert str(image) in result.err, result
    return result.err


def accepted(image: Path, *options: str) -> str:
    """What evsctl says of an image that it would import."""
    result = judged(image, *options)
    assert "can't be reached" in result.err, result
    return result.err
