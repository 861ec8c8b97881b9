"""evsctl's entry. Its commands take a moment to load, and Ctrl-C may come before that too."""

from __future__ import annotations

import os

from evsd.cli import interrupts
from evsd.cli.problems import report_interrupt


def run() -> None:
    """The program."""
    interrupts.hear(_leave)
    from evsd.cli.main import run as carry_out

    carry_out()


def _leave(_number: int, _frame: object) -> None:
    """Not by an exception: where the interpreter loads a module, it would print its trace."""
    report_interrupt("nothing was changed")
    os._exit(1)


if __name__ == "__main__":
    run()
