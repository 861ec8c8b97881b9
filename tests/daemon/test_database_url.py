"""The database where the settings have it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from evsd.daemon.settings import BadSettings, DatabaseSettings
from tests.support.daemon import VENV_BIN, Evsd, running_evsd, temporary_state


@pytest.fixture
def records() -> Iterator[Path]:
    """A directory for a database, open to whoever evsd becomes, with settings that name it."""
    with temporary_state() as directory:
        directory.chmod(0o777)
        config = directory / "evsd.toml"
        config.write_text(f'[database]\nurl = "sqlite:///{directory}/records.db"\n')
        yield directory


@pytest.fixture
def evsd(records: Path) -> Iterator[Evsd]:
    with running_evsd("--config", str(records / "evsd.toml")) as running:
        yield running


def test_a_database_elsewhere_is_used_and_found_again(evsd: Evsd, records: Path) -> None:
    evsd.ok("create", "data", "--size", "1G", "--key", evsd.prepare())
    evsd.stop()
    assert (records / "records.db").stat().st_size > 0
    assert not (evsd.state / "evsd.db").exists()
    evsd.start()
    assert evsd.object("list")["count"] == 1


def test_one_that_is_lost_is_missed_there(evsd: Evsd, records: Path) -> None:
    evsd.stop()
    (records / "records.db").unlink()
    with pytest.raises(AssertionError, match=r"records[.]db is gone,"):
        evsd.start()


def test_two_evsd_on_one_database_are_refused(evsd: Evsd, records: Path) -> None:
    assert evsd.running
    with temporary_state() as other:
        command = [f"{VENV_BIN}/evsd", f"--state-dir={other}/s", f"--config={records}/evsd.toml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, f"another evsd runs on {records}" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://evsd:hush@db/evsd", "postgresql is not supported yet, only SQLite is"),
        ("sqlite+aiosqlite:////srv/hush.db", "sqlite+aiosqlite is not supported yet"),
        ("sqlite://", "it must name a file by its absolute path"),
        ("sqlite:///hush.db", "it must name a file by its absolute path"),
        ("sqlite:////srv/evsd.db?mode=hush", "it must name a file by its absolute path"),
        ("hush", "it is no URL of a database"),
    ],
)
def test_another_url_is_refused_without_telling_a_password(url: str, told: str) -> None:
    with pytest.raises(BadSettings) as caught:
        _ = DatabaseSettings(url=url).file
    assert str(caught.value).startswith(f"[database] url can't be used: {told}")
    assert "hush" not in str(caught.value)
