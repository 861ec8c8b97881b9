"""evsctl create, list, show, extend, delete."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import click

from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused
from evsd.cli.interrupts import answered, interruptible, uninterrupted
from evsd.cli.keys.words import key_of_volume
from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option
from evsd.cli.progress import progress_bar

PROVISIONING = "evsd:provisioning"
SERVER, DEVICE = "evsd:server", "evsd:device"
# By the state of the server or the device; what is as it should be is not here.
WHAT_NEXT = {
    "restarting": "its server is being started again; if that lasts, evsd's log says why",
    "ending": "its server is ended as soon as that can be done: look at the host and the pool",
    "unwatched": "nobody connects the device again when its server ends: "
    "evsctl detach {name} now, then attach it",
    "dead": "the device can't come back: evsctl detach {name} --force, attach it, "
    "check the filesystem",
    "gone": "the device is no more: evsctl detach {name}, then attach it",
}


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


thick_option = click.option(
    "--thick",
    is_flag=True,
    help="Ciphertext everywhere from the start, so nobody sees what is unused; takes all its "
    "space at once.",
)


@click.command()
@click.argument("name")
@click.option("--size", type=Size(), required=True, help="Whole GiB, like 10G or 1T.")
@click.option("--key", "key_reference", metavar="KEY", help="Key id or alias; else evs/default.")
@thick_option
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    size: int,
    key_reference: str | None,
    thick: bool,
    description: str,
) -> None:
    """Create an encrypted volume."""
    made = create_volume(session.api, name, size, key_reference, thick, description)
    show_volume(session, made["id"])


def create_volume(
    api: Api, name: str, size: int, key_reference: str | None, thick: bool, description: str
) -> Object:
    """Make a volume and wait until it is available; nothing is left of one that is interrupted."""
    metadata = {"__system__encrypted": "1", PROVISIONING: "thick" if thick else "thin"}
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
    started = None
    try:
        with interruptible(), progress_bar(f"creating {name}") as progress:
            with answered():
                started = api.request("POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
            job = api.job(started["job_id"], progress)
    except KeyboardInterrupt:
        if started is None:
            click.echo(f"Warning: evsd did not answer: volume {name} may be left", err=True)
            raise
        with uninterrupted():
            job = api.request("GET", f"/v1/{{project}}/jobs/{started['job_id']}")
            api.delete_volume(job["entities"]["volume_id"])
        raise
    volume: Object = api.volume(job["entities"]["volume_id"])["volume"]
    return volume


@click.command("list")
@output_option
@pass_session
def list_volumes(session: Session) -> None:
    """List the volumes of the project."""
    answer = session.api.volumes()
    keys = KeyWords(session)
    rows = [_row(volume, keys) for volume in answer["volumes"]]
    columns = ["name", "size", "status", "key", "device", "id"]
    session.show(answer, lambda: table(rows, columns, "no volumes; evsctl create makes one"))


@click.command()
@click.argument("name")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one volume, by name or id."""
    show_volume(session, name)


@click.command()
@click.argument("name")
@click.option("--size", type=Size(), required=True, help="The new size, like 20G; it must grow.")
@output_option
@pass_session
def extend(session: Session, name: str, size: int) -> None:
    """Make a volume larger; detach it first.

    The filesystem on it has to be told, e.g. by resize2fs.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    path = f"/v2.1/{{project}}/cloudvolumes/{volume['id']}/action"
    started = api.request("POST", path, {"os-extend": {"new_size": size}})
    with progress_bar(f"extending {volume['name']}") as progress:
        api.job(started["job_id"], progress)
    show_volume(session, volume["id"])


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
    started = api.delete_volume(volume["id"])
    session.show(started, lambda: f"volume {volume['name']} is gone")


@click.command()
@click.argument("file")
@click.argument("name", required=False)
@output_option
@pass_session
def recover(session: Session, file: str, name: str | None) -> None:
    """Register a volume whose record is lost, from its file and the KMS alone.

    FILE is in evsd's pool and has the name it had there, VOLUME-ID.luks. A key whose record is
    lost too is registered with it, disabled; so is their project, named recovered-...
    """
    api = session.api
    wanted = {"host": "", "ref": {"source-name": PurePath(file).name}, "name": name}
    answer = api.request("POST", "/v3/{project}/manageable_volumes", {"volume": wanted})
    volume = answer["volume"]
    where = api.for_project(volume["os-vol-tenant-attr:tenant_id"])
    session.show(answer, lambda: _recovered(volume, where))


def _recovered(volume: Object, where: Api) -> str:
    key = where.kms("describe-key", key_id=volume["metadata"]["__system__cmkid"])["key_info"]
    option = f"--project {where.project_name} "
    lines = [f"volume {volume['name']} ({volume['size']}G) is registered"]
    if key["key_state"] != "2":
        lines.append(f"enable its key:  evsctl {option}key enable {key['key_alias']}")
    lines.append(f"needs, once:     evsctl {option}delegation create")
    lines.append(f"attach it:       evsctl {option}attach {volume['name']}")
    return "\n".join(lines)


COMMANDS = (create, list_volumes, show, extend, delete, recover)


def show_volume(session: Session, name: str) -> None:
    """Print one volume, by name or id."""
    answer = session.api.volume(name)
    session.show(answer, lambda: _card(session, answer["volume"]))


class KeyWords(dict[str, str]):
    """What to say of each key, by its id, in tables; without the key service the ids must do."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._known = False
        if session.output == "json":
            return
        try:
            self.update((key["key_id"], key_of_volume(key)) for key in session.api.list_keys())
            self._known = True
        except Refused as error:
            click.echo(f"Warning: {error.message}", err=True)

    def __missing__(self, key_id: str) -> str:
        return f"{key_id} (destroyed)" if self._known else key_id


def _row(volume: dict[str, Any], keys: KeyWords) -> dict[str, str]:
    cmk_id = volume["metadata"]["__system__cmkid"]
    devices = [a["device"] for a in volume["attachments"] if a["device"]]
    return {
        "name": volume["name"],
        "size": f"{volume['size']}G",
        "status": volume["status"],
        "key": keys[cmk_id],
        "device": ", ".join(devices) or "-",
        "id": volume["id"],
    }


def _card(session: Session, volume: dict[str, Any]) -> str:
    row, metadata = _row(volume, KeyWords(session)), volume["metadata"]
    attachments = volume["attachments"]
    states = [metadata[name] for name in (SERVER, DEVICE) if name in metadata]
    todo = [WHAT_NEXT[state].format(**row) for state in states if state in WHAT_NEXT]
    uris = [session.api.uri(a["attachment_id"]) for a in attachments]
    return card(
        {
            "name": row["name"],
            "id": row["id"],
            "status": row["status"],
            "size": row["size"],
            "provisioning": metadata[PROVISIONING],
            "key": f"{row['key']} ({metadata['__system__cmkid']})",
            "server": metadata.get(SERVER, "-"),
            "device": row["device"] + (f" ({metadata[DEVICE]})" if DEVICE in metadata else ""),
            "uri": ", ".join(filter(None, uris)) or "-",
            "attached to": ", ".join(a["host_name"] for a in attachments) or "-",
            "description": volume["description"] or "-",
            "created": f"{volume['created_at'][:19]} UTC",
            **({"next": "; ".join(todo)} if todo else {}),
        }
    )
