"""The state directory: whose it is, and what becomes of it when its database is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import VENV_BIN, Evsd, temporary_state, until
from tests.support.hsm import new_hsm
from tests.support.nbd import works
from tests.support.transfer import attached, run

Loss = Callable[[Path, Path], None]


@pytest.fixture
def directory() -> Iterator[Path]:
    with temporary_state() as made:
        made.chmod(0o755)
        yield made


def refused(*options: object) -> str:
    """Why evsd does not start."""
    command = [str(word) for word in (VENV_BIN / "evsd", *options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    return str(json.loads(done.stderr.splitlines()[-1])["reason"])


def written(evsd: Evsd) -> str:
    """A volume with something on it; returns its id."""
    evsd.prepare()
    evsd.ok("create", "data", "--size", "1G", "--key", "test-key")
    with attached(evsd, "data") as uri:
        works(uri, "write -P 7 0 4k")
    return evsd.pool_file("data").stem


def recovers(evsd: Evsd, volume: str) -> None:
    """What docs/volumes.md says under "Recovering a volume whose record is lost"."""
    shown = evsd.object("recover", f"{volume}.luks", "data")["volume"]
    with evsd.http() as http:
        projects = http.get("/v3/projects").json()["projects"]
    names = {project["id"]: project["name"] for project in projects}
    there = ("--project", names[shown["os-vol-tenant-attr:tenant_id"]])
    [key] = evsd.object(*there, "key", "list")["key_details"]
    evsd.ok(*there, "key", "enable", key["key_alias"])
    evsd.ok(*there, "delegation", "create")
    uri = evsd.ok(*there, "attach", "data", "--transport", "uri")
    works(uri, "read -P 7 0 4k")
    evsd.ok(*there, "detach", "data")
    assert evsd.ok("audit", "verify").endswith("signed")


def lose_all_of_the_database(state: Path, _new: Path) -> None:
    for file in state.glob("evsd.db*"):
        file.unlink()


def lose_the_file_but_not_its_write_ahead_log(state: Path, _new: Path) -> None:
    (state / "evsd.db").unlink()
    (state / "evsd.db-wal").write_bytes(b"\x37\x7f\x06\x82" + b"of another time" * 1000)


def keep_token_and_pool_in_a_new_directory(state: Path, new: Path) -> None:
    new.mkdir()
    for name in ("token", "pool"):
        run("cp", "--recursive", state / name, new / name)  # they are root's then


def keep_token_pool_and_log_without_the_lock(state: Path, new: Path) -> None:
    new.mkdir()
    for name in ("token", "pool", "audit.log", "audit.head", "evsd.changes"):
        run("cp", "--archive", state / name, new / name)


@pytest.mark.parametrize(
    "lose",  # all of it: tests/volumes/test_recover.py
    [
        lose_the_file_but_not_its_write_ahead_log,
        keep_token_and_pool_in_a_new_directory,
        keep_token_pool_and_log_without_the_lock,
    ],
)
def test_a_volume_is_recovered_beside_a_new_database(directory: Path, lose: Loss) -> None:
    new = directory / "new"
    with evsd_in(directory / "old") as evsd:
        volume = written(evsd)
        evsd.stop()
        lose(evsd.state, new)
        state = new if new.exists() else evsd.state
        assert "--new-database" in refused("--state-dir", state)
    with evsd_in(state, "--new-database") as evsd:
        assert not evsd.events("the database was restored: it is older than what was done since")
        recovers(evsd, volume)
        evsd.restarted_with()
        assert evsd.ok("audit", "verify").endswith("signed")


@contextmanager
def evsd_in(state: Path, *options: str) -> Iterator[Evsd]:
    evsd = Evsd(state, *options)
    evsd.start()
    try:
        yield evsd
    finally:
        evsd.clear_up()


def test_the_pool_may_be_all_that_is_left_beside_an_hsm(directory: Path) -> None:
    new = directory / "new"
    with new_hsm() as hsm:
        config = ("--config", str(hsm.config()))
        with evsd_in(directory / "old", *config) as evsd:
            volume = written(evsd)
            evsd.stop()
            new.mkdir()
            shutil.copytree(evsd.pool, new / "pool")
            assert "--new-database" in refused("--state-dir", new, *config)
            lose_all_of_the_database(evsd.state, new)
            assert "--new-database" in refused("--state-dir", evsd.state, *config)
        with evsd_in(new, *config, "--new-database") as evsd:
            recovers(evsd, volume)


def test_a_pool_elsewhere_is_found_again_beside_a_new_database(directory: Path) -> None:
    pool, config = directory / "pool", directory / "evsd.toml"
    pool.mkdir()
    config.write_text(f'pool = "{pool}"\n')
    options = ("--config", str(config))
    with evsd_in(directory / "old", *options) as evsd:
        evsd.pool = pool
        volume = written(evsd)
        evsd.stop()
        assert "--new-database" in refused("--state-dir", directory / "new", *options)
        lose_all_of_the_database(evsd.state, pool)
        evsd.options = (*options, "--new-database")
        evsd.start()
        recovers(evsd, volume)


@pytest.mark.parametrize("option", [(), ("--new-database",)])
def test_somebodys_directory_is_left_alone(directory: Path, option: tuple[str, ...]) -> None:
    state = directory / "home"
    for name in ("pool", "photos"):
        (state / name).mkdir(parents=True)
    state.chmod(0o755)
    assert f"see {state}/" in refused("--state-dir", state, *option)
    assert sorted(path.name for path in state.iterdir()) == ["photos", "pool"]
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (0, 0o755)


def test_a_directory_with_a_pool_alone_is_evsds_only_by_its_administrators_word(
    directory: Path,
) -> None:
    """Like /srv, in which somebody else's may be called so."""
    (directory / "pool").mkdir()
    assert "not made by evsd" in refused("--state-dir", directory)


