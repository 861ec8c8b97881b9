"""Who fails to say who it is leaves a record, and can't fill the log with them."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from evsd.audit.chain import newest_first
from evsd.daemon import key_process as program
from evsd.errors import CallerUnknown, KeysUnavailable
from evsd.key_channel.shared import Probe, RecordRefusal
from evsd.key_client.process import CALL_TIMEOUT_S, PROBE, KeyProcess, KeyProcessPaths
from evsd.services.iam.failures import (
    MOST_SOURCES,
    OTHERS,
    PERIOD_S,
    FailedAuthentications,
    Failure,
)
from evsd.store.database import Database
from tests.support.daemon import Evsd, Object, halted, running_evsd, until
from tests.support.identity import SdkAuth
from tests.support.traces import children_named

FLOOD = 100
Records = list[dict[str, Any]]


@pytest.fixture(scope="module")
def tcp_evsd() -> Iterator[Evsd]:
    with running_evsd("--http", "127.0.0.1:0") as running:
        running.prepare()
        yield running


def failures(log: Path, source: str = "") -> Records:
    """The records of failed authentications, of sources that begin so, oldest first."""
    found = [r for r in newest_first(log) if r["action"] == "authenticate"]
    return [record for record in found if record["source"].startswith(source)][::-1]


def from_address(evsd: Evsd, address: str) -> httpx.Client:
    return httpx.Client(
        base_url=evsd.url(), transport=httpx.HTTPTransport(local_address=address), timeout=60
    )


def test_a_failure_is_recorded_with_all_that_is_known_of_it(tcp_evsd: Evsd) -> None:
    made: Object = tcp_evsd.object("access-key", "create")["credential"]
    log = tcp_evsd.state / "audit.log"
    with from_address(tcp_evsd, "127.0.0.2") as http:
        answer = http.get("/v3/projects", auth=SdkAuth(made["access"], "false"))
    assert answer.status_code == 401
    (record,) = failures(log, "127.0.0.2")
    known = {
        "principal": "unknown",
        "source": "127.0.0.2",
        "result": "APIGW.0301",
        "request_id": answer.headers["x-request-id"],
    }
    assert {name: record[name] for name in known} == known
    context = record["context"]
    assert (context["access"], context["request"]) == (made["access"], "GET /v3/projects")
    assert context["failures"] == "1"
    assert record in tcp_evsd.object("audit", "list", "--action", "authenticate")["records"]


def test_a_unix_user_that_evsd_does_not_know_is_recorded(tcp_evsd: Evsd) -> None:
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", tcp_evsd.socket, "http://evsd/v3/projects"],
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["error_code"] == "APIGW.0301"
    assert len(failures(tcp_evsd.state / "audit.log", f"uid:{nobody.pw_uid}")) == 1


def test_a_flood_adds_one_record_and_keys_are_used_meanwhile(tcp_evsd: Evsd) -> None:
    tcp_evsd.restarted_with()  # a period begins with the flood
    log = tcp_evsd.state / "audit.log"
    with tcp_evsd.http() as owner, from_address(tcp_evsd, "127.0.0.3") as stranger:
        path = f"/v1.0/{tcp_evsd.project_id()}/kms"
        keys = owner.post(f"{path}/list-keys").json()["keys"]
        before = log.stat().st_size
        for number in range(FLOOD):
            access = "A" * (1 + number % 20)
            signed = stranger.post(f"{path}/create-datakey", auth=SdkAuth(access, "false"))
            assert signed.status_code == 401
            if number % 20 == 0:
                used = owner.post(
                    f"{path}/create-datakey", json={"key_id": keys[0], "datakey_length": "512"}
                )
                assert used.status_code == 200, used.text
        grown = log.stat().st_size - before
    assert len(failures(log, "127.0.0.3")) == 1
    assert grown < 8000  # that record and those of five uses
    tcp_evsd.restarted_with()  # the end of a period too
    counts = [record["context"]["failures"] for record in failures(log, "127.0.0.3")]
    assert counts == ["1", str(FLOOD - 1)]


def test_of_many_sources_the_rest_is_one(tcp_evsd: Evsd) -> None:
    tcp_evsd.restarted_with()  # which knows of no source
    for number in range(MOST_SOURCES + 5):
        with from_address(tcp_evsd, str(ipaddress.IPv4Address("127.0.1.1") + number)) as http:
            assert http.get("/v3/projects").status_code == 401
    log = tcp_evsd.state / "audit.log"
    assert len(failures(log, "127.0.1.")) == MOST_SOURCES
    assert len(failures(log, OTHERS)) == 1


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time also passes when it is told to."""

    passed = 0.0

    def time(self) -> float:
        return super().time() + self.passed

    async def passes(self, seconds: float) -> None:
        """So much time passes, and what waited for it goes on."""
        waiting = self.create_task(asyncio.sleep(seconds))
        await asyncio.sleep(0)
        self.passed += seconds
        await waiting


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyProcess]:
    """Without an evsd."""
    url = f"sqlite:///{tmp_path / 'evsd.db'}"
    with closing(Database(url)) as database:
        database.migrate()
    paths = KeyProcessPaths(
        program=program.__name__,
        database_url=url,
        token_dir=tmp_path / "token",
        audit_log=tmp_path / "audit.log",
        release_socket=tmp_path / "keys.sock",
    )
    with KeyProcess(paths) as process:
        process.start()
        until(lambda: answers(process))
        yield process


