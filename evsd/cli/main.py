"""evsctl's entry and its groups of commands."""

from __future__ import annotations

import contextlib
import os

import click

import evsd
from evsd.cli import (
    access_keys,
    agencies,
    attachments,
    audit,
    delegation,
    domains,
    header,
    hsm,
    keys,
    transfer,
    users,
    volumes,
)
from evsd.cli.output import Session, output_option


@click.group()
@click.option(
    "--endpoint",
    envvar="EVSD_ENDPOINT",
    metavar="URL",
    help="unix://DIR/evsd.sock, http://HOST:PORT or https://HOST:PORT.",
)
@click.option("--project", envvar="EVSD_PROJECT", default="default", help="Project to work in.")
@output_option
@click.version_option(evsd.__version__, prog_name="evsctl")
@click.pass_context
def main(context: click.Context, endpoint: str | None, project: str) -> None:
    """Encrypted block volumes: create, attach, and control the keys.

    Exit status: 0 done, 1 refused or failed, 2 wrong usage.
    """
    context.obj = Session(endpoint, project)


GROUPS = (
    keys.key,
    delegation.delegation,
    agencies.agency,
    access_keys.access_key,
    audit.audit,
    hsm.hsm,
    header.header,
    users.user,
    users.group,
    domains.role,
    domains.project,
    domains.domain,
)

for command in (
    *volumes.COMMANDS,
    *attachments.COMMANDS,
    *transfer.COMMANDS,
    *GROUPS,
):
    main.add_command(command)


def run() -> None:
    """The program: no traceback for what the environment does to it."""
    try:
        main()
    except (OSError, UnicodeError) as error:  # standard output closed or full, a bad locale
        with contextlib.suppress(OSError):
            click.echo(f"evsctl: {error}", err=True)
        os._exit(1)  # the interpreter's own exit would try to flush standard output again


if __name__ == "__main__":
    run()
