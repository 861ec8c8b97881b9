"""evsctl usage: what of the pool is held by which volume and snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import click

from evsd.cli.client import Api, Object
from evsd.cli.output import Session, output_option, pass_session, table
from evsd.cli.sizes import bytes_text

PATH = "/v2/{project}/cloudvolumes/usage"
COLUMNS = ["volume", "snapshot", "used", "exclusive"]


@click.command("usage")
@click.argument("name", metavar="[VOLUME]", required=False)
@output_option
@pass_session
def show_usage(session: Session, name: str | None) -> None:
    """Show what volumes and snapshots take of the pool.

    USED is what a layer takes: what was written until the next snapshot. EXCLUSIVE of it comes back
    when the snapshot is deleted; the rest goes over to the next one.
    """
    volume_id = None if name is None else session.api.volume(name)["volume"]["id"]
    answer = usage(session.api, volume_id)
    session.show(answer, lambda: table(_rows(answer), COLUMNS, "no volumes"))


def usage(api: Api, volume_id: str | None = None) -> Object:
    """The API's answer, of one volume or of all."""
    return api.request("GET", PATH, query={} if volume_id is None else {"volume_id": volume_id})


def layers_of(api: Api, volume_id: str) -> dict[str, Object]:
    """What each snapshot of a volume takes, by their ids."""
    volumes = usage(api, volume_id)["volumes"]
    return {each["id"]: each for volume in volumes for each in volume["snapshots"]}


def _rows(answer: Object) -> list[dict[str, str]]:
    return [
        dict(zip(COLUMNS, (volume["name"], *cells), strict=True))
        for volume in answer["volumes"]
        for cells in _cells(volume)
    ]


def _cells(volume: Object) -> Iterator[tuple[str, str, str]]:
    """What each layer takes, the newest first."""
    own = bytes_text(volume["own_bytes"])
    yield "", own, own
    for each in reversed(volume["snapshots"]):
        yield each["name"], bytes_text(each["used_bytes"]), bytes_text(each["exclusive_bytes"])
    if volume["hidden_bytes"]:
        yield "(deleted)", bytes_text(volume["hidden_bytes"]), ""
