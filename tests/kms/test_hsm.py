"""An HSM of the administrator's own, and what holds while it is away."""

from __future__ import annotations

import os
import pty
import signal
import sqlite3
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support import hsm as codes
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state, until
from tests.support.hsm import PIN, Hsm, new_hsm
from tests.support.nbd import connected

MakeTrouble = Callable[[Hsm], None]


@pytest.fixture
def hsm() -> Iterator[Hsm]:
    with new_hsm() as made:
        yield made


@pytest.fixture
def evsd(hsm: Hsm) -> Iterator[Evsd]:
    """For a test that stops it; with a key `mine` and a volume `data` under it."""
    with evsd_on(hsm) as running:
        yield running


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Evsd, Hsm]]:
    """For tests that leave it as it was."""
    with new_hsm() as made, evsd_on(made) as running:
        yield running, made


@contextmanager
def evsd_on(hsm: Hsm) -> Iterator[Evsd]:
    with running_evsd("--config", str(hsm.config())) as running:
        running.prepare("mine")
        running.ok("create", "data", "--size", "1G", "--key", "mine")
        yield running


def key_id(evsd: Evsd) -> str:
    """Of the key `mine`, without asking evsd."""
    with sqlite3.connect(evsd.state / "evsd.db") as database:
        [(found,)] = database.execute("SELECT id FROM keys WHERE alias = 'mine'")
    return str(found)


def kms(evsd: Evsd, operation: str, **body: object) -> httpx.Response:
    with evsd.http() as http:
        return http.post(f"/v1.0/{evsd.project_id()}/kms/{operation}", json=body)


def works(evsd: Evsd) -> bool:
    return kms(evsd, "create-datakey", key_id=key_id(evsd)).status_code == 200


def is_away(evsd: Evsd) -> bool:
    return refused_as_away(kms(evsd, "create-datakey", key_id=key_id(evsd)))


def refused_as_away(answer: httpx.Response) -> bool:
    code = answer.json().get("error", {}).get("error_code")
    return (answer.status_code, code) == (503, "KMS.0104")


def gone(hsm: Hsm) -> None:
    hsm.take_away()


def removed(hsm: Hsm) -> None:
    hsm.misbehave(codes.DEVICE_REMOVED)


def logged_out(hsm: Hsm) -> None:
    hsm.misbehave(codes.SESSION_HANDLE_INVALID)


def not_present(hsm: Hsm) -> None:
    hsm.misbehave(codes.TOKEN_NOT_PRESENT)


def well(hsm: Hsm) -> None:
    hsm.behave()
    if (hsm.directory / "away").exists():
        hsm.bring_back()


@pytest.mark.parametrize("vanish", [gone, removed, logged_out, not_present])
def test_a_token_that_comes_back_is_used_again(
    shared: tuple[Evsd, Hsm], vanish: MakeTrouble
) -> None:
    evsd, hsm = shared
    before, keys_pid = works(evsd), evsd.keys_pid
    vanish(hsm)
    assert before
    assert is_away(evsd)
    assert "enabled" in evsd.ok("key", "show", "mine")
    well(hsm)
    until(lambda: works(evsd))
    assert evsd.keys_pid == keys_pid


def test_a_session_that_has_ended_is_opened_anew_without_a_refusal(
    shared: tuple[Evsd, Hsm],
) -> None:
    evsd, hsm = shared
    hsm.misbehave(codes.SESSION_HANDLE_INVALID, "C_EncryptInit", once=True)
    assert works(evsd)


