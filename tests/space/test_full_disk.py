"""On a filesystem that a volume has filled what frees space goes on, the rest is told why not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.space.conftest import ballast, evsd_on, filled
from tests.support.daemon import Evsd, Object, until
from tests.support.traces import file_behind, traces


def tracebacks(evsd: Evsd) -> list[str]:
    return [line for line in evsd.log.read_text().splitlines() if "Traceback" in line]


def status(evsd: Evsd, volume: str) -> str:
    return str(evsd.object("show", volume)["volume"]["status"])


def free(evsd: Evsd) -> int:
    found = os.statvfs(evsd.state)
    return found.f_bfree * found.f_frsize


def is_refused(evsd: Evsd, *words: str) -> None:
    """With the filesystem named, and what to do first."""
    refused = evsd.ctl(*words)
    assert refused.status == 1, (words, refused)
    assert re.search(rf"{evsd.state}\S* is full: No space left", refused.err), (words, refused)
    assert "free space first" in refused.err, (words, refused)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs"])
def test_what_frees_space_and_what_takes_rights_away_goes_on(kind: str) -> None:
    with evsd_on(kind) as evsd:
        evsd.ok("attach", "device", "--transport", "fuse")
        try:
            with filled(evsd):
                pass
            goes_on(evsd)
        except BaseException:
            evsd.ctl("detach", "device", "--force")
            raise


def goes_on(evsd: Evsd) -> None:
    file = file_behind(evsd.attachment("device")["device"])
    assert evsd.object("list")["count"] == 3
    if evsd.ctl("detach", "device").status != 0:  # a flush may fail on a full filesystem
        evsd.ok("detach", "device", "--force")
    assert not traces(file)
    evsd.ok("key", "disable", "test-key", "--yes")
    assert evsd.object("audit", "list", "--limit", "1")["records"][0]["action"] == "disable-key"
    evsd.ok("audit", "verify")
    evsd.ok("detach", "data")
    assert {status(evsd, name) for name in ("data", "device")} == {"available"}
    before = free(evsd)
    evsd.ok("delete", "data", "--yes")
    assert free(evsd) > before + 4 * 2**20
    assert tracebacks(evsd) == []


STARTS = [("ext4", signal.SIGTERM), ("xfs", signal.SIGKILL), ("tmpfs", signal.SIGTERM)]


@pytest.mark.parametrize(("kind", "number"), STARTS)
def test_evsd_starts_and_space_can_be_freed(kind: str, number: signal.Signals) -> None:
    with evsd_on(kind) as evsd:
        with filled(evsd):
            pass
        evsd.signal(number)
        evsd.start()
        evsd.ok("audit", "verify")
        evsd.ok("detach", "data")
        evsd.ok("delete", "data", "--yes")
        ballast(evsd).unlink()
        evsd.ok("attach", "other", "--transport", "uri")  # its key is still there
        evsd.ok("detach", "other")
        assert evsd.object("audit", "verify")["findings"] == []


def test_what_needs_space_is_refused_with_the_full_filesystem_and_changes_nothing(
    full_ext4: Evsd,
) -> None:
    evsd = full_ext4
    volumes, keys = evsd.object("list"), evsd.object("key", "list")
    is_refused(evsd, "create", "new", "--size", "1G")
    is_refused(evsd, "create", "new", "--size", "1G", "--thick")
    is_refused(evsd, "key", "create", "new")
    is_refused(evsd, "access-key", "create")
    is_refused(evsd, "attach", "other", "--transport", "uri")
    assert (evsd.object("list"), evsd.object("key", "list")) == (volumes, keys)
    assert tracebacks(evsd) == []
    assert {path.suffix for path in evsd.pool.iterdir()} == {".luks"}


def test_uses_of_keys_can_not_take_the_room_that_disabling_needs(full_ext4: Evsd) -> None:
    evsd = full_ext4
    with evsd.http() as http:
        listed = http.post(f"/v1.0/{evsd.project_id()}/kms/list-keys", json={}).json()
        path = f"/v1.0/{evsd.project_id()}/kms/create-datakey"
        body = {"key_id": listed["keys"][0], "datakey_length": "512"}
        answers = [http.post(path, json=body) for _ in range(200)]
    assert answers[-1].status_code == 503
    error: Object = answers[-1].json()["error"]
    assert error["error_code"] == "KMS.0104"
    assert f"{evsd.state} is full" in error["error_msg"]
    assert "free space first" in error["error_msg"]
    evsd.ok("key", "disable", "test-key", "--yes")
    evsd.ok("key", "enable", "test-key")
    assert evsd.object("audit", "verify")["findings"] == []


def test_keys_outlive_a_full_filesystem(full_ext4: Evsd) -> None:
    """SoftHSM empties its token's file where it has no room to write it."""
    evsd = full_ext4
    for _ in range(2):
        is_refused(evsd, "key", "create", "new")
        evsd.kill()
        evsd.start()
    ballast(evsd).unlink()
    until(lambda: evsd.ctl("key", "create-datakey", "test-key").status == 0)
    evsd.ok("attach", "other", "--transport", "uri")
    evsd.ok("detach", "other")


def test_a_token_whose_file_was_emptied_is_put_back(evsd: Evsd) -> None:
    evsd.prepare()
    evsd.stop()
    evsd.start()
    evsd.kill()
    [emptied] = evsd.state.glob("token/tokens/*/token.object")
    os.truncate(emptied, 0)
    evsd.start()
    evsd.ok("key", "create-datakey", "test-key")


def test_a_full_log_is_not_what_fails_a_request() -> None:
    with evsd_on("tmpfs") as evsd:
        evsd.stop()
        own_log = evsd.log
        evsd.log = evsd.state / "evsd.log"
        evsd.start()
        with filled(evsd):
            pass
        evsd.ok("detach", "data")
        evsd.ok("delete", "data", "--yes")
        evsd.log = own_log


def test_a_detach_that_evsd_can_not_write_down_leaves_the_device(evsd: Evsd) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    device = evsd.ok("attach", "data", "--transport", "fuse")
    # As evsd's own user: for another's process even root may lack the capability.
    user = ("setpriv", "--reuid=evsd", "--regid=evsd", "--clear-groups")
    limit = [*user, "prlimit", f"--pid={evsd.pid}"]
    subprocess.run([*limit, "--fsize=0:"], check=True)  # no file of its can be written
    refused = evsd.ctl("detach", "data")
    subprocess.run([*limit, "--fsize=unlimited:"], check=True)
    assert refused.status == 1, refused
    assert evsd.attachment("data")["device"] == device
    Path(device).write_bytes(b"x" * 4096)
    assert evsd.object("show", "data")["volume"]["metadata"]["evsd:device"] == "connected"
    evsd.ok("detach", "data")


def test_a_filesystem_that_has_become_read_only_is_named() -> None:
    with evsd_on("ext4") as evsd:
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", evsd.state], capture_output=True, text=True, check=True
        ).stdout.strip()
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", evsd.state], check=True)
        (Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error").write_text("test")
        refused = evsd.ctl("create", "new", "--size", "1G", "--key", "test-key")
        assert (refused.status, "read-only" in refused.err) == (1, True), refused
        refused = evsd.ctl("key", "disable", "test-key", "--yes")
        assert (refused.status, "read-only" in refused.err) == (1, True), refused
        assert evsd.object("list")["count"] == 3
        assert tracebacks(evsd) == []
