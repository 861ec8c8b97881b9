"""The audit log: its chain, what finds that it was changed, and that it fails closed."""

from __future__ import annotations

import hashlib
import hmac
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evsd.audit.chain import Head, head_path, newest_first, read_head, signature
from evsd.audit.log import AuditLog
from evsd.audit.verification import Position, Verification, verify
from evsd.errors import KeysUnavailable
from tests.support.filesystem import mounted_tmpfs

KEY = b"k" * 32
Lines = list[str]


def written(path: Path, count: int, **options: Any) -> None:
    with AuditLog(path, **options) as log:
        for number in range(count):
            log.append(action="test", number=number)


def check(pairs: list[tuple[str, str]]) -> set[int]:
    """The signatures by the standard library's HMAC alone."""
    return {
        index
        for index, (digest, signed) in enumerate(pairs)
        if hmac.new(KEY, digest.encode(), hashlib.sha256).hexdigest() != signed
    }


def findings(path: Path, page: int = 1000) -> list[str]:
    """What a verification of all pages finds."""
    found, result = [], Verification(next=Position())
    while result.next is not None:
        result = verify(path, Position.at(str(result.next)), check, page)
        found += [finding.what for finding in result.findings]
    return found


def sequences(path: Path) -> list[int]:
    return [record["sequence"] for record in newest_first(path)][::-1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def test_the_chain_goes_on_when_the_log_is_opened_again(path: Path) -> None:
    written(path, 3)
    written(path, 2)
    assert verify(path).records == 5
    assert sequences(path) == [1, 2, 3, 4, 5]


def test_the_chain_is_what_the_format_says(path: Path) -> None:
    written(path, 3, signing_key=lambda: KEY)
    previous = "0" * 64
    for line in path.read_text().splitlines():
        record = json.loads(line)
        signed, digest = record.pop("signature"), record.pop("hash")
        spelled = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert record["previous"] == previous
        assert hashlib.sha256(spelled.encode()).hexdigest() == digest
        assert hmac.new(KEY, digest.encode(), hashlib.sha256).hexdigest() == signed
        previous = digest


def altered(lines: Lines) -> Lines:
    return [*lines[:2], lines[2].replace('"number":2', '"number":9'), *lines[3:]]


def removed(lines: Lines) -> Lines:
    return [*lines[:2], *lines[3:]]


def moved(lines: Lines) -> Lines:
    return [*lines[:2], lines[3], lines[2], lines[4]]


def false_hash(lines: Lines) -> Lines:
    record = json.loads(lines[2])
    record["hash"] = "0" * 64
    return [*lines[:2], json.dumps(record), *lines[3:]]


def garbage(lines: Lines) -> Lines:
    return [*lines[:2], "not json", *lines[3:]]


def no_signature(lines: Lines) -> Lines:
    record = json.loads(lines[2])
    del record["signature"]
    return [*lines[:2], json.dumps(record), *lines[3:]]


def inserted(lines: Lines) -> Lines:
    return [*lines[:3], lines[2], *lines[3:]]


def rehashed_from_there(lines: Lines) -> Lines:
    """By somebody who knows the format, but has no token."""
    previous = json.loads(lines[1])["hash"]
    forged = []
    for line in lines[2:]:
        record = json.loads(line)
        record.pop("hash")
        signed = record.pop("signature")
        record |= {"principal": "somebody else", "previous": previous}
        spelled = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        previous = record["hash"] = hashlib.sha256(spelled).hexdigest()
        forged.append(json.dumps({**record, "signature": signed}))
    return [*lines[:2], *forged]


CHANGES = [altered, removed, moved, false_hash, garbage, no_signature, inserted]


@pytest.mark.parametrize("page", [1, 2, 1000])
@pytest.mark.parametrize("change", [*CHANGES, rehashed_from_there])
def test_a_change_is_found_at_its_record(
    path: Path, change: Callable[[Lines], Lines], page: int
) -> None:
    written(path, 5, signing_key=lambda: KEY)
    assert findings(path, page) == []
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    assert "record 3 " in findings(path, page)[0]


@pytest.mark.parametrize("page", [1, 1000])
@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_log_that_was_cut_at_its_end_is_found(path: Path, kept: int, page: int) -> None:
    written(path, 5)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:kept]))
    last = "record 5 is" if kept == 4 else f"records {kept + 1} to 5 are"
    assert findings(path, page) == [f"{last} missing: the log was cut off"]


