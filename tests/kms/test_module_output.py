"""What a PKCS#11 module writes to standard output and error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from evsd.key_client.module_output import LAST_LINES, LINES
from tests.kms.test_hsm_check import check_token
from tests.support.daemon import Evsd, Object, running_evsd, until
from tests.support.hsm import Hsm, new_hsm

WROTE, WROTE_MORE = "the PKCS#11 module wrote", "the PKCS#11 module wrote more"


@pytest.fixture(scope="module")
def hsm() -> Iterator[Hsm]:
    with new_hsm() as made:
        yield made


@pytest.fixture(scope="module")
def shared(hsm: Hsm) -> Iterator[Evsd]:
    with running_evsd("--config", str(hsm.config())) as running:
        running.ok("key", "create", "mine")
        yield running


@pytest.fixture(autouse=True)
def behaving(hsm: Hsm) -> Iterator[None]:
    yield
    hsm.behave()


def said(evsd: Evsd) -> list[str]:
    return [event["line"] for event in evsd.events(WROTE)]


def test_a_line_of_a_module_is_a_line_of_the_log(shared: Evsd, hsm: Hsm) -> None:
    hsm.misbehave("say:2", "C_EncryptInit", once=True)
    shared.ok("key", "create-datakey", "mine")
    until(lambda: said(shared)[-2:] == ["line 0", "line 1"])
    event: Object = shared.events(WROTE)[-1]
    assert (event["module"], event["level"]) == (str(hsm.module), "warning")
    assert all(json.loads(line) for line in shared.log.read_text().splitlines())


def test_the_last_words_of_a_module_that_crashes_are_in_the_log(shared: Evsd, hsm: Hsm) -> None:
    hsm.misbehave("cry", "C_EncryptInit", once=True)
    assert "KMS.0104" in shared.ctl("key", "create-datakey", "mine").err
    until(lambda: "last words" in said(shared))
    assert {"on standard output", "a line"} <= set(said(shared))
    assert all(json.loads(line) for line in shared.log.read_text().splitlines())


def test_a_module_that_writes_without_end_neither_fills_the_log_nor_waits() -> None:
    # With a module of its own: what is to happen once might happen to the other evsd.
    with new_hsm() as hsm, running_evsd("--config", str(hsm.config())) as evsd:
        evsd.ok("key", "create", "flood")
        hsm.misbehave("say:200000", "C_EncryptInit", once=True)
        began = time.monotonic()
        evsd.ok("key", "create-datakey", "flood")
        evsd.stop()
        minutes = (time.monotonic() - began) // 60 + 1
        lines, more = said(evsd), evsd.events(WROTE_MORE)
    assert len(lines) <= (LINES + LAST_LINES) * (minutes + 1)
    assert lines[:3] == ["line 0", "line 1", "line 2"]
    assert sum(event["lines"] for event in more) > 0


def test_hsm_check_is_not_confused_by_a_module_that_prints(hsm: Hsm) -> None:
    hsm.misbehave("cry", "C_EncryptInit")
    status, answer = check_token(hsm)
    [trouble] = [step["trouble"] for step in answer["checks"] if step["what"] == "AES-GCM"]
    assert status == 1
    assert trouble == "the module crashed its process: SIGABRT (last words)"
