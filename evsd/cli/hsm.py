"""evsctl hsm: trying an HSM before it is trusted with keys. Needs no evsd."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from evsd.cli.errors import UsageProblem
from evsd.cli.output import Session, output_option, pass_session, table

STEP_TIMEOUT_S = 30
LAST_WORDS_BYTES = 500
Object = dict[str, Any]


@click.group()
def hsm() -> None:
    """The HSM that holds the keys."""


@hsm.command()
@click.option(
    "--module",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The PKCS#11 module, a shared library.",
)
@click.option("--token-label", help="The token, by its label.")
@click.option("--slot", type=click.IntRange(0), help="The token, by the number of its slot.")
@click.option(
    "--pin-file",
    type=click.File(),
    help="The user's PIN; without it, it is asked for on the terminal.",
)
@output_option
@pass_session
def check(
    session: Session,
    module: Path,
    token_label: str | None,
    slot: int | None,
    pin_file: IO[str] | None,
) -> None:
    """Try everything that evsd needs of a PKCS#11 module, and name the way it would encrypt.

    Works here, without evsd. Keys are made and used in one session; nothing is left on the token.
    Run it as the user that evsd becomes: what a token lets root do it may not let others.

    Exit status: 0 evsd can use it, 1 it lacks something that evsd needs.
    """
    if (token_label is None) == (slot is None):
        raise UsageProblem("give one of --token-label and --slot")
    token = [f"--token-label={token_label}"] if slot is None else [f"--slot={slot}"]
    steps = list(_try([f"--module={module}", *token], _pin(pin_file)))
    tried = [step for step in steps if "what" in step]
    usable = not any(step["needed"] and step["trouble"] for step in tried)
    found = next((step for step in steps if "profile" in step), {"profile": None, "way": None})
    answer = {"module": str(module), "usable": usable, **found, "checks": tried}
    session.show(answer, lambda: _verdict(answer))
    if not usable:
        sys.exit(1)


def _pin(file: IO[str] | None) -> str:
    if file is not None:
        return file.read().strip()
    if not sys.stdin.isatty():
        return ""
    return str(
        click.prompt("PIN (none if the token wants no login)", "", hide_input=True, err=True)
    )


def _try(options: list[str], pin: str) -> Iterator[Object]:
    """What was tried; how a module that crashes or hangs did so is the last of it."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", "evsd.key_process.token.module_check", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            bufsize=0,  # or `select` would not see lines that were read ahead
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(pin.encode())
        process.stdin.close()
        trying = "module loads"
        for step in _answers(process):
            if "trying" in step:
                trying = step["trying"]
            else:
                yield step
        status = process.wait()
        if status != 0:
            yield {"what": trying, "needed": True, "trouble": _end(status) + _last_words(said)}


def _answers(process: subprocess.Popen[bytes]) -> Iterator[Object]:
    """The lines of the child as they come; it is ended when it says nothing for long."""
    output = process.stdout
    assert output is not None  # noqa: S101
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while True:
        ready, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            process.send_signal(signal.SIGALRM)  # ends it, and is told from a crash
            return
        line = output.readline()
        if not line:
            return
        deadline = time.monotonic() + STEP_TIMEOUT_S
        yield json.loads(line)


def _end(status: int) -> str:
    if status == -signal.SIGALRM:
        return f"the module hangs: no answer in {STEP_TIMEOUT_S} s"
    if status < 0:
        return f"the module crashed its process: {signal.Signals(-status).name}"
    return f"the module ended its process with status {status}"


def _last_words(said: IO[bytes]) -> str:
    """The last line that the module wrote, in brackets."""
    said.seek(max(0, said.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
    lines = said.read().decode(errors="backslashreplace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f" ({last})" if last else ""


def _verdict(answer: Object) -> str:
    rows = [
        {
            "check": step["what"],
            "needed": "yes" if step["needed"] else "no",
            "result": step["trouble"] or "ok",
        }
        for step in answer["checks"]
    ]
    shown = table(rows, ["check", "needed", "result"], "")
    if not answer["usable"]:
        return f"{shown}\n\nevsd can NOT use {answer['module']}"
    return f"{shown}\n\nevsd can use {answer['module']}, and would encrypt with {answer['way']}"