def test_what_was_cut_off_is_still_found_after_more_was_written(path: Path) -> None:
    written(path, 5)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    written(path, 2)
    assert sequences(path) == [1, 2, 3, 6, 7, 8]
    assert findings(path) == [
        "records 4 to 5 are missing",
        "record 6 says of the log before it: records 4 to 5 are missing",
    ]


def test_a_lost_head_is_found_and_noted(path: Path) -> None:
    written(path, 3)
    path.with_suffix(".head").unlink()
    assert "is gone" in findings(path)[0]
    written(path, 1)
    assert "audit.head is missing" in findings(path)[0]


def test_a_replaced_end_is_found_and_noted(path: Path) -> None:
    written(path, 3)
    other = path.parent / "other" / "audit.log"
    other.parent.mkdir()
    written(other, 6)
    path.write_bytes(other.read_bytes())
    assert findings(path) == ["record 3 is not the one written"]
    written(path, 1)
    assert "record 3 is not the one written" in findings(path)[0]


def test_a_head_that_lags_after_a_crash_is_no_finding(path: Path) -> None:
    written(path, 2)
    lagging = path.with_suffix(".head").read_bytes()
    written(path, 1)
    path.with_suffix(".head").write_bytes(lagging)
    assert findings(path) == []
    written(path, 1)
    assert findings(path) == []


def test_a_forged_head_is_found_by_its_signature(path: Path) -> None:
    written(path, 3, signing_key=lambda: KEY)
    head = path.with_suffix(".head")
    fields = json.loads(head.read_text())
    head.write_text(json.dumps({**fields, "signature": "0" * 64}))
    assert findings(path) == ["record 3 has a false signature"]


def test_a_record_that_must_be_signed_is_not_written_without_the_key(path: Path) -> None:
    with AuditLog(path) as log:
        with pytest.raises(KeysUnavailable, match="can't be signed"):
            log.append_signed(action="destroy-key")
        log.append(action="test")
    assert [record["action"] for record in newest_first(path)] == ["test"]


def test_records_are_signed_once_the_key_is_there(path: Path) -> None:
    key: bytes | None = None
    with AuditLog(path, signing_key=lambda: key) as log:
        log.append(action="test")
        key = KEY
        log.append_signed(action="destroy-key")
    result = verify(path, check=check)
    assert (result.records, result.signed, result.findings) == (2, 1, [])


def test_a_line_torn_by_a_crash_is_cut_off(path: Path) -> None:
    written(path, 3)
    with path.open("ab") as file:
        file.write(b'{"sequence":4,"ti')
    assert findings(path) == []
    written(path, 1)
    assert verify(path).records == 4


def test_a_second_writer_waits_for_the_first(path: Path) -> None:
    first = AuditLog(path)
    first.append(action="test")
    second = threading.Thread(target=written, args=(path, 1))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    first.append(action="test")
    first.close()
    second.join()
    assert verify(path).records == 3


# --- log and head put back together ---------------------------------------------------------------


def put_back(path: Path) -> Head:
    """A log that ends at record 3, with the head of then; returns where it had come to."""
    written(path, 3)
    earlier = [(file, file.read_bytes()) for file in (path, head_path(path))]
    written(path, 2)
    last, _ = read_head(path) or (Head(), "")
    for file, content in earlier:
        file.write_bytes(content)
    return last


def test_a_log_and_head_put_back_together_are_found_by_the_mark(path: Path) -> None:
    mark = put_back(path)
    assert [finding.what for finding in verify(path).findings] == []
    found = [finding.what for finding in verify(path, mark=mark).findings]
    assert found == ["records 4 to 5 are missing: the database knows of more than the log"]


