"""Disk images that are imported: what they are, how large, and how they are read.

An image can name other files: a backing file, external data, extents. Who made the image could
make us read any file of this host that way, so such images are refused, and every image is
opened by descriptor, in one format that qemu-img doesn't choose itself.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evsd.cli import luks, tools
from evsd.cli.attachments import socket_of
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.tools import Progress, by_descriptor
from evsd.connector.writing import write_data
from nbd_plugin import luks2

DRIVERS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "luks": "luks"}
FORMATS = tuple(DRIVERS)
# How files of these formats begin. A fixed VHD has its mark at the end only, where any guest
# could have written it: it needs to be named.
MAGICS = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"# Disk Des": "vmdk",
    b"conectix": "vhd",
    b"LUKS\xba\xbe": "luks",
}
VMDK_CAPACITY = slice(12, 20)
VHD_FOOTER = 512


@dataclass(frozen=True, slots=True)
class Source:
    """An open image: `size` is that of the disk in it, in bytes."""

    descriptor: int
    format: str
    size: int
    secret: int | None = None
    payload: luks.Payload | None = None  # of LUKS2

    def copy_to(self, uri: str, progress: Progress) -> None:
        """Copy it to an export that reads as zeros."""
        if self.payload is not None:
            self._decrypt_to(uri, self.payload, progress)
            return
        inherited = [self.descriptor] if self.secret is None else [self.descriptor, self.secret]
        words = ["qemu-img", "convert", "-n", "-p", "--target-is-zero", "-t", "writeback"]
        if self.secret is not None:
            words += ["--object", f"secret,id=s,file={by_descriptor(self.secret)}"]
        # -O names the target's format for the case without --target-image-opts.
        words += ["-O", "raw", self.node, uri]
        tools.copy(words, progress, descriptors=inherited)

    def _decrypt_to(self, uri: str, payload: luks.Payload, progress: Progress) -> None:
        assert self.secret is not None  # noqa: S101 - it was needed to find the payload
        pieces = luks.decrypted(self.descriptor, payload, self.secret)
        write_data(socket_of(uri), _not_zero(pieces, self.size, progress))

    @property
    def node(self) -> str:
        """The image as qemu-img opens it: this file, this format, and no other file."""
        return _node(self.descriptor, self.format, secret=self.secret is not None)


def _not_zero(
    pieces: Iterator[tuple[int, bytes]], size: int, progress: Progress
) -> Iterator[tuple[int, bytes]]:
    for offset, piece in pieces:
        if piece.count(0) != len(piece):
            yield offset, piece
        progress(100 * offset // size)


def _node(descriptor: int, image_format: str, *, secret: bool = False) -> str:
    node: dict[str, Any] = {
        "driver": DRIVERS[image_format],
        "file": {"driver": "file", "filename": by_descriptor(descriptor)},
    }
    if image_format in ("qcow2", "vmdk"):
        node["backing"] = None
    if secret:
        node["key-secret"] = "s"
    return f"json:{json.dumps(node)}"


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The image's descriptor; refuses what is no regular file."""
    try:
        # Not blocking: a FIFO is refused, not waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused("", f"{path}: {error.strerror}", "") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("", f"{path} is not a regular file", "")
        if status.st_size == 0:
            raise Refused("", f"{path} is empty", "")
        yield descriptor
    finally:
        os.close(descriptor)


def detect(descriptor: int) -> str:
    """The format a file has by its first bytes; raw if they say nothing."""
    head = os.pread(descriptor, 512, 0)
    found = next((name for magic, name in MAGICS.items() if head.startswith(magic)), "raw")
    end = os.fstat(descriptor).st_size - VHD_FOOTER
    if found == "raw" and end >= 0 and os.pread(descriptor, 8, end) == b"conectix":
        raise UsageProblem("this is a fixed VHD, or a raw image: say --format vhd or --format raw")
    return found


def inspect(descriptor: int, image_format: str) -> Source:
    """An image that needs no passphrase; refuses one that names other files."""
    head = os.pread(descriptor, 512, 0)
    if image_format == "vmdk" and (head[:4] != b"KDMV" or not any(head[VMDK_CAPACITY])):
        raise Refused("", "this VMDK only describes other files", "convert it: qemu-img convert")
    information = _information(descriptor, image_format)
    details = information.get("format-specific", {}).get("data", {})
    others = [information.get("backing-filename"), details.get("data-file")]
    others += [extent.get("filename") for extent in details.get("extents", [])]
    named = [name for name in others if name not in (None, by_descriptor(descriptor))]
    if named:
        raise Refused(
            "",
            f"the image needs another file, {named[0]}; such images are refused",
            "if you trust it, flatten it first: qemu-img convert -O qcow2 FILE NEW; "
            "if it is a raw image that only looks so: --format raw",
        )
    if information.get("encrypted"):
        raise Refused("", f"an encrypted {image_format} image can't be read", "")
    return Source(descriptor, image_format, int(information["virtual-size"]))


def inspect_luks(descriptor: int, secret: int) -> Source:
    """A LUKS1 or LUKS2 file and the descriptor of its passphrase, which is tried."""
    try:
        header = luks2.read(descriptor)
    except luks2.HeaderError:
        pass
    else:
        raise Refused(
            "",
            f"this is the file of volume {header.uuid} itself, its key is wrapped by a KMS",
            "evsctl recover registers it",
        )
    luks.check_passphrase(descriptor, secret)
    if os.pread(descriptor, 2, 6) == b"\0\2":
        payload = luks.payload(descriptor)
        return Source(descriptor, "luks", payload.size, secret, payload)
    information = _information(descriptor, "luks", secret)
    return Source(descriptor, "luks", int(information["virtual-size"]), secret)


def _information(descriptor: int, image_format: str, secret: int | None = None) -> dict[str, Any]:
    words = ["qemu-img", "info", "--output=json"]
    inherited = [descriptor]
    if secret is not None:
        words += ["--object", f"secret,id=s,file={by_descriptor(secret)}"]
        inherited.append(secret)
    node = _node(descriptor, image_format, secret=secret is not None)
    information: dict[str, Any] = json.loads(tools.run([*words, node], descriptors=inherited))
    return information