def test_while_the_token_is_away_no_operation_that_needs_it_is_done(
    shared: tuple[Evsd, Hsm],
) -> None:
    evsd, hsm = shared
    sealed = kms(evsd, "create-datakey-without-plaintext", key_id=key_id(evsd)).json()
    key = {"key_id": key_id(evsd)}
    gone(hsm)
    assert refused_as_away(kms(evsd, "create-key", key_alias="other"))
    assert refused_as_away(kms(evsd, "create-datakey", **key))
    assert refused_as_away(kms(evsd, "create-datakey-without-plaintext", **key))
    assert refused_as_away(kms(evsd, "decrypt-datakey", **sealed, datakey_cipher_length="32"))
    for words in (["create", "more", "--size", "1G"], ["attach", "data", "--transport", "uri"]):
        refused = evsd.ctl(*words)
        assert refused.status == 1
        assert "KMS.0104" in refused.err
    well(hsm)
    until(lambda: works(evsd))
    assert kms(evsd, "decrypt-datakey", **sealed, datakey_cipher_length="32").status_code == 200
    assert [key["key_alias"] for key in evsd.object("key", "list")["key_details"]] == ["mine"]
    assert [volume["name"] for volume in evsd.object("list")["volumes"]] == ["data"]


def test_an_attached_volume_goes_on_while_the_token_is_away(shared: tuple[Evsd, Hsm]) -> None:
    evsd, hsm = shared
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        client.pwrite(b"1" * 4096, 0)
        gone(hsm)
        assert is_away(evsd)
        client.pwrite(b"2" * 4096, 4096)
        client.flush()
        assert client.pread(8192, 0) == b"1" * 4096 + b"2" * 4096
        assert evsd.object("show", "data")["volume"]["status"] == "in-use"
    # The last client has gone, and soon the key with it: the next one waits for the token.
    until(lambda: not holds(evsd.server_pids(), evsd.pool_file("data")))
    assert not readable(uri)
    well(hsm)
    until(lambda: readable(uri))
    evsd.ok("detach", "data")


