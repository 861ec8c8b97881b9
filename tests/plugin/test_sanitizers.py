"""The compiled module under the address, undefined-behaviour and thread sanitizers, and fuzzed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sanitized import ADDRESS, CHECKOUT, THREAD, build, build_front, build_plain

TIMEOUT_S = 400  # they are slow, and so may the machine be
pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)


@pytest.fixture(
    scope="module",
    params=[(), ("-DEVSD_NO_XTS",)],
    ids=["this processor's AES", "libcrypto's AES"],
)
def sanitized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of a Python that has the sanitized module."""
    return build(tmp_path_factory.mktemp("sanitized"), ADDRESS, *request.param)


def passes(environment: dict[str, str], *arguments: str) -> str:
    """Run a Python module to its end; gives what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def test_it_is_the_sanitized_module_that_is_tested(sanitized: dict[str, str]) -> None:
    script = "import nbd_plugin._datapath as d; print(d.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=sanitized, capture_output=True, text=True, check=True
    )
    assert not Path(done.stdout.strip()).is_relative_to(CHECKOUT)
    assert b"__asan_init" in Path(done.stdout.strip()).read_bytes()


def test_keys_and_vectors(sanitized: dict[str, str]) -> None:
    options = ["-q", "--import-mode=append", "-p", "no:cacheprovider"]
    files = [f"tests/plugin/test_{name}.py" for name in ("key", "vectors", "layers")]
    assert " passed" in passes(sanitized, "pytest", *options, *files)


def test_random_requests(sanitized: dict[str, str]) -> None:
    assert "nothing found" in passes(sanitized, "tests.fuzz", "requests", "--runs", "600")


def test_a_server_with_libcryptos_aes_keeps_the_same_secrets_and_data(tmp_path: Path) -> None:
    environment = build_plain(tmp_path, "-DEVSD_NO_XTS")
    options = ["-q", "--import-mode=append", "-p", "no:cacheprovider"]
    files = ["tests/plugin/test_secrets.py", "tests/plugin/test_reader.py"]
    assert " passed" in passes(environment, "pytest", *options, *files)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the module under the thread sanitizer."""
    return build(tmp_path_factory.mktemp("watched"), THREAD)


def races(environment: dict[str, str], module: str) -> str:
    """Run a Python module, in which there must be none; gives what it said."""
    # Addresses as they are without randomisation: gcc 12's tsan knows no others.
    python = ["setarch", "--addr-no-randomize", sys.executable]
    done = subprocess.run(
        [*python, "-m", module],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-6000:]
    return done.stdout


def test_threads_do_not_race(watched: dict[str, str]) -> None:
    assert races(watched, "tests.fuzz.threads") == "done\n"


def test_requests_do_not_race_with_connections_that_come_and_go(
    watched: dict[str, str], tmp_path: Path
) -> None:
    front = build_front(tmp_path / "threads_front.so")
    environment = watched | {"LD_PRELOAD": f"{watched['LD_PRELOAD']} {front}"}
    assert "the key came" in races(environment, "tests.fuzz.connections")


def test_the_parser_of_headers_is_fuzzed_for_a_while() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "header", "--runs", "10000"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "stat::number_of_executed_units" in done.stderr
