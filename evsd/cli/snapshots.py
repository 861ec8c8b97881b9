"""evsctl snapshot: taking, listing, deleting snapshots, and rolling back to one."""

from __future__ import annotations

from collections.abc import Sequence

import click

from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused
from evsd.cli.interrupts import noted
from evsd.cli.output import Session, card, output_option, pass_session, table, yes_option
from evsd.cli.progress import progress_bar
from evsd.cli.sizes import bytes_text, size_text
from evsd.cli.tags import tag_pairs
from evsd.cli.usage import layers_of
from evsd.cli.volumes import KeyWords, tag_text

SNAPSHOTS, GROUPS = "/v5/{project}/snapshots", "/v5/{project}/snapshot-groups"
COLUMNS = ["name", "volume", "size", "status", "created", "id"]


@click.group()
def snapshot() -> None:
    """Snapshots of volumes: what they were at a moment.

    One costs nothing when it is taken; what is overwritten afterwards takes space a second time.
    SNAPSHOT is a name or an id.
    """


@snapshot.command()
@click.argument("names", metavar="VOLUME...", nargs=-1, required=True)
@click.option("--name", help="Up to 64 characters; else evsd gives one.")
@click.option("--description", default="", help="Up to 85 characters.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@output_option
@pass_session
def create(
    session: Session, names: Sequence[str], name: str | None, description: str, tags: Sequence[str]
) -> None:
    """Take a snapshot of VOLUME, attached or not, at once.

    Of several volumes all are of one moment. Of an attached volume it is what the disk would be
    after a power cut: what a filesystem has not written yet is not in it (sync, or fsfreeze).
    """
    api = session.api
    volumes = [api.volume(each)["volume"] for each in names]
    pairs = {pair["key"]: pair["value"] for pair in tag_pairs(tags)}
    wanted: Object = {"name": name, "description": description, "tags": pairs}
    if len(volumes) == 1:
        wanted["volume_id"] = volumes[0]["id"]
        started = api.request("POST", SNAPSHOTS, {"snapshot": wanted})
        _await(session, started["job_id"], names)
        _show(session, started["snapshot_id"])
    else:
        wanted["volume_ids"] = [volume["id"] for volume in volumes]
        started = api.request("POST", GROUPS, {"snapshot_group": wanted})
        _await(session, started["job_id"], names)
        _list(session, {"snapshot_group_id": started["snapshot_group_id"]})


@snapshot.command("list")
@click.argument("name", metavar="[VOLUME]", required=False)
@output_option
@pass_session
def list_snapshots(session: Session, name: str | None) -> None:
    """List the snapshots of the project, or of a volume, newest first."""
    filters = {} if name is None else {"volume_id": session.api.volume(name)["volume"]["id"]}
    _list(session, filters)


@snapshot.command()
@click.argument("name", metavar="SNAPSHOT")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one snapshot, and what of the pool comes back when it is deleted."""
    _show(session, find(session.api, name)["id"])


@snapshot.command()
@click.argument("name", metavar="SNAPSHOT")
@click.argument("new_name", metavar="NAME")
@output_option
@pass_session
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a snapshot another name."""
    snapshot_id = find(session.api, name)["id"]
    body = {"snapshot": {"name": new_name}}
    session.api.request("PUT", f"{SNAPSHOTS}/{snapshot_id}", body)
    _show(session, snapshot_id)


@snapshot.command()
@click.argument("name", metavar="SNAPSHOT")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str) -> None:
    """Delete a snapshot; its volume and other snapshots stay as they are.

    Its space comes back when its layer has been merged into the next one: of an attached volume
    when that is detached.
    """
    api = session.api
    found = find(api, name)
    volume = api.volume(found["volume_id"])["volume"]
    session.confirm(
        f"Delete snapshot {found['name']} of volume {volume['name']}, of {_moment(found)}?"
    )
    started = api.request("DELETE", f"{SNAPSHOTS}/{found['id']}")
    api.job(started["job_id"])
    session.show(started, lambda: f"snapshot {found['name']} is gone")


