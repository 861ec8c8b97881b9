"""What evsctl says on standard error, to people and to scripts.

With ``--output json`` each thing said is one line, an object; what ended the command is the last.
Loaded before the commands, so it imports little.
"""

from __future__ import annotations

import contextlib
import json
import sys
from itertools import pairwise
from typing import NamedTuple

OPTION = "--output"
# Codes of what evsctl itself found; all others are the published ones.
OWN = "evsctl."
USAGE, UNREACHABLE, INTERRUPTED, FAILED = (
    f"{OWN}{word}" for word in ("usage", "unreachable", "interrupted", "failed")
)


class Problem(NamedTuple):
    """What could not be done, and what to do now; the id is that of the request in evsd's log."""

    code: str
    message: str
    remedy: str = ""
    request_id: str | None = None

    def as_text(self) -> str:
        """For people: with the code if it is a published one."""
        shown = f"{self.code}: {self.message}" if not self.code.startswith(OWN) else ""
        return "\n  ".join(filter(None, (shown or self.message, self.remedy)))


def report_interrupt(outcome: str) -> None:
    """Say what Ctrl-C, or a signal like it, has ended."""
    after = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # the "^C"
    problem = Problem(INTERRUPTED, f"interrupted; {outcome}")
    report(problem, f"{after}Interrupted; {outcome}")


def wants_json() -> bool:
    """Whether ``--output json`` is said, also in a command that is otherwise not understood."""
    words = sys.argv[1:]
    words = words[: words.index("--")] if "--" in words else words
    said = [
        after if word == OPTION else word.partition("=")[2]
        for word, after in pairwise([*words, ""])
        if word.partition("=")[0] == OPTION
    ]
    return said[-1:] == ["json"]


def report(problem: Problem, text: str = "") -> None:
    """Say why the command ends, to people as `text` if that is given."""
    _say(problem._asdict(), text or f"Error: {problem.as_text()}")


def warn(message: str, remedy: str = "") -> None:
    """Say what should be known, though the command goes on."""
    _say(
        {"warning": message, "remedy": remedy},
        "\n  ".join(filter(None, (f"Warning: {message}", remedy))),
    )


def note(message: str) -> None:
    """Say what is only good to know."""
    _say({"note": message}, message)


def _say(found: dict[str, str | None], text: str) -> None:
    with contextlib.suppress(OSError):  # nobody to hear it
        print(json.dumps(found) if wants_json() else text, file=sys.stderr, flush=True)
