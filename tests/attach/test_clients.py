"""What becomes of those who are connected to a volume that is detached."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, Object, until
from tests.support.libnbd import load
from tests.support.nbd import connected, qemu_io, works
from tests.support.nbdkit import locked
from tests.support.sockets import listens

PROGRAM = Path("/proc/self/comm").read_text().strip()


@pytest.fixture(scope="module")
def evsd(shared_evsd: Evsd) -> Evsd:
    """With a volume `data`."""
    shared_evsd.ok("create", "data", "--size", "1G", "--key", "test-key")
    return shared_evsd


@pytest.fixture
def uri(evsd: Evsd) -> Iterator[str]:
    """The URI of `data`, which is detached again at the end."""
    yield evsd.ok("attach", "data", "--transport", "uri")
    if evsd.object("show", "data")["volume"]["attachments"]:
        evsd.ok("detach", "data", "--force")


def volume(evsd: Evsd) -> Object:
    found: Object = evsd.object("show", "data")["volume"]
    return found


def test_a_volume_with_a_client_is_not_detached_and_it_says_with_whom(evsd: Evsd, uri: str) -> None:
    with connected(uri) as client:
        client.pwrite(b"a" * 4096, 0)
        refused = evsd.ctl("detach", "data")
        assert (refused.status, "EVS.2068" in refused.err) == (1, True), refused
        assert f"{PROGRAM} (process {os.getpid()} of user root)" in refused.err
        since = re.search(r"connected since (\S+ \S+) UTC, writing", refused.err)
        assert since, refused
        moment = datetime.strptime(since[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - moment).total_seconds()) < 600
        assert "evsctl detach data --force" in refused.err
        assert volume(evsd)["status"] == "in-use"
        client.pwrite(b"b" * 4096, 0)
        client.flush()
        assert client.pread(4096, 0) == b"b" * 4096


def test_one_who_only_reads_is_a_client_as_well(evsd: Evsd, uri: str) -> None:
    with (
        connected(uri),
        subprocess.Popen(
            ["qemu-io", "-r", "-f", "raw", uri], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        ) as reader,
    ):
        try:
            until(lambda: "reading only" in evsd.ok("show", "data"))
            refused = evsd.ctl("detach", "data")
            assert f"qemu-io (process {reader.pid} of user root)" in refused.err, refused
        finally:
            reader.kill()


def test_force_takes_the_disk_away_and_says_from_whom(evsd: Evsd, uri: str) -> None:
    with connected(uri) as client:
        client.pwrite(b"f" * 4096, 0)
        done = evsd.ctl("detach", "data", "--force")
        assert (done.status, volume(evsd)["status"]) == (0, "available")
        assert f"{PROGRAM} (process {os.getpid()} of user root) has lost its disk" in done.err
        with pytest.raises(load().Error):
            client.pread(4096, 0)
    works(evsd.ok("attach", "data", "--transport", "uri"), "read -P 0x66 0 4k")


def test_the_api_refuses_it_too_and_tells_whom_force_has_cut_off(evsd: Evsd, uri: str) -> None:
    attachment = evsd.attachment("data")["attachment_id"]
    path = f"/v3/{evsd.project_id()}/attachments/{attachment}"
    with connected(uri), evsd.http() as http:
        shown = http.get(path).json()["attachment"]
        assert shown["attached_by"] == "root"
        [client] = shown["clients"]
        assert (client["pid"], client["user"], client["program"]) == (os.getpid(), "root", PROGRAM)
        assert (client["access_mode"], client["device"]) == ("rw", False)
        refused = http.delete(path)
        assert refused.status_code == 400
        assert refused.json()["badRequest"]["error_code"] == "EVS.2068"
        assert http.get(path).json()["attachment"]["status"] == "attached"
        done = http.delete(path, params={"force": "true"})
        assert done.status_code == 200
        assert done.json()["attachments"] == []
        assert [gone["pid"] for gone in done.json()["disconnected"]] == [os.getpid()]


def test_who_has_just_gone_is_waited_for(evsd: Evsd, uri: str) -> None:
    with evsd.http() as http:
        for _ in range(3):
            path = f"/v3/{evsd.project_id()}/attachments"
            with connected(uri) as client:
                client.pwrite(b"g" * 4096, 0)
                [attachment] = http.get(path).json()["attachments"]
            assert http.delete(f"{path}/{attachment['id']}").status_code == 200
            uri = evsd.ok("attach", "data", "--transport", "uri")


def test_clients_are_known_to_the_next_evsd(evsd: Evsd, uri: str) -> None:
    with connected(uri) as client:
        evsd.kill()
        evsd.start()
        refused = evsd.ctl("detach", "data")
        assert f"process {os.getpid()} of user root" in refused.err
        client.pwrite(b"n" * 4096, 0)
    evsd.ok("detach", "data")


def test_the_clients_of_a_server_that_died_are_none(evsd: Evsd, uri: str) -> None:
    with connected(uri) as client:
        [server] = evsd.server_pids()
        os.kill(server, signal.SIGKILL)
        until(lambda: evsd.server_pids() not in ([], [server]))
        with pytest.raises(load().Error):
            client.pread(4096, 0)
        evsd.ok("detach", "data")


def test_show_names_access_mode_who_attached_and_who_is_connected(evsd: Evsd, uri: str) -> None:
    with connected(uri):
        shown = evsd.ok("show", "data")
    assert re.search("^access +read-write$", shown, re.M), shown
    assert re.search("^attached by +root$", shown, re.M), shown
    assert re.search(rf"^connected +.*process {os.getpid()} of user root", shown, re.M), shown
    until(lambda: "evsd:clients" not in volume(evsd)["metadata"])
    evsd.ok("detach", "data")
    evsd.ok("attach", "data", "--transport", "uri", "--read-only")
    assert volume(evsd)["metadata"]["evsd:access_mode"] == "ro"
    assert re.search("^access +read-only$", evsd.ok("show", "data"), re.M)


def test_a_volume_attached_by_an_earlier_evsd_keeps_its_socket_and_tells_that_it_has_a_client(
    evsd: Evsd, uri: str
) -> None:
    """Such a server reports nothing: here it is started again where the first one was."""
    own = Path(uri.partition("socket=")[2]).parent
    old = own.with_suffix(".sock")
    evsd.stop()
    [server] = evsd.server_pids()
    os.kill(server, signal.SIGKILL)
    until(lambda: evsd.server_pids() == [])
    (own / "sock").unlink(missing_ok=True)
    own.rmdir()
    evsd.start()
    until(lambda: listens(old))
    assert str(old) in evsd.ok("show", "data")
    with connected(f"nbd+unix:///?socket={old}") as client:
        client.pwrite(b"o" * 4096, 0)
        refused = evsd.ctl("detach", "data")
        assert (refused.status, "can't be seen from here" in refused.err) == (1, True), refused
    evsd.ok("detach", "data")
    assert not old.exists()


def test_a_device_writes_alone_and_is_no_obstacle_to_its_own_detach(evsd: Evsd) -> None:
    device = evsd.ok("attach", "data", "--transport", "fuse")
    attachment = evsd.attachment("data")["attachment_id"]
    path = f"/v3/{evsd.project_id()}/attachments/{attachment}"
    with evsd.http() as http:
        shown = http.get(path).json()["attachment"]
        uri = shown["connection_info"]["data"]["uri"]
        assert {client["device"] for client in shown["clients"]} == {True}
        assert qemu_io(uri, "write 0 4k").returncode == 1
        refused = http.delete(path)
        assert (refused.status_code, "device" in refused.text) == (400, True)
    Path(device).write_bytes(b"d" * 4096)
    with connected(uri):
        beside = evsd.ctl("detach", "data")
        assert f"besides its device, by {PROGRAM} (process {os.getpid()}" in beside.err
        assert evsd.attachment("data")["device"] == device
    until(lambda: len(clients(evsd)) == 0 or all(c["device"] for c in clients(evsd)))
    evsd.ok("detach", "data")
    until(lambda: not locked(evsd.pool_file("data")))


def clients(evsd: Evsd) -> list[Object]:
    attachment = evsd.attachment("data")["attachment_id"]
    with evsd.http() as http:
        path = f"/v3/{evsd.project_id()}/attachments/{attachment}"
        found: list[Object] = http.get(path).json()["attachment"]["clients"]
        return found
