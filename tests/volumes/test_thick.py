"""Thick volumes: ciphertext everywhere from creation, or no volume."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd, until
from tests.support.filling import begin, job, under_way
from tests.support.nbd import works
from tests.support.relay import relay
from tests.support.transfer import GIB, MIB, holes, small_pool


def nothing_is_left(evsd: Evsd) -> None:
    assert evsd.object("list")["count"] == 0
    assert list(evsd.pool.iterdir()) == []
    assert evsd.server_pids() == []


def test_every_sector_of_a_thick_volume_is_ciphertext(shared_evsd: Evsd) -> None:
    shown = shared_evsd.object("create", "thick", "--size", "1G", "--thick")["volume"]
    assert (shown["status"], shown["metadata"]["evsd:provisioning"]) == ("available", "thick")
    file = shared_evsd.pool_file("thick")
    assert file.stat().st_blocks * 512 >= GIB
    assert holes(file, MIB) == 0


def test_stock_cryptsetup_takes_a_thick_volume_with_its_data_key(
    shared_evsd: Evsd, tmp_path: Path
) -> None:
    """Without a requirement in its header; the guest's tests open one through dm-crypt."""
    shared_evsd.ok("create", "stock", "--size", "1G", "--thick", "--key", "test-key")
    file, key = shared_evsd.pool_file("stock"), tmp_path / "key"
    key.write_bytes(shared_evsd.data_key("stock"))
    words = ["cryptsetup", "open", "--test-passphrase", "--key-size", "512", "--volume-key-file"]
    subprocess.run([*words, key, file], check=True)
    dump = subprocess.run(["cryptsetup", "luksDump", file], capture_output=True, check=True).stdout
    assert b"Requirements" not in dump
    works(shared_evsd.ok("attach", "stock", "--transport", "uri"), "read -P 0 0 1M")
    shared_evsd.ok("detach", "stock")
    shared_evsd.ok("delete", "stock", "--yes")


def test_unknown_provisioning_is_refused(shared_evsd: Evsd) -> None:
    with shared_evsd.http() as http:
        wanted = {"name": "odd", "size": 1, "metadata": {"evsd:provisioning": "odd"}}
        path = f"/v2.1/{shared_evsd.project_id()}/cloudvolumes"
        refused = http.post(path, json={"volume": wanted})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "EVS.1009")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_creation_that_evsds_end_interrupts(
    filling_slowly: Evsd, number: signal.Signals
) -> None:
    evsd = filling_slowly
    job_id, volume_id = begin(evsd, "data")
    with under_way(evsd, job_id):
        shown = evsd.object("show", volume_id)["volume"]
        os.kill(evsd.pid, number)
    assert (shown["status"], shown["attachments"]) == ("creating", [])
    evsd.wait()
    evsd.start()
    nothing_is_left(evsd)
    assert job(evsd, job_id)["status"] == "FAIL"
    evsd.ok("create", "data", "--size", "1G")


def test_ctrl_c_leaves_nothing_of_a_creation(filling_slowly: Evsd) -> None:
    evsd = filling_slowly
    evsctl = evsd.spawn_ctl("create", "data", "--size", "3G", "--thick")
    until(evsd.server_pids)
    with evsd.servers_halted():
        evsctl.send_signal(signal.SIGINT)
    evsctl.communicate(timeout=120)
    assert evsctl.returncode == 1
    nothing_is_left(evsd)


def test_a_volume_that_is_being_filled_can_be_deleted_but_not_attached_or_extended(
    filling_slowly: Evsd,
) -> None:
    evsd = filling_slowly
    job_id, volume_id = begin(evsd, "data")
    asked = threading.Event()
    with relay(evsd.socket, b"DELETE ", asked.set) as socket:
        with under_way(evsd, job_id):
            assert "EVS.2134" in evsd.ctl("attach", volume_id, "--transport", "uri").err
            assert "EVS.1064" in evsd.ctl("extend", volume_id, "--size", "4G").err
            deletion = evsd.spawn_ctl("delete", volume_id, "--yes", socket=socket)
            assert asked.wait(60)
        deletion.communicate(timeout=120)
    assert deletion.returncode == 0
    nothing_is_left(evsd)
    assert job(evsd, job_id)["error_code"] == "EVS.5500"


def test_a_pool_that_is_too_small_leaves_nothing_of_a_thick_volume() -> None:
    with small_pool(64) as (pool, config), running_evsd("--config", str(config)) as evsd:
        evsd.prepare()
        refused = evsd.ctl("create", "data", "--size", "1G", "--thick")
        assert (refused.status, "EVS.5500" in refused.err) == (1, True)
        assert "No space left" in refused.err
        assert evsd.object("list")["count"] == 0
        assert list(pool.iterdir()) == []
