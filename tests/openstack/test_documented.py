"""What docs/openstack.md says to type, typed: the real commands, each a process."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import openstack
import pytest

from tests.support.daemon import VENV_BIN
from tests.support.openstack import Account, blocks


def typed(account: Account, directory: Path, block: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a block in a directory of its own, up to what fails."""
    account.write_clouds(directory)
    environment = {
        **account.names,
        "PATH": f"{VENV_BIN}:{os.environ['PATH']}",
        "HOME": str(directory),
        "EVSD_ENDPOINT": f"unix://{account.evsd.socket}",
    }
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", block],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.split("\n")[0][:24])
def test_a_block_does_what_it_says(account: Account, tmp_path: Path, block: str) -> None:
    done = typed(account, tmp_path, block)
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_a_token_lets_nobody_in_once_it_is_revoked(account: Account, tmp_path: Path) -> None:
    [block] = [block for block in blocks("sh") if block.startswith("TOKEN=")]
    *_, revoke = block.splitlines()
    again = block.splitlines()[1]
    done = typed(account, tmp_path, "\n".join([block.splitlines()[0], revoke, again]))
    assert done.returncode == 1
    assert "does not exist, or was revoked" in done.stderr


def test_openstack_asks_for_no_version_that_there_is_not(account: Account, tmp_path: Path) -> None:
    options = "--os-cloud evsd --os-volume-api-version 3.71"
    done = typed(account, tmp_path, f"openstack {options} volume list")
    assert done.returncode == 1
    assert "a minimum of 3.0 and a maximum of 3.54" in done.stderr


def test_the_sdk_is_used_as_it_says(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks("python")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(account.write_clouds(tmp_path)))
    names: dict[str, object] = {"openstack": openstack}
    exec(block, names)  # noqa: S102 - our own document
    with account.evsd.http() as http:
        [found] = http.get(f"/v3/{account.project_id}/volumes?name=data").json()["volumes"]
        http.delete(f"/v3/{account.project_id}/volumes/{found['id']}")
