"""An audit log that nothing is in yet: whole, however often and wherever its beginning ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evsd.audit.chain import DAMAGED, Head, head_path, newest_first, read_head
from evsd.audit.log import AuditLog
from evsd.audit.verification import verify
from tests.support.daemon import Evsd

# Opens a log and writes two records, as evsd-keys does at its first start.
FIRST_START = """
import sys
from pathlib import Path
from evsd.audit.log import AuditLog
with AuditLog(Path(sys.argv[1])) as log:
    log.append(action="first")
    log.append(action="second")
"""
MOMENTS = 100  # more than there are


def findings(path: Path, mark: Head | None = None) -> list[str]:
    result = verify(path) if mark is None else verify(path, mark=mark)
    return [finding.what for finding in result.findings]


def written(path: Path, count: int) -> None:
    with AuditLog(path) as log:
        for _ in range(count):
            log.append(action="test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def test_a_fresh_evsd_may_be_stopped_and_started_before_anything_is_recorded(evsd: Evsd) -> None:
    assert "is whole: 0 records" in evsd.ok("audit", "verify")
    for end in (evsd.stop, evsd.kill, evsd.stop):
        end()
        evsd.start()
        assert "is whole: 0 records" in evsd.ok("audit", "verify")
    evsd.prepare()
    evsd.stop()
    evsd.start()
    assert evsd.object("audit", "verify")["findings"] == []


def test_an_empty_log_is_whole_while_it_is_open_and_afterwards(path: Path) -> None:
    for _ in range(3):
        with AuditLog(path):
            assert findings(path) == []
        assert findings(path) == []
    written(path, 2)
    assert findings(path) == []


@pytest.mark.parametrize("left", [b"", bytes(512)])
def test_a_head_that_a_crash_left_blank_is_no_finding(path: Path, left: bytes) -> None:
    path.touch()
    head_path(path).write_bytes(left)
    written(path, 0)
    assert findings(path) == []


@pytest.mark.parametrize("left", [b"", bytes(512)])
def test_a_blank_head_beside_records_is_noted(path: Path, left: bytes) -> None:
    written(path, 2)
    head_path(path).write_bytes(left)
    written(path, 0)
    assert "audit.head is missing, or can't be read" in findings(path)[0]


@pytest.mark.parametrize("remove", [Path.unlink, lambda file: os.truncate(file, 0)])
def test_a_log_that_was_emptied_is_not_taken_for_a_new_one(path: Path, remove: object) -> None:
    written(path, 3)
    mark, _ = read_head(path) or (Head(), "")
    for file in (path, head_path(path)):
        assert callable(remove)
        remove(file)
    with AuditLog(path, mark=mark):
        pass
    assert "the whole log is missing, records 1 to 3" in findings(path, mark)[-1]


def test_a_stop_before_the_first_record_after_a_rotation_is_no_finding(path: Path) -> None:
    written(path, 3)
    path.rename(path.with_name("audit.log.000000000001"))
    path.touch()
    for _ in range(2):
        written(path, 0)
        assert findings(path) == []
    written(path, 1)
    assert findings(path) == []
    assert verify(path).records == 4


def test_a_kill_at_any_moment_of_the_first_start_leaves_a_whole_log(tmp_path: Path) -> None:
    """By strace, at its first, second, ... call on one of the log's files, until it is done."""
    for moment in range(1, MOMENTS):
        path = tmp_path / str(moment) / "audit.log"
        path.parent.mkdir()
        files = [path, head_path(path), path.parent]
        inject = f"--inject=all:signal=KILL:when={moment}"
        done = subprocess.run(
            ["strace", "-f", "-qq", "-o", "/dev/null", inject]
            + [word for file in files for word in ("-P", str(file))]
            + [sys.executable, "-c", FIRST_START, str(path)],
            check=False,
        )
        if path.exists():
            written(path, 1)
            assert findings(path) == [], moment
            assert not [record for record in newest_first(path) if record["action"] == DAMAGED]
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert 15 < moment < MOMENTS - 1