def holds(pids: list[int], file: Path) -> bool:
    """Whether any has the file open, as a server has its volume's while it has the key."""
    opened = [fd for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return any(fd.is_symlink() and fd.resolve() == file for fd in opened)


def readable(uri: str) -> bool:
    done = subprocess.run(["qemu-io", "-f", "raw", "-c", "read 0 4k", uri], capture_output=True)
    return done.returncode == 0


def test_a_module_that_crashes_is_loaded_again(shared: tuple[Evsd, Hsm]) -> None:
    evsd, hsm = shared
    before = evsd.keys_pid
    hsm.misbehave("abort")
    assert is_away(evsd)
    until(lambda: not Path(f"/proc/{before}").exists())
    assert evsd.running
    well(hsm)
    until(lambda: works(evsd))


def test_a_module_that_hangs_is_ended_and_loaded_again(shared: tuple[Evsd, Hsm]) -> None:
    evsd, hsm = shared
    before = evsd.keys_pid
    hsm.misbehave("hang", "C_EncryptInit")
    assert is_away(evsd)
    well(hsm)
    until(lambda: works(evsd))
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize("trouble", [gone, removed, lambda hsm: hsm.misbehave("abort")])
def test_evsd_starts_while_the_token_is_away_and_knows_it_when_it_comes(
    evsd: Evsd, hsm: Hsm, trouble: MakeTrouble
) -> None:
    uri = evsd.ok("attach", "data", "--transport", "uri")
    with connected(uri) as client:
        evsd.stop()
        trouble(hsm)
        evsd.start()
        assert is_away(evsd)
        client.pwrite(b"1" * 4096, 0)
        assert evsd.object("show", "data")["volume"]["status"] == "in-use"
    well(hsm)
    until(lambda: works(evsd))


def test_a_key_whose_day_has_come_is_not_marked_destroyed_while_the_token_is_away(
    evsd: Evsd, hsm: Hsm
) -> None:
    evsd.ok("key", "schedule-deletion", "mine", "--yes")
    evsd.stop()
    gone(hsm)
    with sqlite3.connect(evsd.state / "evsd.db") as database:
        database.execute("UPDATE clock SET steady_since = datetime('now', '-2 days')")
        database.execute("UPDATE keys SET deletion_at = datetime('now', '-1 minute')")
    database.close()
    evsd.start()
    until(lambda: "upkeep of a key failed" in evsd.log.read_text())
    assert "pending deletion" in evsd.ok("key", "show", "mine")
    evsd.stop()  # it looks for keys that are due when it starts, and every minute
    well(hsm)
    evsd.start()
    until(lambda: "does not exist" in evsd.ctl("key", "show", "mine").err)


def test_another_token_of_the_same_label_is_refused_and_not_written_to(
    evsd: Evsd, hsm: Hsm
) -> None:
    evsd.stop()
    hsm.replace()
    files = sorted((hsm.directory / "tokens").rglob("*.object"))
    evsd.start()
    assert is_away(evsd)
    until(lambda: "no sentinel" in evsd.log.read_text())
    assert sorted((hsm.directory / "tokens").rglob("*.object")) == files


def test_the_token_of_another_evsd_is_refused(evsd: Evsd, hsm: Hsm) -> None:
    evsd.stop()
    hsm.replace()
    with running_evsd("--config", str(hsm.config())) as other:
        other.ok("key", "create", "its")
    evsd.start()
    assert is_away(evsd)
    until(lambda: "another sentinel" in evsd.log.read_text())


def test_a_token_can_be_replaced_while_no_key_was_made(hsm: Hsm) -> None:
    with running_evsd("--config", str(hsm.config())) as evsd:
        evsd.stop()
        hsm.replace()
        evsd.start()
        evsd.ok("key", "create", "mine")
        assert works(evsd)


def test_a_token_is_found_by_its_slot(hsm: Hsm) -> None:
    shown = subprocess.run(
        ["softhsm2-util", "--show-slots"],
        env={**os.environ, **hsm.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    slot = shown.split("Slot ")[1].split()[0]
    config = hsm.config(token_label="", slot=slot)
    with running_evsd("--config", str(config)) as evsd:
        evsd.ok("key", "create", "mine")


def test_the_pin_is_in_no_argument_and_in_no_environment(shared: tuple[Evsd, Hsm]) -> None:
    evsd, _ = shared
    for pid in (evsd.pid, evsd.keys_pid):
        for name in ("cmdline", "environ"):
            assert PIN.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert PIN not in evsd.log.read_text()


def test_the_pin_may_be_a_systemd_credential(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(hsm.directory))
    with running_evsd("--config", str(hsm.config('pin_credential = "pin"'))) as evsd:
        evsd.ok("key", "create", "mine")


def test_the_pin_may_be_typed_in_at_start_and_outlives_the_key_process(hsm: Hsm) -> None:
    config = hsm.config("pin_prompt = true")
    with temporary_state() as state:
        pid, terminal = pty.fork()
        if pid == 0:
            program = str(VENV_BIN / "evsd")
            os.execv(program, [program, "--state-dir", str(state), "--config", str(config)])  # noqa: S606
        evsd = Evsd(state)
        try:
            shown = b""
            while not shown.endswith(b"PIN of the HSM: "):
                shown += os.read(terminal, 100)
            assert not termios.tcgetattr(terminal)[3] & termios.ECHO
            os.write(terminal, f"{PIN}\n".encode())
            evsd.await_socket()
            evsd.ok("key", "create", "mine")
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            shown += os.read(terminal, 10000)
        assert PIN.encode() not in shown


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ('token_label = "a"\nslot = 1\npin_file = "p"', "exactly one of token_label, slot"),
        ('pin_file = "p"', "exactly one of token_label, slot"),
        ("slot = 1", "exactly one of pin_file, pin_credential, pin_prompt"),
        ('slot = 1\npin_credential = "p"', "pin_credential: systemd gave no credentials"),
    ],
)
def test_settings_that_do_not_name_one_token_and_one_pin_are_refused(
    tmp_path: Path, lines: str, what: str
) -> None:
    config = tmp_path / "evsd.toml"
    config.write_text(f'[hsm]\nmodule = "/m.so"\n{lines}\n')
    with temporary_state() as state:
        command = [str(VENV_BIN / "evsd"), f"--state-dir={state}", f"--config={config}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert what in done.stderr
