"""`make run` and `make clean`, without the installing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.traces import file_behind, traces

ROOT = Path(__file__).parent.parent


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="evsd-tour-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    subprocess.run([ROOT / "tools/stop_run", made], cwd=ROOT, check=True)


def tour(directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tools.tour", directory],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tour_works_twice_and_clean_leaves_nothing(directory: Path) -> None:
    for _ in range(2):
        output = tour(directory)
        assert "EVS.2040" in output
        assert "in the pool" not in output
    assert traces(directory)
    subprocess.run([ROOT / "tools/stop_run", directory], cwd=ROOT, check=True)
    assert not traces(directory)
    assert not directory.exists()


def test_clean_detaches_what_is_attached(directory: Path) -> None:
    tour(directory)
    environment = {**os.environ, "EVSD_ENDPOINT": f"unix://{directory}/state/evsd.sock"}
    evsctl = Path(sys.executable).parent / "evsctl"
    attached = subprocess.run(
        [evsctl, "attach", "tour-1"], env=environment, capture_output=True, text=True, check=True
    )
    file = file_behind(attached.stdout.strip())
    subprocess.run([ROOT / "tools/stop_run", directory], cwd=ROOT, check=True)
    assert not traces(directory)
    assert not traces(file)
