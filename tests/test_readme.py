"""Every block of commands in README.md and docs/ does what it says, pasted in one go."""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import temporary_state
from tests.support.namespaces import own_mounts

ROOT = Path(__file__).parent.parent
USER = "daemon"
PASTE_S = 840

# The blocks, by their first line, that are not run in here, and what holds them.
ELSEWHERE = {
    "make run": "tests/test_tour.py",
    "make test": ".ci/run",
    "evsctl hsm check": "tests/kms/test_hsm_check.py",
    "key() {": "tests/volumes/test_administrator.py",
    "export OS_CLOUD=evsd": "tests/openstack/test_documented.py",
    "openstack --os-auth-type": "tests/openstack/test_documented.py",
    "export OS_USERNAME=": "tests/openstack/test_documented.py",
    "TOKEN=$(evsctl token create": "tests/openstack/test_documented.py",
}

AROUND = """
mount -t tmpfs tmpfs /var/lib
install -d -m 755 -o {user} /var/lib/evsd
cd {checkout}
{become} bash {options} {block}
"""


def blocks() -> list[str]:
    found = []
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        found += re.findall(r"^```sh\n(.*?)^```$", document.read_text(), re.M | re.S)
    return found


def run_here() -> list[str]:
    return [block for block in blocks() if not block.startswith(tuple(ELSEWHERE))]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """As if it were a clone of its own, built already."""
    with temporary_state() as directory:
        directory.chmod(0o777)
        for path in ROOT.iterdir():
            (directory / path.name).symlink_to(path)
        yield directory


def pasted(checkout: Path, user: str, *options: str) -> tuple[int, str]:
    """Exit status and output of the blocks, run by a user one after the other.

    In a mount namespace, so that /var/lib/evsd is nobody else's.
    """
    script, block = checkout / "script", checkout / "block"
    trap = "trap 'kill $!; wait' EXIT\n"  # evsd is all that a block leaves running
    block.write_text(trap + "\n".join(run_here()))
    become = "" if user == "root" else f"setpriv --reuid={user} --regid={user} --clear-groups"
    script.write_text(
        AROUND.format(
            user=user, checkout=checkout, become=become, options=" ".join(options), block=block
        )
    )
    done = subprocess.run(
        [*own_mounts(), "bash", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PASTE_S,
        check=False,
    )
    return done.returncode, done.stdout


def test_every_block_is_run_here_or_has_a_test_of_its_own() -> None:
    assert len(run_here()) == 6
    for first, test in ELSEWHERE.items():
        assert [block for block in blocks() if block.startswith(first)]
        assert (ROOT / test).exists()


@pytest.mark.timeout(900)
def test_root_may_paste_all_blocks_in_one_go(checkout: Path) -> None:
    status, seen = pasted(checkout, "root", "-e")
    assert status == 0, seen
    assert re.search(r"^/dev/(nbd|loop)\d+$", seen, re.M), seen
    assert "the log is whole" in seen
    assert (checkout / "data.qcow2").stat().st_size > 0


@pytest.mark.timeout(900)
def test_an_ordinary_user_is_told_what_needs_root_and_what_to_do_without(checkout: Path) -> None:
    pwd.getpwnam(USER)
    _, seen = pasted(checkout, USER)
    errors = re.findall(r"Error: ([^{\n]*)", seen)  # evsd logs beside it
    assert errors == [
        "only root can make a block device",
        "volume data is available, not attached",
    ], seen
    assert "--transport uri" in seen
    assert "the log is whole" in seen
    assert (checkout / "data.qcow2").exists()


def test_an_ordinary_user_is_told_that_make_run_needs_root(checkout: Path) -> None:
    entry = pwd.getpwnam(USER)
    for name in ("Makefile", "tools"):
        (checkout / name).unlink()
    shutil.copy(ROOT / "Makefile", checkout)
    shutil.copytree(ROOT / "tools", checkout / "tools")
    told = subprocess.run(
        ["make", "run"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
    )
    assert told.returncode != 0
    assert "only root may" in told.stderr
    assert "--transport uri" in told.stderr
