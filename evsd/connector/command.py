"""Running the system's own tools."""

from __future__ import annotations

import os
import shutil
import subprocess

from evsd.connector.errors import TransportUnavailable

# losetup and modprobe are in sbin, which an ordinary user's PATH lacks even under sudo.
_PATH = os.pathsep.join(("/usr/sbin", "/usr/bin", "/sbin", "/bin"))


def find(program: str) -> str | None:
    """Full path of a system tool, None if this host lacks it."""
    return shutil.which(program, path=_PATH)


def require(program: str, package: str) -> str:
    """Full path of a system tool; TransportUnavailable names the Debian package to install."""
    path = find(program)
    if path is None:
        raise TransportUnavailable(f"{program} is not installed", f"apt install {package}")
    return path


def run(*argv: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run to the end and capture; the exit status is the caller's to judge."""
    return subprocess.run(  # noqa: S603 - argv is ours, no shell
        argv, check=False, capture_output=True, text=True, timeout=timeout
    )


def load_module(name: str, *, dry_run: bool = False) -> bool:
    """Load a kernel module, or with `dry_run` only say whether there is one to load."""
    modprobe = find("modprobe")
    if modprobe is None:
        return False
    extra = ("--dry-run",) if dry_run else ()
    return run(modprobe, "--quiet", *extra, name).returncode == 0
