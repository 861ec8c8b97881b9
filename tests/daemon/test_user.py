"""Whom evsd becomes: the user of the settings or nobody at all, and never root in silence."""

from __future__ import annotations

import json
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import VENV_BIN, Evsd, Object, temporary_state
from tests.support.hsm import Hsm, new_hsm
from tests.support.namespaces import own_mounts

USER = "daemon"  # an ordinary user that every Debian has


@pytest.fixture
def directory() -> Iterator[Path]:
    with temporary_state() as made:
        made.chmod(0o755)
        yield made


def refused(directory: Path, settings: str, *before: str) -> str:
    """Why evsd does not run with these settings."""
    config = directory / "evsd.toml"
    config.write_text(settings)
    command = [*before, f"{VENV_BIN}/evsd", f"--state-dir={directory}/s", f"--config={config}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    event: Object = json.loads(done.stderr.splitlines()[-1])
    assert event["event"] == "evsd can't run"
    assert str(event["reason"]).startswith(f"{config}: ")
    return str(event["reason"])


@contextmanager
def evsd_in(state: Path, settings: str = "") -> Iterator[Evsd]:
    config = state.parent / "evsd.toml"
    config.write_text(settings)
    evsd = Evsd(state, "--config", str(config))
    evsd.log = state.parent / "log"
    evsd.start()
    try:
        yield evsd
    finally:
        evsd.clear_up()


def user_of(pid: int) -> str:
    return pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name


def test_evsd_becomes_the_user_of_the_settings_or_evsd(directory: Path) -> None:
    for settings, user in ((f'user = "{USER}"', USER), ("", "evsd")):
        with evsd_in(directory / "s", settings) as evsd:
            assert user_of(evsd.pid) == user_of(evsd.keys_pid) == user
            assert evsd.object("list")["count"] == 0


def test_evsd_runs_without_root_and_capabilities(evsd: Evsd) -> None:
    for pid in (evsd.pid, evsd.keys_pid):
        fields = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert fields["CapEff"] == fields["CapPrm"] == "0" * 16
        assert fields["NoNewPrivs"] == "1"
        assert fields["Uid"].split() != ["0"] * 4


def test_a_user_that_does_not_exist_is_an_error(directory: Path) -> None:
    reason = refused(directory, 'user = "nosuch"')
    assert 'user = "nosuch": there is no such Unix user' in reason
    assert "adduser" in reason


def test_a_user_that_another_than_root_can_not_become_is_an_error(directory: Path) -> None:
    shutil.chown(directory, USER, USER)
    entry = pwd.getpwnam(USER)
    as_user = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
    reason = refused(directory, 'user = "games"', *as_user)
    assert f'user = "games": evsd was started by {USER}' in reason


def test_a_user_that_can_not_reach_the_state_directory_is_an_error(directory: Path) -> None:
    directory.chmod(0o700)
    reason = refused(directory, 'user = "evsd"')
    assert f'user = "evsd": evsd can\'t reach {directory}/s' in reason


def test_without_the_default_user_evsd_does_not_run_as_root_in_silence(directory: Path) -> None:
    passwd = directory / "passwd"
    lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
    passwd.write_text("".join(line for line in lines if not line.startswith("evsd:")))
    hidden = (
        *own_mounts(),
        "sh",
        "-c",
        f'mount --bind {passwd} /etc/passwd; exec "$@"',
        "sh",
    )
    reason = refused(directory, "", *hidden)
    assert "there is no Unix user evsd" in reason
    assert "adduser --system" in reason
    assert 'user = "root"' in reason


def test_root_may_be_asked_for_and_has_no_capabilities(directory: Path) -> None:
    with evsd_in(directory / "s", 'user = "root"') as evsd:
        assert user_of(evsd.pid) == "root"
        status = Path(f"/proc/{evsd.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        evsd.prepare()


def test_in_a_directory_that_evsds_user_can_not_reach_only_that_is_said(directory: Path) -> None:
    directory.chmod(0o700)
    with evsd_in(directory / "s") as evsd:
        assert evsd.object("list")["count"] == 0
        first, *_ = evsd.log.read_text().splitlines()
        assert json.loads(first)["event"] == "stays root without capabilities"
        assert evsd.events("evsd can't run") == []


@pytest.mark.parametrize("key", ["module", "pin_file"])
def test_a_file_of_the_hsm_that_evsds_user_may_not_read_is_an_error(
    directory: Path, key: str
) -> None:
    with new_hsm() as hsm:
        secret = closed(hsm, key)
        reason = refused(directory, hsm.config().read_text())
    assert f"[hsm] {key}: " in reason
    assert f"can't read {secret}" in reason


def closed(hsm: Hsm, key: str) -> Path:
    path = hsm.module if key == "module" else hsm.pin_file
    path.chmod(0o600)
    return path


def test_a_state_directory_may_be_its_users_already(directory: Path) -> None:
    """As an administrator makes it, or systemd, and then root starts evsd."""
    state = directory / "s"
    state.mkdir()
    shutil.chown(state, "evsd", "evsd")
    with evsd_in(state) as evsd:
        evsd.prepare()
        evsd.ok("create", "data", "--size", "1G")


def test_a_second_evsd_changes_nothing_of_the_first(directory: Path) -> None:
    state = directory / "s"
    with evsd_in(state) as evsd:
        owner = state.stat().st_uid
        reason = second(state, directory / "other.toml")
        assert reason == f"another evsd runs on {state}"
        assert (state.stat().st_uid, (state / "evsd.db").stat().st_uid) == (owner, owner)
        evsd.prepare()


def second(state: Path, config: Path) -> str:
    config.write_text(f'user = "{USER}"\n')
    command = [f"{VENV_BIN}/evsd", f"--state-dir={state}", f"--config={config}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return str(json.loads(done.stderr.splitlines()[-1])["reason"])


def test_a_lock_that_is_a_link_is_not_followed(directory: Path) -> None:
    """Root opens it, in a directory that belongs to evsd's user."""
    state, precious = directory / "s", directory / "precious"
    precious.write_text("kept")
    state.mkdir()
    (state / "evsd.lock").symlink_to(precious)
    done = subprocess.run(
        [VENV_BIN / "evsd", "--state-dir", state],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "evsd.lock" in done.stderr
    assert (precious.read_text(), precious.stat().st_uid) == ("kept", 0)
