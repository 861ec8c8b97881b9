"""evsd, its servers and its records when any of them is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state, until
from tests.support.nbd import connected, qemu_io, works
from tests.support.relay import interrupted
from tests.support.sockets import listens

ATTACH = ("attach", "data", "--transport", "uri")


@pytest.fixture
def attached(evsd: Evsd) -> str:
    """The URI of an attached volume `data`."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    return evsd.ok("attach", "data", "--transport", "uri")


def status(evsd: Evsd) -> str:
    return str(evsd.object("show", "data")["volume"]["status"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_volume_stays_attached_over_a_restart_of_evsd(
    evsd: Evsd, attached: str, number: signal.Signals
) -> None:
    works(attached, "write -P 1 0 4k")
    [server] = evsd.server_pids()
    evsd.signal(number)
    assert evsd.server_pids() == [server]
    evsd.start()
    assert evsd.server_pids() == [server]
    assert status(evsd) == "in-use"
    works(attached, "read -P 1 0 4k", "write -P 2 4k 4k")
    evsd.ok("detach", "data")
    assert evsd.server_pids() == []


def test_a_client_works_on_while_evsd_is_dead(evsd: Evsd, attached: str) -> None:
    with connected(attached) as client:
        client.pwrite(b"1" * 4096, 0)
        evsd.kill()
        client.pwrite(b"2" * 4096, 4096)
        client.flush()
        assert client.pread(8192, 0) == b"1" * 4096 + b"2" * 4096


def test_evsd_stops_cleanly_and_takes_the_key_process_with_it(evsd: Evsd) -> None:
    keys = evsd.keys_pid
    assert evsd.stop() == 0
    assert not Path(f"/proc/{keys}").exists()


def test_the_key_process_ends_when_evsd_is_killed(evsd: Evsd) -> None:
    keys = evsd.keys_pid
    evsd.kill()
    until(lambda: not Path(f"/proc/{keys}").exists())


def test_a_server_that_died_is_started_again(evsd: Evsd, attached: str) -> None:
    works(attached, "write -P 1 0 4k", "flush")
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)
    until(lambda: evsd.server_pids() not in ([], [server]))
    until(lambda: qemu_io(attached, "read -P 1 0 4k").returncode == 0)


def test_a_server_that_died_while_evsd_was_dead_is_started_again(evsd: Evsd, attached: str) -> None:
    [server] = evsd.server_pids()
    evsd.kill()
    os.kill(server, signal.SIGKILL)
    evsd.start()
    until(lambda: qemu_io(attached, "write -P 1 0 4k").returncode == 0)
    assert len(evsd.server_pids()) == 1


def test_a_server_is_not_started_again_to_serve_a_disabled_key(evsd: Evsd, attached: str) -> None:
    evsd.ok("key", "disable", "test-key", "--yes")
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)
    until(lambda: evsd.server_pids() not in ([], [server]))
    until(lambda: listens(Path(attached.partition("socket=")[2])))
    assert qemu_io(attached, "read 0 4k").returncode != 0


def test_the_key_process_is_started_again_before_anybody_calls(evsd: Evsd, attached: str) -> None:
    os.kill(evsd.keys_pid, signal.SIGKILL)
    until(lambda: qemu_io(attached, "read 0 4k").returncode == 0)


def test_detaching_while_a_dead_server_is_started_again_leaves_no_server(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    for _ in range(8):
        evsd.ok("attach", "data", "--transport", "uri")
        [server] = evsd.server_pids()
        os.kill(server, signal.SIGKILL)
        evsd.ok("detach", "data")
        assert status(evsd) == "available"
        until(lambda: evsd.server_pids() == [])


def test_of_many_attaches_at_once_one_wins(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda _: evsd.ctl(*ATTACH), range(6)))
    assert sorted(result.status for result in results) == [0, 1, 1, 1, 1, 1]
    assert len(evsd.server_pids()) == 1


def test_of_many_detaches_at_once_none_leaves_the_volume_stuck(evsd: Evsd, attached: str) -> None:
    works(attached, "write -P 1 0 4k")
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: evsd.ctl("detach", "data"), range(6)))
    assert status(evsd) == "available"
    assert evsd.server_pids() == []
    evsd.ok(*ATTACH)


def test_an_attach_that_is_refused_leaves_the_volume_available(evsd: Evsd) -> None:
    """Also when the refusal comes after the reservation."""
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    evsd.ok("key", "disable", "test-key", "--yes")
    assert "EVS.2040" in evsd.ctl(*ATTACH).err
    assert status(evsd) == "available"
    evsd.ok("key", "enable", "test-key")
    evsd.pool_file("data").unlink()
    assert "EVS.2134" in evsd.ctl(*ATTACH).err
    assert status(evsd) == "available"


@pytest.mark.parametrize("delay", [0.1, 0.15, 0.2, 0.25, 0.3, 0.35])
def test_an_interrupted_attach_is_undone_or_done(evsd: Evsd, delay: float) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    evsctl = evsd.spawn_ctl("attach", "data", "--transport", "fuse")
    with contextlib.suppress(subprocess.TimeoutExpired):
        evsctl.wait(delay)  # long enough to be anywhere in the attach
    evsctl.send_signal(signal.SIGINT)
    device, _ = evsctl.communicate(timeout=120)
    if evsctl.returncode == 0:
        assert device.startswith("/dev/loop")
        evsd.ok("detach", "data")
    assert status(evsd) == "available"
    assert evsd.server_pids() == []
    assert str(evsd.state) not in Path("/proc/self/mountinfo").read_text()


