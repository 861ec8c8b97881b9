"""evsctl create, list, show, delete."""

from __future__ import annotations

import re
from typing import Any

import click

from evsd.cli.errors import Refused
from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option


class Size(click.ParamType[Any]):
    """Whole GiB: ``10G``, ``10GiB``, ``1T`` or ``10``."""

    name = "SIZE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:  # fmt: skip
        """Text to GiB. Whether the number is allowed is for the server to say."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(-?[0-9]{1,15})\s*(G|GiB|T|TiB|)", value, re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size like 10G", param, ctx)
        return int(match[1]) * (1024 if match[2].upper().startswith("T") else 1)


@click.command()
@click.argument("name")
@click.option("--size", type=Size(), required=True, help="Whole GiB, like 10G or 1T.")
@click.option("--key", "key_reference", metavar="KEY", help="Key id or alias; else evs/default.")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(
    session: Session, name: str, size: int, key_reference: str | None, description: str
) -> None:
    """Create an encrypted volume."""
    api = session.api
    metadata = {"__system__encrypted": "1"}
    if key_reference is not None:
        metadata["__system__cmkid"] = api.key_id(key_reference)
    wanted = {
        "name": name,
        "size": size,
        "description": description,
        "availability_zone": "local",
        "volume_type": "SSD",
        "metadata": metadata,
    }
    started = api.request("POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
    job = api.job(started["job_id"])
    answer = api.volume(job["entities"]["volume_id"])
    session.show(answer, lambda: _card(session, answer["volume"]))


@click.command("list")
@output_option
@pass_session
def list_volumes(session: Session) -> None:
    """List the volumes of the project."""
    answer = session.api.volumes()
    aliases = _aliases(session)
    rows = [_row(volume, aliases) for volume in answer["volumes"]]
    columns = ["name", "size", "status", "key", "device", "id"]
    session.show(answer, lambda: table(rows, columns, "no volumes; evsctl create makes one"))


@click.command()
@click.argument("name")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one volume, by name or id."""
    answer = session.api.volume(name)
    session.show(answer, lambda: _card(session, answer["volume"]))


@click.command()
@click.argument("name")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str) -> None:
    """Destroy a volume and all data on it."""
    api = session.api
    volume = api.volume(name)["volume"]
    session.confirm(f"Destroy volume {volume['name']} ({volume['size']}G) and all data on it?")
    started = api.request("DELETE", f"/v2/{{project}}/cloudvolumes/{volume['id']}")
    api.job(started["job_id"])
    session.show(started, lambda: f"volume {volume['name']} is gone")


COMMANDS = (create, list_volumes, show, delete)


def _aliases(session: Session) -> dict[str, str]:
    """Aliases by key id, for the tables only; without the key service the ids must do."""
    if session.output == "json":
        return {}
    try:
        return {key["key_id"]: key["key_alias"] for key in session.api.list_keys()}
    except Refused as error:
        click.echo(f"Warning: {error.message}", err=True)
        return {}


def _row(volume: dict[str, Any], aliases: dict[str, str]) -> dict[str, str]:
    cmk_id = volume["metadata"]["__system__cmkid"]
    devices = [a["device"] for a in volume["attachments"] if a["device"]]
    return {
        "name": volume["name"],
        "size": f"{volume['size']}G",
        "status": volume["status"],
        "key": aliases.get(cmk_id, cmk_id),
        "device": ", ".join(devices) or "-",
        "id": volume["id"],
    }


def _card(session: Session, volume: dict[str, Any]) -> str:
    row = _row(volume, _aliases(session))
    attachments = volume["attachments"]
    uris = [session.api.uri(a["attachment_id"]) for a in attachments]
    return card(
        {
            "name": row["name"],
            "id": row["id"],
            "status": row["status"],
            "size": row["size"],
            "key": f"{row['key']} ({volume['metadata']['__system__cmkid']})",
            "device": row["device"],
            "uri": ", ".join(filter(None, uris)) or "-",
            "attached to": ", ".join(a["host_name"] for a in attachments) or "-",
            "description": volume["description"] or "-",
            "created": f"{volume['created_at'][:19]} UTC",
        }
    )
