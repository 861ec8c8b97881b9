"""The build says clearly when it can't be what nbdkit needs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

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


# What evsd, evsd-keys, evsctl and the plugin load.
LOAD = """
import evsd.daemon.main, evsd.daemon.key_process.main, evsd.cli.main
import nbd_plugin._datapath, nbd_plugin.release
"""


def pinned(requirements: str) -> set[str]:
    text = (ROOT / "requirements" / requirements).read_text()
    return {name.replace("_", "-").lower() for name in re.findall(r"^([\w.-]+)==", text, re.M)}


def test_what_runs_needs_only_what_a_plain_install_brings(tmp_path: Path) -> None:
    for name in pinned("runtime.txt"):
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top != ".." and not (tmp_path / top).exists():
                (tmp_path / top).symlink_to(str(distribution(name).locate_file(top)))
    subprocess.run(
        [sys.executable, "-S", "-c", LOAD],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        check=True,
    )


@pytest.mark.parametrize(
    ("target", "installed"),
    [("build", {"runtime.txt", "build.txt"}), ("lint", {"runtime.txt", "build.txt", "dev.txt"})],
)
def test_make_installs_what_its_target_needs_and_no_more(target: str, installed: set[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall(r"-r requirements/(\S+)", done.stdout)) == installed


def test_the_environments_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for file in ("runtime.txt", "build.txt", "dev.txt"):
        text = (ROOT / "requirements" / file).read_text()
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M):
            versions.setdefault(name, set()).add(version)
    assert not {name for name, found in versions.items() if len(found) > 1}
