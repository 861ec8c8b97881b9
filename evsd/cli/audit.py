"""evsctl audit: who used which key or changed who may, and whether the log of it is whole."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from evsd.cli.client import Object
from evsd.cli.output import Session, output_option, pass_session, table

UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[str]):
    """A time, or how long ago."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> str:
        """ISO 8601 in UTC."""
        if ago := re.fullmatch(r"(\d{1,6})([mhd])", value):
            return (datetime.now(UTC) - timedelta(**{UNITS[ago[2]]: int(ago[1])})).isoformat()
        try:
            return datetime.fromisoformat(value).astimezone(UTC).isoformat()
        except ValueError:
            said = f"{value!r} is not like 2026-01-31, 2026-01-31T12:00, 30m, 12h or 7d"
            self.fail(said, param, context)


@click.group()
def audit() -> None:
    """The log of every use of every key, and every change of who may, allowed or refused."""


@audit.command("list")
@click.option("--key", "reference", metavar="KEY", help="Only uses of this key, by id or alias.")
@click.option("--principal", help="Only what this user did.")
@click.option("--action", help="Only this action, for instance create-datakey.")
@click.option("--result", help="ok, refused, or a published error code.")
@click.option("--since", type=Moment(), help="From this time on, or from so long ago: 30m, 7d.")
@click.option("--until", type=Moment(), help="Up to this time.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="So many at the most."
)
@output_option
@pass_session
def list_records(session: Session, /, reference: str | None, limit: int, **filters: str) -> None:
    """List uses of keys and changes of who may use them, newest first."""
    query = {name: value for name, value in filters.items() if value}
    if reference:
        query["key_id"] = session.api.key_id(reference)
    answer = session.api.audit_records(query, limit)
    columns = ["sequence", "time", "principal", "source", "action", "key", "version"]
    columns += ["result", "context"]
    session.show(answer, lambda: table(map(_row, answer["records"]), columns, "no records"))


@audit.command()
@output_option
@pass_session
def verify(session: Session) -> None:
    """Check that no record was altered, removed, moved or cut off.

    Exit status: 0 the log is whole, 1 it is not.
    """
    answer = session.api.audit_verification(_progress)
    session.show(answer, lambda: _verdict(answer))
    if answer["findings"]:
        sys.exit(1)


def _progress(checked: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{checked} records checked", nl=False, err=True)


def _verdict(answer: Object) -> str:
    lines = [finding["what"] for finding in answer["findings"]]
    state = "NOT whole" if lines else "whole"
    signed = f"{answer['signed']} of them signed"
    if not answer["signatures_checked"]:
        signed += ", which could not be checked: the token is away"
    return "\n".join([*lines, f"the log is {state}: {answer['records']} records, {signed}"])


def _row(record: Object) -> dict[str, str]:
    return {
        "sequence": str(record["sequence"]),
        "time": record["time"][:19],
        "principal": record["principal"],
        "source": record["source"],
        "action": record["action"],
        "key": record["key_id"] or "-",
        "version": str(record["key_version"] or "-"),
        "result": record["result"],
        "context": _as_text(record["context"]),
    }


def _as_text(context: Object | str) -> str:
    if isinstance(context, str):
        return context
    return " ".join(f"{name}={value}" for name, value in context.items() if value)
