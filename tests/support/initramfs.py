"""A minimal initramfs: busybox, some kernel modules with what they depend on, an init script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static

_DIRECTORY, _PROGRAM = 0o040755, 0o100755


def build(target: Path, *, modules: Path, wanted: tuple[str, ...], init: str) -> None:
    """Write a newc cpio archive.

    `modules` is a /lib/modules/VERSION directory after depmod, `wanted` names of modules. `init`
    is busybox shell script to run as PID 1; `insmod` lines for the modules are put before it.
    """
    files = list(_closure(modules, wanted))
    loading = "".join(f"insmod /{file.name}\n" for file in files)
    prelude = "#!/bin/sh\nset -e\n/bin/busybox --install -s /bin\n"
    with target.open("wb") as archive:
        # Programs are symlinked by busybox itself; only the first shell must be there.
        for directory in ("bin", "dev", "host", "rw", "new"):
            archive.write(_entry(directory, _DIRECTORY, b""))
        for name in ("bin/busybox", "bin/sh"):
            archive.write(_entry(name, _PROGRAM, BUSYBOX.read_bytes()))
        for file in files:
            archive.write(_entry(file.name, _PROGRAM, file.read_bytes()))
        archive.write(_entry("init", _PROGRAM, (prelude + loading + init).encode()))
        archive.write(_entry("TRAILER!!!", 0, b""))


def _closure(modules: Path, wanted: tuple[str, ...]) -> Iterator[Path]:
    """Files of the modules and their dependencies, in an order that can be loaded."""
    needs = dict(_dependencies(modules))
    by_name = {Path(file).stem.replace("-", "_"): file for file in needs}
    seen: set[str] = set()

    def visit(file: str) -> Iterator[Path]:
        if file not in seen:
            seen.add(file)
            for needed in needs[file]:
                yield from visit(needed)
            yield modules / file

    for name in wanted:
        yield from visit(by_name[name.replace("-", "_")])


def _dependencies(modules: Path) -> Iterator[tuple[str, list[str]]]:
    for line in (modules / "modules.dep").read_text().splitlines():
        file, needed = line.split(":")
        yield file, needed.split()


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """One file in the newc format (kernel Documentation/driver-api/early-userspace)."""
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    header = "070701" + "".join(f"{field:08X}" for field in fields)
    return _padded(header.encode() + name.encode() + b"\0") + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