def test_an_attach_interrupted_before_evsd_hears_of_it_is_undone(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    assert interrupted(evsd, signal.SIGINT, b"POST /v3/", *ATTACH) == 1
    assert status(evsd) == "available"
    assert evsd.server_pids() == []


def test_a_volume_can_be_deleted_from_a_full_pool() -> None:
    with temporary_state() as directory:
        pool = directory / "pool"
        pool.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", pool], check=True)
        config = directory / "evsd.toml"
        config.write_text(f'pool = "{pool}"\n')
        try:
            with running_evsd("--config", str(config)) as evsd:
                evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
                (pool / "filler").write_bytes(b"")
                with contextlib.suppress(OSError), (pool / "filler").open("wb") as filler:
                    while True:
                        filler.write(bytes(4096))
                assert "EVS.5500" in evsd.ctl("create", "more", "--size", "1G").err
                assert evsd.object("list")["count"] == 1
                evsd.ok("delete", "data", "--yes")
                assert [path.name for path in pool.iterdir()] == ["filler"]
        finally:
            subprocess.run(["umount", pool], check=True)


def test_a_file_that_can_not_be_deleted_keeps_nobody_from_anything(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    file = evsd.pool_file("data")
    file.unlink()
    file.mkdir()  # what unlink() refuses
    refused = evsd.ctl("delete", "data", "--yes")
    assert (refused.status, "EVS.5500" in refused.err) == (1, True)
    assert status(evsd) == "error_deleting"
    evsd.stop()
    evsd.start()
    file.with_suffix(".deleting").rmdir()
    evsd.ok("delete", "data", "--yes")
    assert evsd.object("list")["count"] == 0


def test_another_volumes_file_is_refused(evsd: Evsd, attached: str) -> None:
    works(attached, "write -P 1 0 4k")
    evsd.ok("detach", "data")
    evsd.ok("create", "other", "--size", "1G", "--key", "test-key")
    evsd.pool_file("other").write_bytes(evsd.pool_file("data").read_bytes()[: 2 * 2**20])
    os.truncate(evsd.pool_file("other"), 2**30 + 2**20)
    refused = evsd.ctl("attach", "other", "--transport", "uri")
    assert (refused.status, "its file is that of volume" in refused.err) == (1, True)
    assert evsd.server_pids() == []


def test_a_second_evsd_on_the_same_state_is_refused(evsd: Evsd) -> None:
    done = subprocess.run(
        [VENV_BIN / "evsd", "--state-dir", evsd.state],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, "another evsd runs" in done.stderr) == (1, True)


def test_a_file_that_is_no_volume_is_refused_and_left_as_it_is(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    file = evsd.pool_file("data")
    file.write_bytes(os.urandom(4 * 1024 * 1024))
    before = hashlib.sha256(file.read_bytes()).digest()
    refused = evsd.ctl("attach", "data", "--transport", "uri")
    assert (refused.status, "EVS.2134" in refused.err) == (1, True)
    assert "LUKS2" in refused.err
    assert hashlib.sha256(file.read_bytes()).digest() == before
    assert evsd.object("show", "data")["volume"]["status"] == "available"
    assert evsd.server_pids() == []


def flip(file: Path, offset: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        [byte] = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 1]))


def test_one_flipped_bit_in_a_header_copy_is_survived(evsd: Evsd, attached: str) -> None:
    works(attached, "write -P 1 0 4k", "flush")
    evsd.ok("detach", "data")
    flip(evsd.pool_file("data"), 5000)
    works(evsd.ok("attach", "data", "--transport", "uri"), "read -P 1 0 4k")


def test_two_broken_header_copies_are_refused_and_left_as_they_are(
    evsd: Evsd, attached: str
) -> None:
    works(attached, "write -P 1 0 4k", "flush")
    evsd.ok("detach", "data")
    file = evsd.pool_file("data")
    flip(file, 5000)
    flip(file, 16384 + 5000)
    with file.open("rb") as stream:
        before = stream.read(2 * 1024 * 1024)
    refused = evsd.ctl("attach", "data", "--transport", "uri")
    assert (refused.status, "damaged" in refused.err) == (1, True)
    with file.open("rb") as stream:
        assert stream.read(2 * 1024 * 1024) == before


def test_the_server_of_a_volume_runs_without_root_and_capabilities(
    evsd: Evsd, attached: str
) -> None:
    works(attached, "read 0 4k")
    [server] = evsd.server_pids()
    status_lines = Path(f"/proc/{server}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in status_lines)
    assert fields["CapEff"] == "0" * 16
    assert fields["Uid"].split() != ["0"] * 4
    assert "Max core file size        0" in Path(f"/proc/{server}/limits").read_text()


def test_interrupted_creation_leaves_nothing(evsd: Evsd) -> None:
    """Kill evsd at many moments of many creations: each volume is whole or not there."""
    evsd.prepare()
    for attempt in range(6):
        with evsd.http() as http:
            project = evsd.project_id()
            name = f"v{attempt}"
            kill_soon(evsd.pid, 0.004 * attempt)
            wanted = {"volume": {"name": name, "size": 1}}
            with contextlib.suppress(httpx.TransportError):
                http.post(f"/v2.1/{project}/cloudvolumes", json=wanted)
        evsd.wait()
        evsd.start()
        volumes = evsd.object("list")["volumes"]
        assert {volume["status"] for volume in volumes} <= {"available"}
        files = {path.name for path in (evsd.state / "pool").iterdir()}
        assert files == {f"{volume['id']}.luks" for volume in volumes}


def kill_soon(pid: int, delay: float) -> None:
    subprocess.Popen(["sh", "-c", f"sleep {delay}; kill -9 {pid}"])
