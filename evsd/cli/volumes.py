"""evsctl list, show, update, extend, delete, recover."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import click

from evsd import connector
from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused
from evsd.cli.interrupts import noted
from evsd.cli.keys.words import key_of_volume
from evsd.cli.output import (
    Session,
    card,
    changes,
    output_option,
    pass_session,
    table,
    yes_option,
)
from evsd.cli.problems import warn
from evsd.cli.progress import progress_bar
from evsd.cli.sizes import Size, bytes_text, size_text
from evsd.cli.usage import usage

GIB, GROWTH_S = 1024**3, 30.0
PROVISIONING = "evsd:provisioning"
SERVER, DEVICE = "evsd:server", "evsd:device"
ACCESS_MODE, ATTACHED_BY, CLIENTS = "evsd:access_mode", "evsd:attached_by", "evsd:clients"
ACCESS_MODES = {"rw": "read-write", "ro": "read-only"}
POOL, POOL_DIRECTORY = "evsd:pool", "evsd:pool_directory"
# By the state of the pool, the server or the device; what is as it should be is not here.
WHAT_NEXT = {
    "low": "the pool {pool} is low on space: free some before it is full, writes fail then",
    "full": "the pool {pool} is full, writes fail: free space first, before any detach --force, "
    "attach or filesystem check",
    "read-only": "the pool {pool} is read-only, writes fail: mount it for writing first",
    "restarting": "its server is being started again; if that lasts, evsd's log says why",
    "ending": "its server is ended as soon as that can be done: look at the host and the pool",
    "unwatched": "nobody connects the device again when its server ends: "
    "evsctl detach {name} now, then attach it",
    "dead": "the device can't come back: evsctl detach {name} --force, attach it, "
    "check the filesystem",
    "gone": "the device is no more: evsctl detach {name}, then attach it",
}


def pass_on_warning(started: Object) -> None:
    """What evsd has to say of a job that it has begun all the same."""
    if "warning" in started:
        warn(started["warning"])


def pool_trouble(volume: Object) -> str:
    """What keeps a volume's pool from taking what is written, and what to do first; or nothing."""
    state = volume["metadata"].get(POOL)
    if state not in ("full", "read-only"):
        return ""
    return WHAT_NEXT[state].format(pool=volume["metadata"][POOL_DIRECTORY])


@click.command("list")
@output_option
@pass_session
def list_volumes(session: Session) -> None:
    """List the volumes of the project."""
    answer = session.api.volumes()
    session.show(answer, lambda: _table(session, answer["volumes"]))


@click.command()
@click.argument("name", metavar="VOLUME")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one volume, by name or id."""
    show_volume(session, name)


@click.command()
@click.argument("name", metavar="VOLUME")
@click.option("--size", type=Size(), required=True, help="The new size, like 20G; it must grow.")
@output_option
@pass_session
def extend(session: Session, name: str, size: int) -> None:
    """Make a volume larger, attached or not; a thick one has to be detached first.

    A device of the kernel's grows with it. Another one, and who is connected otherwise, sees the
    new size after it was detached and attached, or has connected again. Then the filesystem on it
    has to be told, e.g. by resize2fs.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    path = f"/v2.1/{{project}}/cloudvolumes/{volume['id']}/action"
    started = api.request("POST", path, {"os-extend": {"new_size": size}})
    pass_on_warning(started)
    outcome = f"evsd goes on extending it: evsctl show {volume['name']}"
    with noted(outcome), progress_bar(f"extending {volume['name']}") as progress:
        api.job(started["job_id"], progress)
    _await_growth(volume, size)
    show_volume(session, volume["id"])


def _await_growth(volume: Object, size: int) -> None:
    """Wait until this host's device of the kernel has its new size, in GiB; say if it has not."""
    for attachment in volume["attachments"]:
        identifier = connector.identifier_of(attachment["attachment_id"])
        device = connector.find(identifier)
        if device is None or device.transport != "kernel":
            continue
        if not connector.grows(device, size * GIB, timeout=GROWTH_S):
            warn(f"{device.path} has its old size yet", "evsd's log and the system's say why")


@click.command()
@click.argument("name", metavar="VOLUME")
@click.option("--name", "new_name", help="A new name.")
@click.option("--description", help="A new description, up to 255 characters.")
@output_option
@pass_session
def update(session: Session, name: str, new_name: str | None, description: str | None) -> None:
    """Rename a volume, or describe it anew."""
    wanted = changes(name=new_name, description=description)
    volume_id = session.api.volume(name)["volume"]["id"]
    path = f"/v2/{{project}}/cloudvolumes/{volume_id}"
    session.api.request("PUT", path, {"volume": wanted})
    show_volume(session, volume_id)


