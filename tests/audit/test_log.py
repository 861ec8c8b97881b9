"""The audit log: its chain, and that it fails closed."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evsd.audit.log import AuditLog, ChainBroken, read, verify
from evsd.errors import KmsUnavailable


def written(path: Path, count: int) -> None:
    log = AuditLog(path)
    for number in range(count):
        log.append(action="test", number=number)
    log.close()


def test_the_chain_goes_on_when_the_log_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path, 3)
    written(path, 2)
    assert verify(path) == 5
    assert [record["sequence"] for record in read(path)] == [1, 2, 3, 4, 5]


def altered(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[2].replace('"number":2', '"number":9'), *lines[3:]]


def removed(lines: list[str]) -> list[str]:
    return [*lines[:2], *lines[3:]]


def moved(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[3], lines[2], lines[4]]


def rehashed(lines: list[str]) -> list[str]:
    record = json.loads(lines[2])
    record["hash"] = "0" * 64
    return [*lines[:2], json.dumps(record), *lines[3:]]


def garbage(lines: list[str]) -> list[str]:
    return [*lines[:2], "not json", *lines[3:]]


@pytest.mark.parametrize("change", [altered, removed, moved, rehashed, garbage])
def test_a_change_is_found_at_its_record(
    tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    path = tmp_path / "audit.log"
    written(path, 5)
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(ChainBroken, match="record 3 "):
        verify(path)


def test_a_line_torn_by_a_crash_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path, 3)
    with path.open("ab") as file:
        file.write(b'{"sequence":4,"ti')
    written(path, 1)
    assert verify(path) == 4


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    first = AuditLog(path)
    first.append(action="test")
    second = threading.Thread(target=written, args=(path, 1))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    first.append(action="test")
    first.close()
    second.join(10)
    assert verify(path) == 3


@contextmanager
def small_filesystem(directory: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_disk_refuses_the_use_and_leaves_the_chain_whole(tmp_path: Path) -> None:
    with small_filesystem(tmp_path) as directory:
        log = AuditLog(directory / "audit.log")
        with pytest.raises(KmsUnavailable, match="audit log can't be written"):
            for _ in range(1000):
                log.append(action="test", padding="x" * 500)
        log.close()
        assert verify(directory / "audit.log") > 0
