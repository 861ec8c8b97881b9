"""evsctl's entry."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

import evsd
from evsd.cli import interrupts
from evsd.cli.commands import Commands
from evsd.cli.completion import complete_names
from evsd.cli.failures import end
from evsd.cli.output import Session, output_option


@click.group(cls=Commands)
@click.option(
    "--endpoint",
    envvar="EVSD_ENDPOINT",
    metavar="URL",
    help="unix://DIR/evsd.sock, http://HOST:PORT or https://HOST:PORT.",
)
@click.option(
    "--project",
    envvar="EVSD_PROJECT",
    metavar="PROJECT",
    default="default",
    help="Project to work in.",
)
@output_option
@click.version_option(evsd.__version__, prog_name="evsctl")
@click.pass_context
def main(context: click.Context, endpoint: str | None, project: str) -> None:
    """Encrypted block volumes: create, attach, and control the keys.

    Exit status: 0 done, 1 refused, failed or interrupted, 2 wrong usage.

    With --output json each line on standard error is an object. The one that ends the command has
    code, message, remedy and request_id (of evsd's log, or null): the published code, or
    evsctl.usage, evsctl.unreachable, evsctl.interrupted or evsctl.failed. Others have warning and
    remedy.
    """
    context.ensure_object(Session).use(endpoint, project)


COMPLETION = "_EVSCTL_COMPLETE"
complete_names(main)


def run() -> NoReturn:
    """The program: no traceback for what the environment does to it."""
    session = Session()
    try:
        interrupts.hear()
        _open_what_is_closed()
        status = _carried_out(session)
    except BaseException as error:  # noqa: BLE001 - Ctrl-C too
        interrupts.no_more_interrupts()
        status = end(error, session)
    interrupts.no_more_interrupts()
    # The interpreter's own exit could be interrupted, and would flush a full standard output again.
    os._exit(status)


def _carried_out(session: Session) -> int:
    """Not by click's own main: it catches Ctrl-C, and forgets what was said of it."""
    try:
        if COMPLETION in os.environ:
            main.main(prog_name="evsctl", complete_var=COMPLETION)
        with main.make_context("evsctl", sys.argv[1:], obj=session) as context:
            main.invoke(context)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def _open_what_is_closed() -> None:
    """No file of ours may become standard input or output; what is written there fails."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if descriptor == 0 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w")
