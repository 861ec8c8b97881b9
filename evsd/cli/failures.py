"""How a command ends that could not be carried out: what is said of it, and its exit status."""

from __future__ import annotations

import errno
import traceback
from pathlib import PurePath

import click

from evsd.cli.errors import Refused
from evsd.cli.output import Session
from evsd.cli.problems import FAILED, OWN, USAGE, Problem, report, report_interrupt


def end(error: BaseException, session: Session) -> int:
    """Say what ended it, in a line or two."""
    if isinstance(error, BrokenPipeError):
        return 1  # whoever reads does not want more, as `head`
    outcome = "evsd has done what was asked" if session.changed else "nothing was changed"
    if isinstance(error, click.UsageError):
        return _wrong_usage(error)
    if isinstance(error, click.Abort | KeyboardInterrupt | EOFError):
        report_interrupt([outcome, *getattr(error, "__notes__", [])][-1])
    else:
        problem = _failure(error, outcome)
        if not problem.code.startswith(OWN):  # of evsd's answers: the last one told
            problem = problem._replace(request_id=problem.request_id or session.request_id)
        report(problem)
    return 1


def _wrong_usage(error: click.UsageError) -> int:
    remedy = f"{error.ctx.command_path} --help" if error.ctx is not None else ""
    report(Problem(USAGE, error.format_message(), remedy), _shown(error))
    return error.exit_code


def _shown(error: click.UsageError) -> str:
    """As click shows it; it names the command, where it is the command that was not understood."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    usage = ""
    if error.ctx is not None:
        hint = f"Try '{error.ctx.command_path} --help' for help."
        usage = f"{error.ctx.get_usage()}\n{hint}\n\n"
    return f"{usage}Error: {error.format_message()}"


def _failure(error: BaseException, outcome: str) -> Problem:
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, click.ClickException):
        return Problem(FAILED, error.format_message())
    if isinstance(error, OSError):
        what = error.filename or "standard output"
        lost = outcome if error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO) else ""
        return Problem(FAILED, f"{what}: {error.strerror or error}", lost)
    if isinstance(error, UnicodeError):
        return Problem(FAILED, f"this can't be shown here: {error}", "set LANG=C.UTF-8")
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{PurePath(place.filename).name}:{place.lineno}"
    return Problem(
        FAILED,
        f"unexpected {type(error).__name__} in {where}: {error}",
        "if evsd answers at this endpoint, this is a fault of evsctl: please report it",
    )
