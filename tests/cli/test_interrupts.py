"""Ctrl-C, and signals like it, at any moment of evsctl: one line, and what came of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, Result, hear_interrupts
from tests.support.relay import interrupt

NOTHING = "Interrupted; nothing was changed\n"


def interrupted_at(evsd: Evsd, call: str, number: int, *words: str) -> Result:
    """An evsctl that gets SIGINT when it begins such a system call for this time."""
    inject = f"inject={call}:signal=INT:when={number}"
    strace = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    done = subprocess.run(
        [*strace, evsd.evsctl, *words],
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{evsd.socket}"},
        capture_output=True,
        text=True,
        preexec_fn=hear_interrupts,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def files_opened(shared_evsd: Evsd) -> int:
    """How many files `evsctl list` opens: it differs between machines."""
    shared_evsd.ok("list")  # writes what Python compiles, so that it is only read from now on
    strace = ["strace", "-qq", "-e", "trace=openat", str(shared_evsd.evsctl), "list"]
    environment = {"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{shared_evsd.socket}"}
    done = subprocess.run(strace, env=environment, capture_output=True, text=True, check=True)
    return done.stderr.count("openat(")


# From the first files that Python opens, by those of `site`, to the last of evsctl's own modules.
@pytest.mark.parametrize("share", [0.07, 0.09, 0.13, 0.18, 0.25, 0.35, 0.5, 0.7, 0.9])
def test_while_it_starts_it_ends_with_a_line(
    shared_evsd: Evsd, files_opened: int, share: float
) -> None:
    done = interrupted_at(shared_evsd, "openat", int(files_opened * share), "list")
    assert (done.status, done.out, done.err) == (1, "", NOTHING)


@pytest.mark.parametrize("call", ["socket", "connect", "sendto", "recvfrom", "write", "exit_group"])
def test_from_its_first_request_to_its_exit_it_says_a_line_or_is_done(
    shared_evsd: Evsd, call: str
) -> None:
    done = interrupted_at(shared_evsd, call, 1, "list")
    expected = (0, "") if call == "exit_group" else (1, NOTHING)
    assert (done.status, done.err) == expected


def test_scripts_are_told_in_json(shared_evsd: Evsd) -> None:
    for call, number in (("openat", 100), ("connect", 1)):
        done = interrupted_at(shared_evsd, call, number, "--output", "json", "list")
        told = json.loads(done.err)
        assert (told["code"], done.status) == ("evsctl.interrupted", 1)
        assert told["message"] == "interrupted; nothing was changed"


@pytest.fixture(scope="module")
def volumes(shared_evsd: Evsd) -> Evsd:
    """The module's evsd with a volume `free`, and one `held` that is attached."""
    for name in ("free", "held"):
        shared_evsd.ok("create", name, "--size", "1G", "--key", "test-key")
    return shared_evsd


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@BOTH
def test_a_volume_that_is_being_created_is_taken_back(
    volumes: Evsd, number: signal.Signals
) -> None:
    done = interrupt(volumes, number, b"POST /v2.1/", "create", "brief", "--size", "1G")
    assert (done.status, done.err) == (1, "Interrupted; volume brief was not made\n")
    assert volumes.ctl("show", "brief").status == 1


@BOTH
def test_an_attach_is_taken_back(volumes: Evsd, number: signal.Signals) -> None:
    words = ("attach", "free", "--transport", "uri")
    for request in (b"POST /v3/", b"PUT /v3/"):
        done = interrupt(volumes, number, request, *words)
        assert (done.status, done.err) == (1, "Interrupted; volume free is not attached\n")
        assert volumes.object("show", "free")["volume"]["status"] == "available"


@BOTH
def test_a_detach_is_done_or_can_be_done_again(volumes: Evsd, number: signal.Signals) -> None:
    volumes.ok("attach", "held", "--transport", "uri")
    done = interrupt(volumes, number, b"DELETE /v3/", "detach", "held")
    assert (done.status, done.err.count("\n"), "Interrupted; " in done.err) == (1, 1, True)
    assert volumes.object("show", "held")["volume"]["status"] == "available"


@BOTH
def test_an_export_leaves_no_file(volumes: Evsd, number: signal.Signals, tmp_path: Path) -> None:
    done = interrupt(volumes, number, b"POST /v3/", "export", "free", str(tmp_path / "file"))
    assert (done.status, done.err) == (1, "Interrupted; no file was written\n")
    assert list(tmp_path.iterdir()) == []
    assert volumes.object("show", "free")["volume"]["status"] == "available"


@BOTH
def test_an_import_leaves_no_volume(volumes: Evsd, number: signal.Signals, tmp_path: Path) -> None:
    file = tmp_path / "raw"
    file.write_bytes(os.urandom(4096))
    words = ("import", str(file), "fresh", "--format", "raw")
    for request in (b"POST /v2.1/", b"POST /v3/"):
        done = interrupt(volumes, number, request, *words)
        assert (done.status, done.err) == (1, "Interrupted; nothing was imported\n")
    assert {one["name"] for one in volumes.object("list")["volumes"]} == {"free", "held"}


def test_an_extend_goes_on_in_evsd(volumes: Evsd) -> None:
    done = interrupt(volumes, signal.SIGINT, b"GET /v1/", "extend", "free", "--size", "2G")
    assert done.err == "Interrupted; evsd goes on extending it: evsctl show free\n"
    volumes.ok("extend", "held", "--size", "2G")
    assert volumes.object("show", "free")["volume"]["size"] == 2


@BOTH
def test_a_key_is_there_once_evsd_was_asked(volumes: Evsd, number: signal.Signals) -> None:
    alias = f"late-{number.name}"
    done = interrupt(volumes, number, b"POST /v1.0/", "key", "create", alias)
    assert (done.status, done.err) == (1, "Interrupted; evsd has done what was asked\n")
    volumes.ok("key", "show", alias)


def test_a_key_is_never_left_without_its_material(volumes: Evsd, tmp_path: Path) -> None:
    file = tmp_path / "material"
    file.write_bytes(os.urandom(32))
    interrupt(volumes, signal.SIGINT, b"POST /v1.0/", "key", "import", "whole", str(file))
    assert volumes.ok("key", "list").count("pending import") == 0


def test_what_runs_in_the_background_under_nohup_goes_on(volumes: Evsd) -> None:
    inject = "inject=connect:signal=HUP:when=1"
    done = subprocess.run(
        ["nohup", "strace", "-qq", "-o/dev/null", "-e", inject, volumes.evsctl, "list"],
        env={"PATH": os.environ["PATH"], "EVSD_ENDPOINT": f"unix://{volumes.socket}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr, "free" in done.stdout) == (0, "", True)
