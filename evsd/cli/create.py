"""evsctl create: one volume, or several by one request."""

from __future__ import annotations

from collections.abc import Sequence

import click

from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.interrupts import answered, noted, uninterrupted
from evsd.cli.output import Session, output_option, pass_session, table
from evsd.cli.progress import progress_bar
from evsd.cli.sizes import Size, size_text
from evsd.cli.snapshots import find
from evsd.cli.tags import tag_pairs
from evsd.cli.volumes import PROVISIONING, pass_on_warning, show_volume

thick_option = click.option(
    "--thick",
    is_flag=True,
    help="Ciphertext everywhere from the start, so nobody sees what is unused; takes all its "
    "space at once.",
)


@click.command()
@click.argument("name")
@click.option("--size", type=Size(), help="Whole GiB, like 10G; else that of the source.")
@click.option("--key", "key_reference", metavar="KEY", help="Key id or alias; else evs/default.")
@thick_option
@click.option("--from-image", "image_name", metavar="IMAGE", help="With its data, under its key.")
@click.option(
    "--from-snapshot", "snapshot_name", metavar="SNAPSHOT", help="With its data, under its key."
)
@click.option("--description", default="", help="Up to 255 characters.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="May be repeated.")
@click.option(
    "--count",
    type=click.IntRange(1, 100),
    default=1,
    help="So many at once, named NAME-0001 and so on.",
)
@output_option
@pass_session
def create(
    session: Session,
    name: str,
    size: int | None,
    key_reference: str | None,
    thick: bool,
    image_name: str | None,
    snapshot_name: str | None,
    description: str,
    tags: Sequence[str],
    count: int,
) -> None:
    """Create an encrypted volume, or several."""
    image = None if image_name is None else session.api.image(image_name)
    snapshot = None if snapshot_name is None else find(session.api, snapshot_name)
    least = image["min_disk"] if image else snapshot["size"] if snapshot else None
    if size is None:
        if least is None:
            raise UsageProblem("say --size, --from-image or --from-snapshot")
        size = max(1, least)
    wanted = wanted_volume(session.api, name, size, key_reference, thick, description)
    if image is not None:
        wanted["imageRef"] = image["id"]
    if snapshot is not None:
        wanted["snapshot_id"] = snapshot["id"]
        del wanted["volume_type"]
    if image is not None or snapshot is not None:
        del wanted["metadata"]["__system__encrypted"]  # it has the key of that
    wanted["tags"] = {pair["key"]: pair["value"] for pair in tag_pairs(tags)}
    if count == 1:
        made = create_volume(session.api, wanted)
        show_volume(session, made["id"])
    else:
        _create_several(session, {**wanted, "count": count})


def _create_several(session: Session, wanted: Object) -> None:
    api = session.api
    outcome = f"evsd goes on making them: evsctl list shows {wanted['name']}-0001 and so on"
    started = api.request("POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
    pass_on_warning(started)
    with noted(outcome), progress_bar(f"creating {wanted['name']}-0001 ...") as progress:
        job = api.job(started["job_id"], progress)
    made = [part["entities"] for part in job["entities"]["sub_jobs"]]
    rows = [
        {"name": one["name"], "size": size_text(one["size"]), "id": one["volume_id"]}
        for one in made
    ]
    session.show(job, lambda: table(rows, ["name", "size", "id"], ""))


def wanted_volume(
    api: Api, name: str, size: int, key_reference: str | None, thick: bool, description: str
) -> Object:
    """A volume as a request to create one describes it."""
    metadata = {"__system__encrypted": "1", PROVISIONING: "thick" if thick else "thin"}
    if key_reference is not None:
        metadata["__system__cmkid"] = api.key_id(key_reference)
    return {
        "name": name,
        "size": size,
        "description": description,
        "volume_type": "SSD",
        "metadata": metadata,
    }


def check_volume(api: Api, wanted: Object) -> None:
    """Have evsd say what it has against creating such a volume, its name first; makes nothing."""
    api.request("POST", "/v2/{project}/cloudvolumes/check", {"volume": wanted})


def create_volume(api: Api, wanted: Object) -> Object:
    """Make a volume and wait until it is available; nothing is left of one that is interrupted."""
    started, name = None, wanted["name"]
    try:
        with progress_bar(f"creating {name}") as progress:
            with answered():
                started = api.request("POST", "/v2.1/{project}/cloudvolumes", {"volume": wanted})
            pass_on_warning(started)
            job = api.job(started["job_id"], progress)
    except KeyboardInterrupt as interrupt:
        if started is not None:
            with uninterrupted():
                interrupt.add_note(_unmade(api, name, started))
        raise
    volume: Object = api.volume(job["entities"]["volume_id"])["volume"]
    return volume


def _unmade(api: Api, name: str, started: Object) -> str:
    """Take back a volume whose creation has begun; says what came of that."""
    try:
        job = api.request("GET", f"/v1/{{project}}/jobs/{started['job_id']}")
        api.delete_volume(job["entities"]["volume_id"])
    except Refused as error:
        return f"volume {name} may be left, see evsctl list: {error.problem.message}"
    return f"volume {name} was not made"
