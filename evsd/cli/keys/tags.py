"""evsctl key tag, untag, tags."""

from __future__ import annotations

from collections.abc import Sequence

import click

from evsd.cli.output import Session, output_option, pass_session, table
from evsd.cli.tags import show_tags, tag_pairs


@click.command()
@click.argument("reference", metavar="KEY")
@click.argument("tags", metavar="NAME=VALUE...", nargs=-1, required=True)
@output_option
@pass_session
def tag(session: Session, reference: str, tags: Sequence[str]) -> None:
    """Tag a key, or change the values of its tags."""
    _change(session, reference, "create", tag_pairs(tags))


@click.command()
@click.argument("reference", metavar="KEY")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@output_option
@pass_session
def untag(session: Session, reference: str, names: Sequence[str]) -> None:
    """Remove tags of a key."""
    _change(session, reference, "delete", [{"key": name} for name in names])


@click.command("tags")
@click.argument("reference", metavar="[KEY]", required=False)
@output_option
@pass_session
def list_tags(session: Session, reference: str | None) -> None:
    """List the tags of a key, or all of the project's keys."""
    if reference is not None:
        _show(session, session.api.key_id(reference))
        return
    answer = session.api.request("GET", "/v1.0/{project}/kms/tags")
    rows = [{"tag": tag["key"], "values": ", ".join(tag["values"])} for tag in answer["tags"]]
    session.show(answer, lambda: table(rows, ["tag", "values"], "no tags"))


COMMANDS = (tag, untag, list_tags)


def _change(session: Session, reference: str, action: str, tags: list[dict[str, str]]) -> None:
    key_id = session.api.key_id(reference)
    session.api.kms(f"{key_id}/tags/action", action=action, tags=tags)
    _show(session, key_id)


def _show(session: Session, key_id: str) -> None:
    show_tags(session, f"/v1.0/{{project}}/kms/{key_id}/tags")
