"""The plugin's package with its compiled module built otherwise: for a sanitizer, or without its
own AES.

A sanitized one runs in a Python of ours, not in nbdkit: nbdkit 1.32 with libasan loaded before it
hangs in setlocale() when it starts Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ADDRESS, THREAD = "address,undefined", "thread"
LIBRARIES = {ADDRESS: "libasan.so", THREAD: "libtsan.so"}


def build(directory: Path, sanitizer: str, *options: str) -> dict[str, str]:
    """Build into an empty directory; gives the environment of a Python that is to use it."""
    flags = f"-fsanitize={sanitizer} -fno-sanitize-recover=all -fno-omit-frame-pointer"
    environment = build_plain(directory, *options, flags=flags)
    preload = subprocess.run(
        ["gcc", f"-print-file-name={LIBRARIES[sanitizer]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return environment | {
        "LD_PRELOAD": preload.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own are many
    }


def build_plain(directory: Path, *options: str, flags: str = "") -> dict[str, str]:
    """The same without a sanitizer."""
    subprocess.run(
        [
            *(sys.executable, "setup.py", "--quiet", "build_ext"),
            *("--build-lib", str(directory / "lib"), "--build-temp", str(directory / "objects")),
        ],
        cwd=CHECKOUT,
        env=os.environ | {"CFLAGS": " ".join([flags, *options]), "LDFLAGS": flags},
        check=True,
        capture_output=True,
    )
    for module in (CHECKOUT / "nbd_plugin").glob("*.py"):
        shutil.copy(module, directory / "lib" / "nbd_plugin")
    return os.environ | {
        # Not the current folder first, where the other build is.
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": f"{directory / 'lib'}{os.pathsep}{CHECKOUT}",
    }


def build_front(path: Path) -> Path:
    """The front that makes requests by itself, for the thread sanitizer."""
    native, source = CHECKOUT / "nbd_plugin" / "native", Path(__file__).with_name("threads_front.c")
    flags = ["-g", "-O1", "-fPIC", "-shared", f"-fsanitize={THREAD}", f"-I{native}"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(path)], check=True)
    return path


def main() -> None:
    """Run a module of Python with it: ``python -m tests.support.sanitized MODULE ARGUMENT...``."""
    with tempfile.TemporaryDirectory() as directory:
        environment = build(Path(directory), ADDRESS)
        done = subprocess.run([sys.executable, "-m", *sys.argv[1:]], env=environment, check=False)
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
