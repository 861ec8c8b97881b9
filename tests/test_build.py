"""The build says clearly when it can't be what nbdkit needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECK = ROOT / "tools" / "check_python"


def test_the_environment_is_of_the_python_that_nbdkit_embeds() -> None:
    dumped = subprocess.run(
        ["nbdkit", "python", "--dump-plugin"], capture_output=True, text=True, check=True
    ).stdout
    version = next(line for line in dumped.splitlines() if line.startswith("python_version="))
    assert version.removeprefix("python_version=").startswith(
        f"{sys.version_info.major}.{sys.version_info.minor}."
    )


def test_another_python_is_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 3.99\n")
    other.chmod(0o755)
    done = subprocess.run([CHECK, other], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nbdkit embeds Python 3." in done.stderr
    assert f"but {other} is 3.99" in done.stderr


def test_the_right_python_is_accepted() -> None:
    subprocess.run([CHECK, sys.executable], check=True)
