"""Ready is who can be asked: keys answer, or it is known and said why they can't."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest

from evsd.daemon import key_process as program
from evsd.key_client import process as client
from evsd.key_client.process import HsmAccess, KeyProcess, KeyProcessPaths
from evsd.store.database import Database
from tests.support.daemon import Evsd, temporary_state, until
from tests.support.hsm import LABEL, Hsm, new_hsm

# Longer than a command waits for keys, and than evsd's start once waited for them.
SLOW_S = 17


@pytest.fixture
def hsm() -> Iterator[Hsm]:
    with new_hsm() as made:
        yield made


def test_ready_waits_for_keys_that_take_long_and_the_next_command_does_not(hsm: Hsm) -> None:
    hsm.misbehave("wait")
    with temporary_state() as state:
        evsd = Evsd(state, "--config", str(hsm.config()))
        starting = Thread(target=evsd.start)
        starting.start()
        try:
            time.sleep(SLOW_S)
            assert not evsd.events("evsd ready")
            hsm.behave()
            starting.join()
            [event] = evsd.events("evsd ready")
            assert event["keys"] == "usable"
            evsd.ok("key", "create", "first")
        finally:
            hsm.behave()
            starting.join()
            evsd.clear_up()


def test_evsd_that_starts_without_its_hsm_says_why_to_all_who_ask(hsm: Hsm) -> None:
    with temporary_state() as state:
        evsd = Evsd(state, "--config", str(hsm.config()))
        hsm.take_away()
        evsd.start()
        try:
            [event] = evsd.events("evsd ready")
            assert LABEL in event["keys"]
            [event] = evsd.events("evsd starts without its keys")
            assert LABEL in event["reason"]
            assert any(told.startswith("STATUS=") and LABEL in told for told in evsd.told)
            refused = evsd.ctl("key", "create", "first")
            assert (refused.status, "KMS.0104" in refused.err) == (1, True)
            assert LABEL in refused.err
            hsm.bring_back()
            until(lambda: evsd.ctl("key", "create", "first").status == 0)
            evsd.stop()
            evsd.start()
            assert evsd.events("evsd ready")[-1]["keys"] == "usable"
            assert evsd.told[-2:] == ["STATUS=", "READY=1"]
        finally:
            evsd.clear_up()


@contextmanager
def key_process(state: Path, hsm: Hsm) -> Iterator[KeyProcess]:
    url = f"sqlite:///{state}/evsd.db"
    with closing(Database(url)) as database:
        database.migrate()
    access = HsmAccess(hsm.module, LABEL, None, hsm.pin_file, None, hsm.environment)
    paths = KeyProcessPaths(
        program.__name__, url, state / "token", state / "audit.log", state / "keys.sock", hsm=access
    )
    with KeyProcess(paths) as process:
        process.start()
        yield process


@pytest.mark.parametrize(
    ("limit", "why"),
    [("FIRST_ANSWER_S", "no answer within 0.5 s"), ("KNOWN_WITHIN_S", "is still being started")],
)
def test_a_token_that_hangs_holds_back_nothing_for_ever(
    hsm: Hsm, monkeypatch: pytest.MonkeyPatch, limit: str, why: str
) -> None:
    monkeypatch.setattr(client, limit, 0.5)
    monkeypatch.setattr(client, "STOP_TIMEOUT_S", 0.5)
    hsm.misbehave("hang")
    with temporary_state() as state, key_process(state, hsm) as process:
        assert why in process.await_known()
        assert why in process.trouble