def test_a_log_put_back_is_never_forgotten_once_it_goes_on(path: Path) -> None:
    mark = put_back(path)
    written(path, 1, mark=mark)
    assert sequences(path) == [1, 2, 3, 6, 7]
    found = [finding.what for finding in verify(path, mark=mark).findings]
    assert found[0] == "records 4 to 5 are missing"
    assert "the end of the log is missing, records 4 to 5" in found[1]


def test_another_log_of_the_same_length_is_found_by_the_mark(path: Path) -> None:
    mark = put_back(path)
    written(path, 4)
    found = [finding.what for finding in verify(path, mark=mark).findings]
    assert found == ["record 5 is not the one written"]
    written(path, 1, mark=mark)
    assert "record 5 is not the one the database knows" in findings(path)[0]


def test_a_mark_that_lags_behind_is_no_finding(path: Path) -> None:
    written(path, 3)
    mark, _ = read_head(path) or (Head(), "")
    written(path, 2)
    written(path, 1, mark=mark)
    assert sequences(path) == [1, 2, 3, 4, 5, 6]
    assert verify(path, mark=mark).findings == []


# --- rotation ------------------------------------------------------------------------------------


def test_the_chain_goes_on_over_files_named_by_their_first_record(path: Path) -> None:
    written(path, 50, segment_bytes=4096)
    written(path, 50, segment_bytes=4096)
    files = sorted(file for file in path.parent.iterdir() if file.name.startswith("audit.log."))
    assert len(files) > 3
    for file in files:
        assert json.loads(file.read_text().splitlines()[0])["sequence"] == int(file.suffix[1:])
        assert file.stat().st_size <= 4096
    assert sequences(path) == list(range(1, 101))
    for page in (7, 1000):
        assert findings(path, page) == []


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_missing_file_is_found_with_the_records_it_held(path: Path, which: int) -> None:
    written(path, 100, segment_bytes=4096)
    files = sorted(file for file in path.parent.iterdir() if file.name.startswith("audit.log."))
    held = [json.loads(line)["sequence"] for line in files[which].read_text().splitlines()]
    files[which].unlink()
    assert findings(path) == [f"records {held[0]} to {held[-1]} are missing"]


def test_a_missing_active_file_is_found(path: Path) -> None:
    written(path, 100, segment_bytes=4096)
    first = sequences(path).index(json.loads(path.read_text().splitlines()[0])["sequence"]) + 1
    path.unlink()
    assert findings(path) == [f"records {first} to 100 are missing: the log was cut off"]


def test_a_crash_between_the_two_steps_of_a_rotation_loses_nothing(path: Path) -> None:
    written(path, 5)
    path.rename(path.with_name("audit.log.000000000001"))
    assert findings(path) == []
    written(path, 5)
    assert sequences(path) == list(range(1, 11))
    assert findings(path) == []


