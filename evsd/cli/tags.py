"""evsctl tag, untag, tags: of volumes. Those of keys are in `evsctl key`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from evsd.cli.client import Object
from evsd.cli.output import Session, output_option, pass_session, table

VOLUMES = "/v2/{project}/cloudvolumes"


@click.command()
@click.argument("name", metavar="VOLUME")
@click.argument("tags", metavar="NAME=VALUE...", nargs=-1, required=True)
@output_option
@pass_session
def tag(session: Session, name: str, tags: Sequence[str]) -> None:
    """Tag a volume, or change the values of its tags."""
    _change(session, name, "create", tag_pairs(tags))


@click.command()
@click.argument("name", metavar="VOLUME")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@output_option
@pass_session
def untag(session: Session, name: str, names: Sequence[str]) -> None:
    """Remove tags of a volume."""
    _change(session, name, "delete", [{"key": key} for key in names])


@click.command("tags")
@click.argument("name", metavar="[VOLUME]", required=False)
@output_option
@pass_session
def list_tags(session: Session, name: str | None) -> None:
    """List the tags of a volume, or all of the project's volumes."""
    if name is not None:
        _show(session, session.api.volume(name)["volume"]["id"])
        return
    answer = session.api.request("GET", f"{VOLUMES}/tags")
    rows = [{"tag": key, "values": ", ".join(values)} for key, values in answer["tags"].items()]
    session.show(answer, lambda: table(rows, ["tag", "values"], "no tags"))


def tag_pairs(tags: Sequence[str]) -> list[dict[str, str]]:
    """NAME=VALUE, or a name alone, as the API takes them."""
    return [dict(zip(("key", "value"), text.partition("=")[::2], strict=True)) for text in tags]


def show_tags(session: Session, path: str) -> None:
    """Print the tags that are found there: those of a volume, or of a key."""
    answer = session.api.request("GET", path)
    rows = [{"tag": tag["key"], "value": tag["value"]} for tag in answer["tags"]]
    session.show(answer, lambda: table(rows, ["tag", "value"], "no tags"))


def _change(session: Session, name: str, action: str, tags: list[dict[str, str]]) -> None:
    volume_id = session.api.volume(name)["volume"]["id"]
    body: Object = {"action": action, "tags": tags}
    session.api.request("POST", f"{VOLUMES}/{volume_id}/tags/action", body)
    _show(session, volume_id)


def _show(session: Session, volume_id: str) -> None:
    show_tags(session, f"{VOLUMES}/{volume_id}/tags")
