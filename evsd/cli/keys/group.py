"""evsctl key, with all its commands."""

from __future__ import annotations

import click

from evsd.cli.keys import data, grants, imports, life, rotation, tags


@click.group()
def key() -> None:
    """Customer master keys; KEY is an id, an alias or alias/ALIAS."""


for module in (life, rotation, imports, data, tags):
    for command in module.COMMANDS:
        key.add_command(command)
key.add_command(grants.grant)
