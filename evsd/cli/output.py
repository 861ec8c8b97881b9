"""Tables for people, the API's own objects for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from evsd.cli.client import TIMEOUT_S, Api
from evsd.cli.errors import UsageProblem

F = TypeVar("F", bound=Callable[..., Any])
Row = Mapping[str, str]
# Click shares `meta` between a group and its commands, so an option counts on either side.
OUTPUT, YES = "evsd.output", "evsd.yes"


class Session:
    """What every command gets: the API, and how its answer is to be shown."""

    def __init__(self) -> None:
        self.endpoint: str | None = None
        self._project = ""
        self._api: Api | None = None

    def use(self, endpoint: str | None, project: str) -> None:
        """Where evsd is, and the project to work in."""
        self.endpoint, self._project = endpoint, project

    @property
    def api(self) -> Api:
        """The API; raises `UsageProblem` where no endpoint is given."""
        if self._api is None:
            self._api = self.api_within(TIMEOUT_S)
        return self._api

    def api_within(self, seconds: float) -> Api:
        """The API for a question that is not worth more time; it does not wait for evsd's start."""
        if not self.endpoint:
            raise UsageProblem("set EVSD_ENDPOINT, for instance to unix:///var/lib/evsd/evsd.sock")
        return Api(self.endpoint, self._project, seconds)

    @property
    def changed(self) -> bool:
        """Whether evsd has changed anything for this command."""
        return self._api is not None and self._api.changed

    @property
    def request_id(self) -> str | None:
        """The id that evsd's log has of the last request."""
        return self._api.request_id if self._api is not None else None

    def show(self, answer: Mapping[str, Any], text: Callable[[], str]) -> None:
        """Print the API's object with ``--output json``, else the text."""
        click.echo(json.dumps(answer, indent=2) if self.output == "json" else text())

    def confirm(self, question: str) -> None:
        """Ask before something is lost; scripts say ``--yes``."""
        if self.assume_yes:
            return
        if not sys.stdin.isatty():
            raise UsageProblem(f"{question} Say --yes if you mean it.")
        click.confirm(question, abort=True, err=True)

    @property
    def output(self) -> str:
        """``table`` or ``json``."""
        return str(click.get_current_context().meta.get(OUTPUT, "table"))

    @property
    def assume_yes(self) -> bool:
        """Whether ``--yes`` was given."""
        return bool(click.get_current_context().meta.get(YES, False))


pass_session = click.make_pass_decorator(Session)


def output_option(function: F) -> F:
    """The ``--output`` option, good before and after the command's name."""

    def remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[OUTPUT] = value

    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        expose_value=False,
        callback=remember,
        help="table (default), or json: exactly what the API returned.",
    )(function)


def yes_option(function: F) -> F:
    """The ``--yes`` option of commands that destroy or take away."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        context.meta[YES] = value

    return click.option(
        "--yes", is_flag=True, expose_value=False, callback=remember, help="Don't ask."
    )(function)


def changes(**given: str | None) -> dict[str, str]:
    """The fields that are to be changed; raises `UsageProblem` where none is."""
    found = {field: value for field, value in given.items() if value is not None}
    if not found:
        raise UsageProblem(f"say what to change: {' or '.join(f'--{name}' for name in given)}")
    return found


def table(rows: Iterable[Row], columns: list[str], empty: str) -> str:
    """Rows under headings, as wide as they need to be."""
    cells = [[_clean(row[column]) or "-" for column in columns] for row in rows]
    if not cells:
        return empty
    lines = [[column.upper() for column in columns], *cells]
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def card(fields: Row) -> str:
    """One thing, a field a line."""
    width = max(len(name) for name in fields)
    lines = [f"{name.ljust(width)}  {_clean(value)}".rstrip() for name, value in fields.items()]
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns of a terminal: some characters take two, others none."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # here: its tables take a while to load

    return int(wcswidth(text))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _clean(text: str) -> str:
    """Nothing another user wrote may move the cursor or begin a line of its own."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