def answers(keys: KeyProcess) -> bool:
    with suppress(KeysUnavailable):
        keys.call(PROBE, Probe())
        return True
    return False


FAILURE = Failure("2001:db8::1", "id", "GET /", "", CallerUnknown(reason="of a test"))


def test_each_period_with_failures_ends_with_their_count(keys: KeyProcess) -> None:
    log, clock = keys.audit_log, Clock()

    async def run(failed: FailedAuthentications) -> None:
        for _ in range(10):
            await failed.note(FAILURE)
        await clock.passes(PERIOD_S)
        # Records come to the disk, and their answers back, in the order of the requests.
        await keys.ask(PROBE, RecordRefusal(action="other", key_id="", code=""))
        assert len(failures(log)) == 2
        await clock.passes(PERIOD_S)  # in which there was none
        await failed.note(FAILURE)
        assert len(failures(log)) == 3

    with (
        FailedAuthentications(keys) as failed,
        asyncio.Runner(loop_factory=lambda: clock) as runner,
    ):
        runner.run(run(failed))
    found = failures(log)
    assert [record["context"]["failures"] for record in found] == ["1", "9", "1"]
    assert {record["source"] for record in found} == {"2001:db8::/64"}
    assert found[0]["context"]["reason"].endswith("of a test")


def test_a_failure_whose_record_fails_after_the_end_of_a_period_is_recorded_later(
    keys: KeyProcess,
) -> None:
    clock = Clock()

    async def run(failed: FailedAuthentications) -> None:
        noting = clock.create_task(failed.note(FAILURE))
        await clock.passes(1)
        await clock.passes(CALL_TIMEOUT_S)
        await noting

    with FailedAuthentications(keys, period_s=1) as failed:
        with (
            halted(*children_named(os.getpid(), "evsd-keys")),
            asyncio.Runner(loop_factory=lambda: clock) as runner,
        ):
            runner.run(run(failed))
        assert failures(keys.audit_log) == []
        until(lambda: answers(keys))
    assert [record["context"]["failures"] for record in failures(keys.audit_log)] == ["1"]


def test_an_access_key_that_can_not_be_opened_is_a_failure_like_others(tcp_evsd: Evsd) -> None:
    made: Object = tcp_evsd.object("access-key", "create")["credential"]
    tcp_evsd.restarted_with("UPDATE access_keys SET wrapped_secret = x'00'")
    log = tcp_evsd.state / "audit.log"
    before = next(newest_first(log))["sequence"]
    auth = SdkAuth(made["access"], made["secret"])
    with from_address(tcp_evsd, "127.0.0.4") as http:
        for _ in range(10):
            assert http.get("/v3/projects", auth=auth).status_code == 401
    added = [r for r in newest_first(log) if r["sequence"] > before]
    assert [record["action"] for record in added] == ["authenticate"]
    assert "can't be opened" in added[0]["context"]["reason"]