@click.command()
@click.argument("name", metavar="VOLUME")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str) -> None:
    """Destroy a volume and all data on it."""
    api = session.api
    volume = api.volume(name)["volume"]
    session.confirm(
        f"Destroy volume {volume['name']} ({size_text(volume['size'])}) and all data on it"
        f"{_and_snapshots(session, volume['id'])}?"
    )
    started = api.delete_volume(volume["id"])
    session.show(started, lambda: f"volume {volume['name']} is gone")


def _and_snapshots(session: Session, volume_id: str) -> str:
    """What else goes with it, to be asked of people alone."""
    if session.assume_yes:
        return ""
    found = usage(session.api, volume_id)["volumes"]
    names = [each["name"] for volume in found for each in volume["snapshots"]]
    return f", with its snapshots {', '.join(names)}" if names else ""


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
    lines = [f"volume {volume['name']} ({size_text(volume['size'])}) is registered"]
    if key["key_state"] != "2":
        lines.append(f"enable its key:  evsctl {option}key enable {key['key_alias']}")
    lines.append(f"needs, once:     evsctl {option}delegation create")
    lines.append(f"attach it:       evsctl {option}attach {volume['name']}")
    return "\n".join(lines)


COMMANDS = (list_volumes, show, update, extend, delete, recover)


def tag_text(key: str, value: str) -> str:
    """A tag, as it is written on the command line."""
    return f"{key}={value}" if value else key


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
            warn(error.problem.message, error.problem.remedy)

    def __missing__(self, key_id: str) -> str:
        return f"{key_id} (destroyed)" if self._known else key_id


def _table(session: Session, volumes: list[Object]) -> str:
    keys = KeyWords(session)
    used = {each["id"]: each["used_bytes"] for each in usage(session.api)["volumes"]}
    rows = [
        {**_row(volume, keys), "used": bytes_text(used.get(volume["id"]))} for volume in volumes
    ]
    columns = ["name", "size", "used", "status", "key", "device", "id"]
    return table(rows, columns, "no volumes; evsctl create makes one")


def _row(volume: dict[str, Any], keys: KeyWords) -> dict[str, str]:
    cmk_id = volume["metadata"]["__system__cmkid"]
    devices = [a["device"] for a in volume["attachments"] if a["device"]]
    return {
        "name": volume["name"],
        "size": size_text(volume["size"]),
        "status": volume["status"],
        "key": keys[cmk_id],
        "device": ", ".join(devices) or "-",
        "id": volume["id"],
    }


def _card(session: Session, volume: dict[str, Any]) -> str:
    row, metadata = _row(volume, KeyWords(session)), volume["metadata"]
    attachments = volume["attachments"]
    states = [metadata[name] for name in (POOL, SERVER, DEVICE) if name in metadata]
    facts = {**row, "pool": metadata.get(POOL_DIRECTORY, "")}
    todo = [WHAT_NEXT[state].format(**facts) for state in states if state in WHAT_NEXT]
    uris = [session.api.uri(a["attachment_id"]) for a in attachments]
    return card(
        {
            "name": row["name"],
            "id": row["id"],
            "status": row["status"],
            "size": row["size"],
            **_taken(session, volume["id"]),
            "provisioning": metadata[PROVISIONING],
            "key": f"{row['key']} ({metadata['__system__cmkid']})",
            **({"pool": metadata[POOL]} if POOL in metadata else {}),
            "server": metadata.get(SERVER, "-"),
            "device": row["device"] + (f" ({metadata[DEVICE]})" if DEVICE in metadata else ""),
            "uri": ", ".join(filter(None, uris)) or "-",
            "attached to": ", ".join(a["host_name"] for a in attachments) or "-",
            "attached by": metadata.get(ATTACHED_BY, "-"),
            "access": ACCESS_MODES.get(metadata.get(ACCESS_MODE, ""), "-"),
            "connected": metadata.get(CLIENTS, "-"),
            "tags": ", ".join(tag_text(*tag) for tag in sorted(volume["tags"].items())) or "-",
            "description": volume["description"] or "-",
            "created": f"{volume['created_at'][:19]} UTC",
            **({"next": "; ".join(todo)} if todo else {}),
        }
    )


def _taken(session: Session, volume_id: str) -> dict[str, str]:
    """What it takes of the pool, and each of its snapshots."""
    lines = {}
    for volume in usage(session.api, volume_id)["volumes"]:
        lines["used"] = bytes_text(volume["used_bytes"])
        for each in reversed(volume["snapshots"]):
            used, exclusive = bytes_text(each["used_bytes"]), bytes_text(each["exclusive_bytes"])
            lines[f"snapshot {each['name']}"] = f"{used} used, {exclusive} of it exclusively"
        if volume["hidden_bytes"]:
            hidden = bytes_text(volume["hidden_bytes"])
            lines["deleted"] = f"{hidden} of deleted snapshots, needed until it is detached"
    return lines
