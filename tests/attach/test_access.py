"""Who can open the socket of an attached volume: its owner and the group of the settings."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.api.test_callers import ctl_as
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state, until
from tests.support.nbd import works
from tests.support.sockets import listens

OWNER, OTHER, HYPERVISOR = "daemon", "games", "nobody"  # that every Debian has
GROUP = "video"  # of no user of these


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    """An evsd with two ordinary users and a group."""
    with temporary_state() as directory:
        config = directory / "evsd.toml"
        users = f'{OWNER} = "ordinary user"\n{OTHER} = "ordinary user"\n'
        config.write_text(f'[attach]\ngroup = "{GROUP}"\n[unix_users]\n{users}')
        with running_evsd("--config", str(config)) as running:
            running.prepare()
            yield running


@pytest.fixture(scope="module")
def uri(evsd: Evsd) -> str:
    """The URI of a volume that an ordinary user has attached."""
    made = ctl_as(OWNER, evsd, "create", "theirs", "--size", "1G", "--key", "test-key")
    assert made.status == 0, made
    attached = ctl_as(OWNER, evsd, "attach", "theirs", "--transport", "uri")
    assert attached.status == 0, attached
    return attached.out.strip()


def qemu_io_as(user: str, uri: str, command: str, *groups: str) -> subprocess.CompletedProcess[str]:
    """Run qemu-io as a user that has these groups only."""
    entry = pwd.getpwnam(user)
    return subprocess.run(
        ["qemu-io", "-f", "raw", "-c", command, uri],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[grp.getgrnam(group).gr_gid for group in groups],
        cwd="/",
    )


def may_open(uri: str) -> None:
    """Those who are meant to can write, and nobody else can connect."""
    for user, groups in ((OWNER, ()), (HYPERVISOR, (GROUP,))):
        done = qemu_io_as(user, uri, "write -P 1 0 4k", *groups)
        assert (done.returncode, "wrote 4096" in done.stdout) == (0, True), (user, done)
    works(uri, "write -P 1 0 4k")  # root
    for user in (OTHER, HYPERVISOR):
        refused = qemu_io_as(user, uri, "read 0 4k")
        assert (refused.returncode, "Permission denied" in refused.stderr) == (1, True), refused


def test_owner_and_group_open_the_socket_and_nobody_else(uri: str) -> None:
    may_open(uri)


def test_it_is_so_at_every_restart_of_the_server(evsd: Evsd, uri: str) -> None:
    for _ in range(2):
        server_is_restarted(evsd, uri)
        may_open(uri)


def server_is_restarted(evsd: Evsd, uri: str) -> None:
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)
    until(lambda: evsd.server_pids() not in ([], [server]))
    until(lambda: listens(Path(uri.partition("socket=")[2])))


def test_a_client_in_the_group_reconnects_to_the_next_server(evsd: Evsd, uri: str) -> None:
    """As a hypervisor does, whose machine must not notice."""
    entry = pwd.getpwnam(HYPERVISOR)
    path = uri.partition("socket=")[2]
    image = f"driver=nbd,server.type=unix,server.path={path},reconnect-delay=90"
    with subprocess.Popen(
        ["qemu-io", "--image-opts", image],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[grp.getgrnam(GROUP).gr_gid],
        cwd="/",
    ) as machine:
        assert machine.stdin is not None
        machine.stdin.write("write -P 9 0 4k\n")
        machine.stdin.flush()
        until(lambda: "qemu-io" in evsd.ok("show", "theirs"))
        [server] = evsd.server_pids()
        os.kill(server, signal.SIGKILL)
        said, _ = machine.communicate("read -P 9 0 4k\nwrite -P 8 0 4k\nq\n", timeout=120)
    assert said.count("4096/4096") == 3, said
    assert "failed" not in said.lower(), said


def test_an_ordinary_user_imports_and_exports(evsd: Evsd, uri: str) -> None:  # noqa: ARG001 - the delegation's first use
    entry = pwd.getpwnam(OWNER)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        shutil.chown(directory, entry.pw_uid)
        image = directory / "image"
        image.write_bytes(os.urandom(4 << 20))
        image.chmod(0o644)
        imported = ctl_as(OWNER, evsd, "import", str(image), "imported", "--format", "raw")
        assert imported.status == 0, imported
        exported = ctl_as(OWNER, evsd, "export", "imported", str(directory / "copy"))
        assert exported.status == 0, exported
        with (directory / "copy").open("rb") as copy:
            assert copy.read(4 << 20) == image.read_bytes()


def test_show_names_the_user_who_attached(evsd: Evsd, uri: str) -> None:  # noqa: ARG001
    assert evsd.object("show", "theirs")["volume"]["metadata"]["evsd:attached_by"] == OWNER


def refused_start(settings: str, *, directory: Path) -> str:
    """What an evsd says that can't run with these settings."""
    config = directory.parent / f"{directory.name}.toml"
    config.write_text(settings)
    try:
        done = subprocess.run(
            [VENV_BIN / "evsd", "--state-dir", directory / "state", "--config", config],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        config.unlink()
    assert done.returncode == 1
    return done.stderr


def test_a_group_that_does_not_exist_is_an_error_at_start() -> None:
    with temporary_state() as directory:
        said = refused_start('[attach]\ngroup = "nosuch"\n', directory=directory)
    assert "there is no group 'nosuch' on this host" in said


@contextmanager
def without_acls() -> Iterator[Path]:
    """A directory on a filesystem that has none."""
    with temporary_state() as directory:
        subprocess.run(["mount", "-t", "ramfs", "-o", "mode=755", "none", directory], check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", directory], check=True)


def test_without_acls_a_group_is_an_error_at_start_and_only_root_attaches() -> None:
    with without_acls() as directory:
        said = refused_start(f'[attach]\ngroup = "{GROUP}"\n', directory=directory)
        assert "has no ACLs" in said
        config = directory / "evsd.toml"
        config.write_text(f'[unix_users]\n{OWNER} = "ordinary user"\n')
        evsd = Evsd(directory / "root", "--config", str(config))
        evsd.log = directory / "log"
        evsd.start()
        try:
            evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
            refused = ctl_as(OWNER, evsd, "attach", "data", "--transport", "uri")
            assert (refused.status, "has no ACLs" in refused.err) == (1, True), refused
            uri = evsd.ok("attach", "data", "--transport", "uri")
            works(uri, "write 0 4k")
            assert qemu_io_as(OTHER, uri, "read 0 4k").returncode == 1
            evsd.ok("detach", "data")
        finally:
            evsd.clear_up()


def test_what_evsd_serves_to_itself_is_nobody_elses(evsd: Evsd) -> None:
    """As while it fills a thick volume: the group of the settings has no part in it."""
    known = set(directories(evsd))
    creation = evsd.spawn_ctl("create", "thick", "--size", "1G", "--thick", "--key", "test-key")
    until(lambda: set(directories(evsd)) - known)
    [own] = set(directories(evsd)) - known
    entry, group = pwd.getpwnam(HYPERVISOR), grp.getgrnam(GROUP).gr_gid
    look = ["ls", str(own / "sock")]
    seen = subprocess.run(
        look, user=entry.pw_uid, group=group, extra_groups=[group], capture_output=True, check=False
    )
    assert b"Permission denied" in seen.stderr, seen
    _, said = creation.communicate(timeout=240)
    assert creation.returncode == 0, said
    evsd.ok("delete", "thick", "--yes")


def directories(evsd: Evsd) -> list[Path]:
    return [path for path in (evsd.state / "nbd").iterdir() if path.is_dir()]
