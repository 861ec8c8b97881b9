"""evsctl version: of evsctl itself, and of the evsd it talks to."""

from __future__ import annotations

from typing import Any

import click

import evsd
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.output import Session, card, output_option, pass_session

TIMEOUT_S = 10.0


@click.command()
@output_option
@pass_session
def version(session: Session) -> None:
    """Show the versions of evsctl and of evsd.

    An evsd that can't be asked is no error.
    """
    answer: dict[str, Any] = {"client": evsd.__version__, "server": None}
    try:
        api = session.api_within(TIMEOUT_S)
        api.request("GET", "/v3/auth/domains")
        answer["server"] = api.server_version
    except (Refused, UsageProblem) as error:
        answer["server_problem"] = error.format_message()
    answer["endpoint"] = session.endpoint
    session.show(answer, lambda: card(_fields(answer)))


def _fields(answer: dict[str, Any]) -> dict[str, str]:
    unknown = answer.get("server_problem", "unknown").partition("\n")[0]
    return {
        "evsctl": answer["client"],
        "evsd": answer["server"] or f"- ({unknown})",
        "endpoint": answer["endpoint"] or "-",
    }
