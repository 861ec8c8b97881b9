"""The server of an attachment that dies, does not start, or can't be ended."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from evsd.serving.server import FRONT, ServerSettings, WaitingServer, stop
from tests.support.daemon import Evsd, Object, running_evsd, until
from tests.support.faulty import HangingDisk, hanging_pool
from tests.support.nbd import qemu_io, works
from tests.support.nbdkit import locked
from tests.support.volume import create, new_header

# evsd, but it starts its servers by way of a script in its state directory.
BY_SCRIPT = """
import runpy, sys
from evsd.serving import server
sys.argv = sys.argv[1:]
script, command = f"{sys.argv[2]}/nbdkit", server._command
server._command = lambda *given: [script, *command(*given)[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# evsd, but it is soon tired of waiting for what hangs.
IMPATIENT = """
import runpy, sys
from evsd.serving import server
from evsd.connector import writing
server.STOP_TIMEOUT_S = 0.1
writing.REPLY_TIMEOUT_S = 3
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


WITHOUT_MIGRATIONS_AFTER_0008 = (
    "ALTER TABLE volumes DROP COLUMN snapshot_id",
    "DROP TABLE bearer_tokens",
    "DROP TABLE images",
    "DROP TABLE snapshots",
    "DROP TABLE snapshot_groups",
    "DROP TABLE client_tokens",
    "ALTER TABLE attachments ADD COLUMN ticket_sha256 VARCHAR(64)",
    "UPDATE attachments SET ticket_sha256 = (SELECT ticket_sha256 FROM key_releases)",
    "DROP TABLE key_releases",
    "DROP TABLE key_dependents",
    "ALTER TABLE volumes DROP COLUMN user_id",
    "ALTER TABLE key_versions DROP COLUMN profile",
    "DROP TABLE quotas",
    "ALTER TABLE attachments DROP COLUMN attached_by",
    "ALTER TABLE attachments DROP COLUMN host_id",
    "ALTER TABLE attachments ADD COLUMN server_pid INTEGER",
    "ALTER TABLE attachments ADD COLUMN server_start INTEGER",
    "UPDATE attachments SET (server_pid, server_start) = (SELECT pid, started FROM servers)",
    "DROP TABLE servers",
    "ALTER TABLE jobs DROP COLUMN host_id",
    "ALTER TABLE jobs DROP COLUMN boot",
    "ALTER TABLE jobs DROP COLUMN arguments",
)


def volume(evsd: Evsd, name: str = "data") -> Object:
    found: Object = evsd.object("show", name)["volume"]
    return found


def events(evsd: Evsd, event: str) -> list[datetime]:
    """When evsd logged this."""
    return [datetime.fromisoformat(found["timestamp"]) for found in evsd.events(event)]


@pytest.fixture
def evsd() -> Iterator[Evsd]:
    """A fresh evsd that starts its servers by way of a script."""
    with running_evsd(before=(sys.executable, "-c", BY_SCRIPT)) as running:
        servers_are_started_by(running, 'exec /usr/bin/nbdkit "$@"')
        yield running


def servers_are_started_by(evsd: Evsd, line: str) -> None:
    """What that script does from now on."""
    script = evsd.state / "nbdkit.new"
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    script.rename(evsd.state / "nbdkit")


@pytest.fixture
def uri(evsd: Evsd) -> str:
    """The URI of an attached volume `data`."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    return evsd.ok("attach", "data", "--transport", "uri")


@contextmanager
def no_servers(evsd: Evsd) -> Iterator[None]:
    """Nothing that evsd starts as a server runs, for the block."""
    servers_are_started_by(evsd, "exit 1")
    try:
        yield
    finally:
        servers_are_started_by(evsd, 'exec /usr/bin/nbdkit "$@"')


def test_a_server_that_can_not_be_started_again_is_tried_again_with_growing_pauses(
    evsd: Evsd, uri: str
) -> None:
    """One that ends before it has its ticket is not different from one that ends later."""
    works(uri, "write -P 1 0 4k", "flush")
    [server] = evsd.server_pids()
    with no_servers(evsd):
        os.kill(server, signal.SIGKILL)
        until(lambda: len(events(evsd, "server did not start")) >= 4)
    until(lambda: qemu_io(uri, "read -P 1 0 4k").returncode == 0, 60)
    assert len(evsd.server_pids()) == 1
    tries = events(evsd, "server died, it is started again")
    pauses = [(b - a).total_seconds() for a, b in pairwise(tries)]
    assert len(pauses) >= 4
    assert all(pause >= 0.19 * 2**n for n, pause in enumerate(pauses)), pauses


@pytest.mark.usefixtures("uri")
def test_show_says_that_the_server_runs_or_is_being_started_again(evsd: Evsd) -> None:
    shown = evsd.ok("show", "data")
    assert re.search("^server +running$", shown, re.M), shown
    assert "next" not in shown
    [server] = evsd.server_pids()
    with no_servers(evsd):
        (evsd.state / "nbdkit").unlink()  # while it runs, it is a server that runs
        os.kill(server, signal.SIGKILL)
        until(lambda: len(events(evsd, "server did not start")) >= 4)
        shown = evsd.ok("show", "data")
        assert re.search("^server +restarting$", shown, re.M), shown
        assert re.search("^next +its server is being started again", shown, re.M), shown
    until(lambda: volume(evsd)["metadata"]["evsd:server"] == "running")


@pytest.mark.usefixtures("uri")
def test_requests_go_past_python_and_replies_are_one_message(evsd: Evsd) -> None:
    [server] = evsd.server_pids()
    assert str(FRONT) in Path(f"/proc/{server}/cmdline").read_text().split("\0")
    assert f"LD_PRELOAD={FRONT}" in Path(f"/proc/{server}/environ").read_text().split("\0")


def test_what_has_the_pid_and_the_start_of_a_server_of_another_boot_is_a_stranger(
    evsd: Evsd, uri: str
) -> None:
    """As after a reboot, where records come from a backup."""
    works(uri, "write -P 1 0 4k", "flush")
    [server] = evsd.server_pids()
    with subprocess.Popen(["sleep", "600"], user=evsd.state.stat().st_uid) as stranger:
        try:
            stat = Path(f"/proc/{stranger.pid}/stat").read_text()
            started = stat.rpartition(")")[2].split()[19]
            evsd.stop()
            os.kill(server, signal.SIGKILL)
            evsd.restarted_with(
                f"UPDATE servers SET pid = {stranger.pid}, started = {started}, "  # noqa: S608
                f"boot = '{uuid.uuid4()}'"
            )
            until(lambda: qemu_io(uri, "read -P 1 0 4k").returncode == 0, 60)
            evsd.ok("detach", "data")
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_server_whose_record_is_from_before_boots_were_told_apart_is_known_again(
    evsd: Evsd, uri: str
) -> None:
    """It may serve: the volume must not get a second one."""
    [server] = evsd.server_pids()
    evsd.restarted_with(
        *WITHOUT_MIGRATIONS_AFTER_0008,
        "UPDATE alembic_version SET version_num = '0008'",
    )
    works(uri, "write -P 1 0 4k")
    assert evsd.server_pids() == [server]
    evsd.ok("detach", "data")
    assert evsd.server_pids() == []


def greets(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        return client.connect_ex(str(path)) == 0 and client.recv(8) == b"NBDMAGIC"


def test_a_server_that_is_not_on_record_leaves_the_socket_to_the_one_that_is(
    tmp_path: Path,
) -> None:
    header = new_header(os.urandom(64), 2**20)
    create(tmp_path / "volume", header)
    settings = ServerSettings(
        attachment_id="a1b2c3",
        volume_file=tmp_path / "volume",
        socket=tmp_path / "nbd.sock",
        log=tmp_path / "log",
        release_socket=tmp_path / "nobody",
        read_only=False,
    )
    with WaitingServer(settings) as first:
        first.release(secrets.token_hex(32))
        first.await_ready()
    try:
        with WaitingServer(settings):
            assert greets(settings.socket)
        assert greets(settings.socket)
    finally:
        stop(first.process)


@pytest.fixture(scope="module")
def disk() -> Iterator[HangingDisk]:
    """What the pool of `impatient_evsd` is on."""
    with hanging_pool() as disk:
        yield disk


@pytest.fixture(scope="module")
def impatient_evsd(disk: HangingDisk) -> Iterator[Evsd]:
    """An evsd whose pool may hang, and which soon gives up to wait for it."""
    before = (sys.executable, "-c", IMPATIENT)
    with running_evsd("--config", str(disk.config), before=before) as evsd:
        evsd.pool = disk.pool
        evsd.prepare()
        yield evsd


def hangs(pid: int) -> bool:
    """Whether a thread of the process waits for a disk, and can't be killed."""
    stats = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return any(stat.rpartition(")")[2].split()[0] == "D" for stat in stats)


@contextmanager
def hanging_server(evsd: Evsd, disk: HangingDisk) -> Iterator[int]:
    """The killed server of an attached volume `data`, which has the volume until the block ends.

    One of its threads hangs in the disk: the process looks dead and is not.
    """
    evsd.ok("create", "data", "--size", "1G", "--key", "test-key")
    uri = evsd.ok("attach", "data", "--transport", "uri")
    [server] = evsd.server_pids()
    with disk.hanging():
        with subprocess.Popen(["qemu-io", "-f", "raw", "-c", "write 0 4k", uri]) as client:
            try:
                until(lambda: hangs(server))
            finally:
                client.kill()
        os.kill(server, signal.SIGKILL)
        yield server


def test_a_detach_is_refused_while_a_killed_server_has_the_volume(
    impatient_evsd: Evsd, disk: HangingDisk
) -> None:
    evsd = impatient_evsd
    with hanging_server(evsd, disk) as server:
        refused = evsd.ctl("detach", "data")
        assert (refused.status, "EVS.5500" in refused.err) == (1, True), refused
        assert f"process {server} can't be ended" in refused.err
        assert volume(evsd)["status"] == "detaching"
        assert locked(evsd.pool_file("data"))
    until(lambda: volume(evsd)["status"] == "available")
    evsd.ok("delete", "data", "--yes")


def test_a_detach_that_was_refused_is_done_when_the_disk_answers_without_another_command(
    impatient_evsd: Evsd, disk: HangingDisk
) -> None:
    evsd = impatient_evsd
    with hanging_server(evsd, disk):
        assert evsd.ctl("detach", "data").status == 1
        shown = evsd.ok("show", "data")
        assert re.search("^server +ending$", shown, re.M), shown
        assert re.search("^next +its server is ended as soon as", shown, re.M), shown
    until(lambda: volume(evsd)["status"] == "available")
    assert volume(evsd)["attachments"] == []
    works(evsd.ok("attach", "data", "--transport", "uri"), "write 0 4k")
    evsd.ok("detach", "data")
    evsd.ok("delete", "data", "--yes")


def test_a_creation_whose_server_can_not_be_ended_fails_and_can_be_deleted(
    impatient_evsd: Evsd, disk: HangingDisk
) -> None:
    evsd = impatient_evsd
    creation = evsd.spawn_ctl("create", "thick", "--size", "1G", "--thick")
    until(evsd.server_pids)
    [server] = evsd.server_pids()
    with disk.hanging():
        _, said = creation.communicate(timeout=120)
        assert (creation.returncode, "EVS.5500" in said) == (1, True), said
        assert f"process {server} can't be ended" in said
        assert volume(evsd, "thick")["status"] == "error"
        refused = evsd.ctl("delete", "thick", "--yes")
        assert (refused.status, "can't be ended" in refused.err) == (1, True), refused
    until(lambda: not locked(evsd.pool_file("thick")))
    evsd.ok("delete", "thick", "--yes")
    assert evsd.object("list")["count"] == 0
    assert list(disk.pool.iterdir()) == []


def test_an_extension_whose_server_can_not_be_ended_fails_and_leaves_no_running_job(
    impatient_evsd: Evsd, disk: HangingDisk
) -> None:
    evsd = impatient_evsd
    evsd.ok("create", "grown", "--size", "1G", "--key", "test-key")
    evsd.restarted_with("UPDATE volumes SET thin = 0")  # so that what is added is filled
    extension = evsd.spawn_ctl("extend", "grown", "--size", "2G")
    until(evsd.server_pids)
    with disk.hanging():
        _, said = extension.communicate(timeout=120)
        assert (extension.returncode, "EVS.5500" in said) == (1, True), said
        assert volume(evsd, "grown")["status"] == "error_extending"
    until(lambda: not locked(evsd.pool_file("grown")))
    evsd.ok("delete", "grown", "--yes")