def test_a_log_can_be_verified_while_it_is_written_and_rotated(path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with AuditLog(path, 4096) as log:
            for number in range(400):
                log.append(action="test", number=number)
        done.set()

    written(path, 1)
    writer = threading.Thread(target=write)
    writer.start()
    found = []
    while not done.is_set():
        found += findings(path, 20)
    writer.join()
    assert found == []
    assert sequences(path) == list(range(1, 402))


# --- a log that can't be written -----------------------------------------------------------------


def append_until_refused(log: AuditLog) -> None:
    def append_many() -> None:
        for _ in range(1000):
            log.append(action="test", padding="x" * 500)

    with pytest.raises(KeysUnavailable, match="audit log can't be written"):
        append_many()


def test_a_full_disk_refuses_the_use_and_one_with_space_again_does_not(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path, "32k"):
        path, ballast = tmp_path / "audit.log", tmp_path / "ballast"
        ballast.write_bytes(bytes(8192))
        with AuditLog(path) as log:
            append_until_refused(log)
            append_until_refused(log)
            before = sequences(path)
            ballast.unlink()
            log.append(action="test")
        assert sequences(path) == [*before, before[-1] + 1]
        assert findings(path) == []


def test_a_refused_write_refuses_the_use_and_the_next_one_is_tried_again(path: Path) -> None:
    with AuditLog(path) as log:
        log.append(action="test")
        with no_room_for_more(path):
            append_until_refused(log)
        log.append(action="test")
    assert sequences(path) == [1, 2]
    assert findings(path) == []


@contextmanager
def no_room_for_more(path: Path) -> Iterator[None]:
    """The log can't grow until the end of the block."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def test_records_that_wait_are_on_disk_only_after_a_sync(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(durable=False, action="one")
        assert path.read_bytes() == b""
        assert not log.settled
        log.sync()
        assert log.settled
        assert [record["action"] for record in newest_first(path)] == ["one"]


def test_records_that_could_not_be_synced_never_were(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(action="first")
        with no_room_for_more(path):
            log.append(durable=False, action="lost")
            with pytest.raises(KeysUnavailable):
                log.append(action="refused")
            assert log.settled
            log.append(durable=False, action="lost too")
            with pytest.raises(KeysUnavailable):
                log.sync()
        log.append(action="second")
        log.sync()
    assert [record["action"] for record in newest_first(path)] == ["second", "first"]
    assert verify(path).findings == []


def test_records_gather_while_others_are_written(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(durable=False, action="one")
        first = log.newest
        log.begin_sync().result()
        log.append(durable=False, action="two")
        second = log.newest
        assert (first.on_disk, second.on_disk) == (None, None)
        log.end_sync()
        assert (first.on_disk, second.on_disk, log.settled) == (True, None, False)
        log.append(action="three")
        assert (log.newest, second.on_disk, log.settled) == (second, True, True)
    assert [record["action"] for record in newest_first(path)] == ["three", "two", "one"]
    assert verify(path).findings == []


def test_what_gathered_while_others_were_written_is_lost_with_them(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(action="first")
        with no_room_for_more(path):
            log.append(durable=False, action="lost")
            lost = log.newest
            writing = log.begin_sync()
            log.append(durable=False, action="lost too")
            assert isinstance(writing.exception(), OSError)
            with pytest.raises(KeysUnavailable):
                log.append(action="refused")
            assert (lost.on_disk, log.newest.on_disk, log.settled) == (False, False, True)
        log.append(action="second")
    assert [record["action"] for record in newest_first(path)] == ["second", "first"]
    assert verify(path).findings == []


def test_a_log_that_is_closed_writes_what_still_waits(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(durable=False, action="one")
        log.begin_sync()
        log.append(durable=False, action="two")
    assert [record["action"] for record in newest_first(path)] == ["two", "one"]
    assert verify(path).findings == []


def test_a_records_signature_is_no_signature_of_the_head(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path, signing_key=lambda: KEY) as log:
        for action in ("one", "two", "three"):
            log.append(action=action)
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[1])
    path.write_bytes(b"".join(lines[:2]))
    forged = {name: record[name] for name in ("sequence", "hash", "signature")}
    head_path(path).write_text(json.dumps(forged).ljust(511) + "\n")

    def false_ones(pairs: list[tuple[str, str]]) -> set[int]:
        return {n for n, (text, value) in enumerate(pairs) if signature(KEY, text) != value}

    assert verify(path, check=false_ones).findings
    del forged["signature"]
    head_path(path).write_text(json.dumps(forged).ljust(511) + "\n")
    assert verify(path, check=false_ones).findings


@pytest.mark.parametrize("replaced", ["audit.log", "audit.head"])
def test_files_that_are_removed_or_replaced_lose_no_later_record(
    tmp_path: Path, replaced: str
) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        log.append(action="one")
        log.append(action="two")
        old = {name: (tmp_path / name).read_bytes() for name in ("audit.log", "audit.head")}
        log.append(action="three")
        (tmp_path / replaced).unlink()
        log.append(action="four")
        assert next(newest_first(path))["action"] == "four"
        for name, content in old.items():
            (tmp_path / name).unlink()
            (tmp_path / name).write_bytes(content)
        log.append(action="five")
    found = [record["action"] for record in newest_first(path)]
    assert found == ["five", "audit-log-damaged", "two", "one"]
    assert any("missing" in finding.what for finding in verify(path).findings)


def test_a_line_too_deep_to_read_is_found_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    written(path, 2)
    with path.open("a") as file:
        file.write("[" * 100_000 + "\n")
    assert any("record 3" in finding.what for finding in verify(path).findings)
    written(path, 1)
