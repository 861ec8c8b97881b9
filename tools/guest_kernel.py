#!/usr/bin/python3
"""Fetch the kernel the guest tests boot: Debian's own, unpacked, not installed.

    .cache/guest/vmlinux            the uncompressed kernel (boots in half the time under TCG)
    .cache/guest/vmlinuz            as packaged
    .cache/guest/modules/<version>  its modules, with their dependency tables

Does nothing when they are there already. Needs the packages kmod and xz-utils (or Python's
lzma), a working apt and 500 MB of disk; no root, except that apt's package lists may have to be
refreshed.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "guest"
# The cloud flavour would be smaller but has no 9p.
METAPACKAGE = "linux-image-amd64"


def main() -> None:
    """Fetch and unpack unless done; the vmlinux comes last and marks the whole as complete."""
    if (CACHE / "vmlinux").exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        package = download(kernel_package(), Path(scratch))
        install(unpack(package, Path(scratch)))


def kernel_package() -> str:
    """The name of the newest kernel package, e.g. linux-image-6.1.0-56-amd64."""
    name = _dependency()
    if name is None:
        _run("apt-get", "update")
        name = _dependency()
    if name is None:
        sys.exit(f"apt knows no {METAPACKAGE}: check /etc/apt/sources.list")
    return name


def download(name: str, scratch: Path) -> Path:
    """Have apt fetch and verify the package; a stale list is refreshed once."""
    command = ("apt-get", "download", "-o", "APT::Sandbox::User=root", name)
    if subprocess.run(command, cwd=scratch).returncode != 0:
        _run("apt-get", "update")
        subprocess.run(command, cwd=scratch, check=True)
    return next(scratch.glob("*.deb"))


def unpack(package: Path, scratch: Path) -> Path:
    """Unpack next to it and make the modules' dependency tables."""
    root = scratch / "root"
    _run("dpkg-deb", "-x", str(package), str(root))
    version = next((root / "lib/modules").iterdir()).name
    _run("/usr/sbin/depmod", "-b", str(root), version)
    return root


def install(root: Path) -> None:
    """Move the parts to their places."""
    shutil.rmtree(CACHE / "modules", ignore_errors=True)
    (root / "lib/modules").rename(CACHE / "modules")
    image = next((root / "boot").glob("vmlinuz-*"))
    kernel = uncompressed(image.read_bytes())
    image.rename(CACHE / "vmlinuz")
    (CACHE / "vmlinux.new").write_bytes(kernel)
    (CACHE / "vmlinux.new").rename(CACHE / "vmlinux")


def uncompressed(image: bytes) -> bytes:
    """The ELF kernel inside a bzImage, found by its setup header (Documentation/x86/boot.rst)."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # Behind the xz stream stands the unpacked size, which is not part of it.
    return lzma.LZMADecompressor().decompress(image[start : start + length])


def _dependency() -> str | None:
    found = subprocess.run(
        ("apt-cache", "depends", METAPACKAGE), capture_output=True, text=True
    ).stdout
    match = re.search(r"Depends: (linux-image-\S+)", found)
    return match[1] if match else None


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, env={**os.environ, "LC_ALL": "C"})


if __name__ == "__main__":
    main()
