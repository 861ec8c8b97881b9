"""Each file of `nbd_plugin/native` stands by itself: it names what it needs, and hides its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[2] / "nbd_plugin" / "native"
BODY = "xts_lanes.h"  # of each width, whose file says first what its vectors are
FILES = [path for path in sorted(NATIVE.glob("*.[ch]")) if path.name != BODY]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_compiles_alone_and_without_warnings(path: Path) -> None:
    # -Wmissing-prototypes: what no header offers is static.
    warnings = ["-Werror", "-Wmissing-prototypes", "-Wstrict-prototypes"]
    command = ["gcc", "-fsyntax-only", "@compile_flags.txt", *warnings, "-x", "c", path.name]
    done = subprocess.run(command, cwd=NATIVE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(NATIVE.glob("*.c")), ids=lambda path: path.name)
def test_a_file_begins_with_its_own_header(path: Path) -> None:
    own = path.with_suffix(".h")
    if not own.exists():
        own = NATIVE / "xts_blocks.h"  # the widths and their keys
    first = next(line for line in path.read_text().splitlines() if line.startswith("#include"))
    assert first == f'#include "{own.name}"'