@snapshot.command()
@click.argument("name", metavar="SNAPSHOT")
@yes_option
@output_option
@pass_session
def rollback(session: Session, name: str) -> None:
    """Let the volume of a snapshot, which must be detached, be what it was then.

    What was written since is lost, unless a later snapshot has it: all snapshots stay. The volume
    keeps its size.
    """
    api = session.api
    found = find(api, name)
    volume = api.volume(found["volume_id"])["volume"]
    session.confirm(
        f"Roll volume {volume['name']} back to snapshot {found['name']}, and lose what was written "
        f"to it since {_moment(found)}?"
    )
    body = {"rollback": {"volume_id": volume["id"]}}
    started = api.request("POST", f"{SNAPSHOTS}/{found['id']}/rollback", body)
    api.job(started["job_id"])
    session.show(started, lambda: f"volume {volume['name']} is what it was at {_moment(found)}")


def listed(api: Api, **filters: str) -> Object:
    """The project's snapshots, all of them that pass, as one list response."""
    answer: Object = {"snapshots": []}
    while True:
        offset = str(len(answer["snapshots"]))
        page = api.request("GET", f"{SNAPSHOTS}/detail", query={"offset": offset, **filters})
        answer["snapshots"] += page["snapshots"]
        if not page["snapshots"]:
            return answer


def find(api: Api, name: str) -> Object:
    """One snapshot, by id or by name."""
    found: list[Object] = []
    for filters in ({"id": name.lower()}, {"name": name}):
        found = found or listed(api, **filters)["snapshots"]
    if not found:
        raise Refused(
            "EVS.5404",
            f"snapshot {name} does not exist",
            "`evsctl snapshot list` shows the snapshots",
        )
    if len(found) > 1:
        ids = ", ".join(one["id"] for one in found)
        several = f"{len(found)} snapshots are called {name}"
        raise Refused("", several, f"say which by its id: {ids}")
    return found[0]


def _await(session: Session, job_id: str, names: Sequence[str]) -> None:
    outcome = "evsd goes on taking it: evsctl snapshot list"
    with noted(outcome), progress_bar(f"snapshot of {', '.join(names)}") as progress:
        session.api.job(job_id, progress)


def _list(session: Session, filters: dict[str, str]) -> None:
    found = listed(session.api, **filters)
    empty = "no snapshots; evsctl snapshot create takes one"
    session.show(found, lambda: table(_rows(session, found["snapshots"]), COLUMNS, empty))


def _rows(session: Session, snapshots: Sequence[Object]) -> list[dict[str, str]]:
    volumes: dict[str, str] = {one["id"]: one["name"] for one in session.api.volumes()["volumes"]}
    return [
        {
            "name": found["name"],
            "volume": volumes.get(str(found["volume_id"]), "-"),
            "size": size_text(found["size"]),
            "status": found["status"],
            "created": _moment(found),
            "id": found["id"],
        }
        for found in snapshots
    ]


def _show(session: Session, snapshot_id: str) -> None:
    answer = session.api.request("GET", f"{SNAPSHOTS}/{snapshot_id}")
    session.show(answer, lambda: _card(session, answer["snapshot"]))


def _card(session: Session, found: Object) -> str:
    [row] = _rows(session, [found])
    taken = layers_of(session.api, found["volume_id"]).get(found["id"], {})
    return card(
        {
            "name": row["name"],
            "id": row["id"],
            "volume": f"{row['volume']} ({found['volume_id']})",
            "status": row["status"],
            "size": row["size"],
            "used": bytes_text(taken.get("used_bytes")),
            "exclusive": bytes_text(taken.get("exclusive_bytes")),
            "key": f"{KeyWords(session)[found['cmk_id']]} ({found['cmk_id']})",
            "group": found["snapshot_group_id"] or "-",
            "tags": ", ".join(tag_text(*tag) for tag in sorted(found["tags"].items())) or "-",
            "description": found["description"] or "-",
            "created": row["created"],
        }
    )


def _moment(found: Object) -> str:
    return f"{found['created_at'][:19]} UTC"
