"""evsctl audit, and that a key is only used if the log can be written."""

from __future__ import annotations

import json
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from evsd.audit.chain import newest_first
from evsd.audit.log import AuditLog
from evsd.audit.reader import MOST_LOOKED_AT, Filter, select
from tests.support.daemon import Evsd, running_evsd, temporary_state
from tests.support.filesystem import fill, mounted_tmpfs

USER = "nobody"


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    """With small files, so that the log is rotated many times; an ordinary user is known."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        config = Path(directory) / "evsd.toml"
        config.write_text(
            f'[audit]\nsegment_bytes = 8192\n\n[unix_users]\n{USER} = "ordinary user"\n'
        )
        config.chmod(0o644)
        with running_evsd("--config", str(config)) as running:
            running.prepare()
            yield running


def kms(evsd: Evsd, operation: str, **body: object) -> httpx.Response:
    with evsd.http() as http:
        return http.post(f"/v1.0/{evsd.project_id()}/kms/{operation}", json=body)


def key_id(evsd: Evsd) -> str:
    return str(evsd.object("key", "show", "test-key")["key_info"]["key_id"])


def records(evsd: Evsd, *options: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = evsd.object("audit", "list", *options)["records"]
    return found


def test_a_use_is_listed_with_all_that_is_known_of_it(evsd: Evsd) -> None:
    key = key_id(evsd)
    answer = kms(evsd, "create-datakey", key_id=key, encryption_context={"a": "b"})
    record = records(evsd, "--limit", "1")[0]
    expected = {
        "principal": "root",
        "source": "uid:0",
        "action": "create-datakey",
        "key_id": key,
        "key_version": 1,
        "context": {"a": "b"},
        "result": "ok",
        "request_id": answer.headers["x-request-id"],
        "project_id": evsd.project_id(),
        "signed": True,
    }
    assert {name: record[name] for name in expected} == expected


def test_a_refused_use_is_listed_with_its_code(evsd: Evsd) -> None:
    missing = "00000000-0000-0000-0000-00000000dead"
    answer = kms(evsd, "create-datakey", key_id=missing)
    record = records(evsd, "--key", missing)[0]
    assert (record["result"], record["request_id"]) == (
        answer.json()["error"]["error_code"],
        answer.headers["x-request-id"],
    )
    assert record in records(evsd, "--result", "refused")
    assert record not in records(evsd, "--result", "ok", "--limit", "100000")


def test_filters_choose_what_the_log_holds(evsd: Evsd) -> None:
    key, began = key_id(evsd), datetime.now(UTC).isoformat()
    for _ in range(3):
        kms(evsd, "create-datakey-without-plaintext", key_id=key)
    ended = datetime.now(UTC).isoformat()
    kms(evsd, "create-datakey", key_id=key)
    everything = list(newest_first(evsd.state / "audit.log"))
    between = [record for record in everything if began <= record["time"] <= ended]
    assert len(between) == 3
    assert records(evsd, "--since", began, "--until", ended) == between
    for option, field, value in (
        ("--action", "action", "create-datakey"),
        ("--key", "key_id", key),
        ("--principal", "principal", "root"),
        ("--result", "result", "ok"),
    ):
        expected = [record for record in everything if record[field] == value]
        assert records(evsd, option, value, "--limit", "100000") == expected
    assert records(evsd, "--key", "test-key") == records(evsd, "--key", key)
    assert records(evsd, "--since", "1h", "--limit", "2") == everything[:2]
    assert records(evsd, "--principal", "nobody at all") == []


def test_pages_join_without_gap_or_repetition(evsd: Evsd) -> None:
    key = key_id(evsd)
    for _ in range(40):
        kms(evsd, "create-datakey", key_id=key)
    seen, marker = [], "1000000"
    with evsd.http() as http:
        while marker:
            query = {"limit": "7", "marker": marker}
            page = http.get("/v1/audit/records", params=query).json()
            seen += [record["sequence"] for record in page["records"]]
            marker = page["next_marker"]
    assert seen == list(range(seen[0], 0, -1))
    assert len(list(evsd.state.glob("audit.log.*"))) > 1


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "marker=0", "marker=-1", "since=yesterday", "until=%00"],
)
def test_a_malformed_query_is_refused(evsd: Evsd, query: str) -> None:
    with evsd.http() as http:
        assert http.get(f"/v1/audit/records?{query}").status_code == 400


@pytest.mark.parametrize("marker", ["1", "1.2.3.4", f"1.0.{'9' * 40}.{'0' * 64}"])
def test_a_malformed_marker_of_a_verification_is_refused(evsd: Evsd, marker: str) -> None:
    with evsd.http() as http:
        answer = http.get("/v1/audit/verification", params={"marker": marker})
    assert answer.status_code == 400


def test_a_table_shows_one_use_a_line(evsd: Evsd) -> None:
    kms(evsd, "create-datakey", key_id=key_id(evsd))
    lines = evsd.ok("audit", "list", "--limit", "2").splitlines()
    assert lines[0].split()[:3] == ["SEQUENCE", "TIME", "PRINCIPAL"]
    assert len(lines) == 3
    assert "create-datakey" in lines[1]


def test_an_ordinary_user_may_not_read_the_log(evsd: Evsd) -> None:
    entry = pwd.getpwnam(USER)
    for path in ("/v1/audit/records", "/v1/audit/verification"):
        done = subprocess.run(
            ["curl", "-s", "--unix-socket", evsd.socket, f"http://evsd{path}"],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            capture_output=True,
            check=True,
        )
        assert json.loads(done.stdout)["error"]["error_code"] == "KMS.0330"


def test_a_use_that_roles_or_project_refuse_is_recorded_too(evsd: Evsd) -> None:
    entry, key = pwd.getpwnam(USER), key_id(evsd)
    path = f"http://evsd/v1.0/{evsd.project_id()}/kms/disable-key"
    subprocess.run(
        ["curl", "-s", "--unix-socket", evsd.socket, "-d", json.dumps({"key_id": key}), path],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        capture_output=True,
        check=True,
    )
    record = records(evsd, "--limit", "1")[0]
    refused = {name: record[name] for name in ("principal", "action", "key_id", "result")}
    assert refused == {
        "principal": USER,
        "action": "disable-key",
        "key_id": key,
        "result": "KMS.0330",
    }
    with evsd.http() as http:
        http.post("/v1.0/another/kms/create-datakey", json={"key_id": key})
    record = records(evsd, "--limit", "1")[0]
    assert (record["project_id"], record["key_id"]) == ("another", key)
    assert record["result"] == "KMS.0305"


def test_a_tenant_sees_the_own_domains_records_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    with AuditLog(path) as log:
        for domain in ("a", "b", "", "a"):
            log.append(action="test", domain_id=domain)
    assert [r["sequence"] for r in select(path, Filter(domain_id="a"), 10).records] == [4, 1]
    assert len(select(path, Filter(), 10).records) == 4


def test_a_page_of_a_big_log_ends_before_all_of_it_was_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    line = '{{"sequence":{},"action":"test","time":""}}\n'
    path.write_text("".join(line.format(n) for n in range(1, MOST_LOOKED_AT + 11)))
    first = select(path, Filter(action="other"), 10)
    assert (first.records, first.next) == ([], 11)
    assert select(path, Filter(action="other"), 10, first.next).next is None


def test_a_whole_log_is_verified_with_its_signatures(evsd: Evsd) -> None:
    kms(evsd, "create-datakey", key_id=key_id(evsd))
    answer = evsd.object("audit", "verify")
    assert answer["findings"] == []
    assert answer["signatures_checked"]
    assert answer["signed"] >= answer["records"] > 10
    assert "the log is whole" in evsd.ok("audit", "verify")


def test_a_changed_log_fails_the_verification_which_names_the_record(evsd: Evsd) -> None:
    kms(evsd, "create-datakey", key_id=key_id(evsd))
    rotated = sorted(evsd.state.glob("audit.log.*"))[0]
    kept = rotated.with_name("kept")
    shutil.copy(rotated, kept)
    try:
        rotated.write_text(
            rotated.read_text().replace('"principal":"root"', '"principal":"toor"', 1)
        )
        done = evsd.ctl("audit", "verify")
        assert done.status == 1
        assert "record 1 was altered\nthe log is NOT whole" in done.out
    finally:
        shutil.copy(kept, rotated)
        kept.unlink()
    assert evsd.ctl("audit", "verify").status == 0


def test_a_log_cut_under_a_running_evsd_is_found(evsd: Evsd) -> None:
    kms(evsd, "create-datakey", key_id=key_id(evsd))
    log = evsd.state / "audit.log"
    content = log.read_bytes()
    last = json.loads(content.splitlines()[-1])["sequence"]
    log.write_bytes(content[: content.rfind(b"\n", 0, -1) + 1])
    try:
        done = evsd.ctl("audit", "verify")
        assert (done.status, f"record {last} is missing" in done.out) == (1, True)
    finally:
        log.write_bytes(content)
    assert evsd.ctl("audit", "verify").status == 0


def test_a_log_that_vanished_while_evsd_was_stopped_is_never_forgotten() -> None:
    with running_evsd() as evsd:
        evsd.prepare()
        evsd.stop()
        for file in evsd.state.glob("audit.*"):
            file.unlink()
        evsd.start()
        evsd.ok("key", "create", "another")
        done = evsd.ctl("audit", "verify")
        assert (done.status, "the whole log is missing" in done.out) == (1, True)


def test_a_log_and_head_put_back_together_are_never_forgotten() -> None:
    with running_evsd() as evsd:
        kms(evsd, "gen-random")
        earlier = {file: file.read_bytes() for file in evsd.state.glob("audit.*")}
        kms(evsd, "gen-random")
        evsd.stop()  # writes the mark; a crash would lose the last minute of it
        for file, content in earlier.items():
            file.write_bytes(content)
        evsd.start()
        kms(evsd, "gen-random")
        done = evsd.ctl("audit", "verify")
        assert (done.status, "the database knows of them" in done.out) == (1, True)
        assert records(evsd, "--action", "follow-settings") == []  # no start had a reason to


def test_no_key_is_used_while_the_log_can_not_be_written() -> None:
    with temporary_state() as state, mounted_tmpfs(state, "16m"):
        evsd = Evsd(state)
        evsd.start()
        try:
            evsd.prepare()
            key, ballast = key_id(evsd), state / "ballast"
            fill(ballast)
            answers = [kms(evsd, "create-datakey", key_id=key) for _ in range(30)]
            refused = [answer for answer in answers if answer.status_code != 200]
            assert refused
            assert {a.json()["error"]["error_code"] for a in refused} == {"KMS.0104"}
            assert {a.status_code for a in refused} == {503}
            assert "audit log can't be written" in refused[0].text
            ballast.unlink()
            assert kms(evsd, "create-datakey", key_id=key).status_code == 200
            made = [r for r in newest_first(state / "audit.log") if r["action"] == "create-datakey"]
            assert len(made) == 30 - len(refused) + 1
            assert evsd.object("audit", "verify")["findings"] == []
        finally:
            evsd.stop()


def test_of_uses_at_once_each_that_was_answered_has_its_record_and_no_other() -> None:
    with temporary_state() as state, mounted_tmpfs(state, "16m"):
        evsd = Evsd(state)
        evsd.start()
        try:
            evsd.prepare()
            key, ballast = key_id(evsd), state / "ballast"

            def use(_: int) -> int:
                return kms(evsd, "create-datakey", key_id=key).status_code

            with ThreadPoolExecutor(8) as clients:
                before = list(clients.map(use, range(50)))
                fill(ballast)
                full = list(clients.map(use, range(100)))
                ballast.unlink()
                after = list(clients.map(use, range(50)))
            assert (set(before), set(after)) == ({200}, {200})
            assert 503 in full
            made = [r for r in newest_first(state / "audit.log") if r["action"] == "create-datakey"]
            assert {record["result"] for record in made} == {"ok"}
            assert len(made) == (before + full + after).count(200)
            assert evsd.object("audit", "verify")["findings"] == []
        finally:
            evsd.stop()