def test_of_two_evsd_that_start_at_once_one_runs_and_one_says_so(directory: Path) -> None:
    state = directory / "s"
    command = [f"{VENV_BIN}/evsd", f"--state-dir={state}"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        until(lambda: any(process.poll() is not None for process in both))
        [loser] = [process for process in both if process.poll() is not None]
        assert loser.stderr is not None
        assert f"another evsd runs on {state}" in loser.stderr.read()
        evsd = Evsd(state)
        evsd.await_socket()
        evsd.prepare()
    finally:
        for process in both:
            process.terminate()
            process.wait()


def test_evsd_that_is_ended_while_it_starts_starts_again(directory: Path) -> None:
    state = directory / "s"
    for moment in ("evsd.lock", "evsd.db", "audit.head", "token/pin.new", "token/pin"):
        process = subprocess.Popen([f"{VENV_BIN}/evsd", f"--state-dir={state}"])
        until(lambda path=state / moment: path.exists() or (state / "token/pin").exists())
        process.send_signal(signal.SIGTERM)
        process.wait()
    with evsd_in(state) as evsd:
        evsd.prepare()
        assert evsd.object("audit", "verify")["findings"] == []


def test_a_read_only_filesystem_is_named(directory: Path) -> None:
    state = directory / "s"
    state.mkdir()
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", state)
    try:
        reason = refused("--state-dir", state)
    finally:
        run("umount", state)
    assert "Read-only file system" in reason
    assert str(state) in reason


def test_no_program_is_loaded_from_the_directory_that_evsd_is_started_in(directory: Path) -> None:
    (directory / "evsd.py").write_text("raise SystemExit('of another evsd')\n")
    evsd = Evsd(directory / "s")
    evsd.directory = directory
    evsd.start()
    evsd.stop()
    [ready] = evsd.events("evsd ready")
    assert ready["keys"] == "usable"


def test_a_state_directory_may_be_given_relatively(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    with evsd_in(directory / "s") as evsd:
        evsd.stop()
        run_in_place = Evsd(Path("s"))
        run_in_place.start()
        try:
            evsd.prepare()
            evsd.ok("create", "data", "--size", "1G")
            works(evsd.ok("attach", "data", "--transport", "uri"), "write -P 1 0 4k")
            evsd.ok("detach", "data")
        finally:
            run_in_place.stop()
