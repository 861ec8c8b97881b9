"""evsctl image: images of files and of volumes, to make volumes of."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from evsd.cli.client import Api, Object
from evsd.cli.copying import GIB, STREAM, failures_refused
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.http import Stream
from evsd.cli.interrupts import answered, no_more_interrupts, noted, uninterrupted
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
from evsd.cli.sizes import Size, size_text
from evsd.cli.volumes import KeyWords

FORMATS = ("raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "qed")
PIECE = 1 << 20
CMK_ID, DESCRIPTION = "__system__cmkid", "__description"
BUSY, BUSY_S = "IMG.0090", 30.0

description_option = click.option("--description", default="", help="Up to 1024 characters.")
tag_option = click.option("--tag", "tags", multiple=True, help="May be repeated.")


@click.group()
def image() -> None:
    """Encrypted private images: disks to make volumes of."""


@image.command("import")
@click.argument("file", type=click.Path())
@click.argument("name")
@click.option("--key", "key_reference", metavar="KEY", help="Key id or alias; else ims/default.")
@click.option(
    "--format",
    "disk_format",
    type=click.Choice(FORMATS),
    help="What FILE must be; else its own marks tell.",
)
@click.option("--min-disk", type=Size(), help="The least size of a volume of it, like 10G.")
@description_option
@tag_option
@output_option
@pass_session
def import_image(
    session: Session,
    file: str,
    name: str,
    key_reference: str | None,
    disk_format: str | None,
    min_disk: int | None,
    description: str,
    tags: Sequence[str],
) -> None:
    """Make an image of a disk image file: raw, qcow2, qed, vmdk, vhd, vhdx or vdi.

    It is sent to evsd, which looks at all of it: one that needs other files, or of which a part is
    missing, is refused. On its way and in evsd it is never on a disk unencrypted.
    """
    if file == STREAM:
        raise UsageProblem("an image is sent by its length: give a file, not a stream")
    api = session.api
    wanted: Object = {"name": name, "container_format": "bare", "tags": list(tags)}
    wanted |= {"min_disk": min_disk or 0, DESCRIPTION: description}
    if disk_format is not None:
        wanted["disk_format"] = disk_format
    if key_reference is not None:
        wanted[CMK_ID] = api.key_id(key_reference)
    with failures_refused(), Path(file).open("rb") as opened:
        _show(session, _image_of(api, wanted, opened))


@image.command()
@click.argument("name")
@click.option(
    "--from-volume", "volume_name", metavar="VOLUME", required=True, help="What it is made of."
)
@description_option
@tag_option
@output_option
@pass_session
def create(
    session: Session, name: str, volume_name: str, description: str, tags: Sequence[str]
) -> None:
    """Make an image of a volume, under the volume's key.

    The volume must be available, and can't be attached meanwhile.
    """
    api = session.api
    volume = api.volume(volume_name)["volume"]
    wanted = {"name": name, "volume_id": volume["id"], "description": description}
    wanted["tags"] = list(tags)
    _show(session, _made(api, "/v2/cloudimages/action", wanted))


@image.command()
@click.argument("image_name", metavar="IMAGE")
@click.argument("name")
@click.option("--key", "key_reference", metavar="KEY", help="Another key; else the image's own.")
@description_option
@output_option
@pass_session
def copy(
    session: Session, image_name: str, name: str, key_reference: str | None, description: str
) -> None:
    """Copy an image, which encrypts it anew: the way to another key."""
    api = session.api
    source, wanted = api.image(image_name), {"name": name, "description": description}
    if key_reference is not None:
        wanted["cmk_id"] = api.key_id(key_reference)
    _show(session, _made(api, f"/v1/cloudimages/{source['id']}/copy", wanted))


@image.command("list")
@output_option
@pass_session
def list_images(session: Session) -> None:
    """List the images of the project."""
    answer = session.api.images()
    keys = KeyWords(session)
    rows = [_row(each, keys) for each in answer["images"]]
    columns = ["name", "size", "format", "status", "key", "id"]
    session.show(answer, lambda: table(rows, columns, "no images; evsctl image import makes one"))


@image.command()
@click.argument("name", metavar="IMAGE")
@output_option
@pass_session
def show(session: Session, name: str) -> None:
    """Show one image, by name or id."""
    _show(session, name)


@image.command()
@click.argument("name", metavar="IMAGE")
@click.option("--name", "new_name", help="A new name.")
@click.option("--description", help="A new description, up to 1024 characters.")
@output_option
@pass_session
def update(session: Session, name: str, new_name: str | None, description: str | None) -> None:
    """Rename an image, or describe it anew."""
    wanted = changes(name=new_name, description=description)
    image_id = session.api.image(name)["id"]
    paths = {"name": "/name", "description": f"/{DESCRIPTION}"}
    patch: list[Object] = [
        {"op": "replace", "path": paths[field], "value": value} for field, value in wanted.items()
    ]
    session.api.request("PATCH", f"/v2/images/{image_id}", patch)
    _show(session, image_id)


@image.command()
@click.argument("name", metavar="IMAGE")
@yes_option
@output_option
@pass_session
def delete(session: Session, name: str) -> None:
    """Destroy an image; volumes made of it stay as they are."""
    found = session.api.image(name)
    session.confirm(f"Destroy image {found['name']}?")
    answer = session.api.request("DELETE", f"/v2/images/{found['id']}")
    session.show(answer, lambda: f"image {found['name']} is gone")


def _image_of(api: Api, wanted: Object, file: BinaryIO) -> str:
    """Make an image of a file, or leave none; returns its id."""
    image_id, name = "", wanted["name"]
    try:
        with answered():
            image_id = str(api.request("POST", "/v2/images", wanted)["id"])
        _send(api, image_id, name, file)
        no_more_interrupts()
    except BaseException:  # Ctrl-C too
        if image_id:
            with uninterrupted():
                _delete_unfinished(api, image_id, name)
        raise
    return image_id


def _send(api: Api, image_id: str, name: str, file: BinaryIO) -> None:
    length = os.fstat(file.fileno()).st_size
    if length == 0:
        raise Refused("", f"{file.name} is empty", "")
    with noted("nothing of it was kept"), progress_bar(f"sending {name}") as progress:
        stream = Stream(length, _pieces(file, length, progress), lambda: _sha256(file))
        api.send(f"/v2/images/{image_id}/file", stream)


def _pieces(file: BinaryIO, length: int, progress: Callable[[int], None]) -> Iterator[bytes]:
    """As much as there was when it began: of a file that grows meanwhile no more is sent."""
    sent = 0
    while sent < length and (piece := file.read(min(PIECE, length - sent))):
        yield piece
        sent += len(piece)
        progress(100 * sent // length)
    if sent < length:
        raise Refused("", f"{file.name} became shorter while it was sent", "send it again")


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _delete_unfinished(api: Api, image_id: str, name: str) -> None:
    """Evsd takes a moment to notice that nothing more comes."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            api.request("DELETE", f"/v2/images/{image_id}")
        except Refused as error:
            if error.code == BUSY and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            warn(
                f"image {name} may be left: {error.problem.message}",
                f"when that is mended: evsctl image delete {name}",
            )
        return


def _made(api: Api, path: str, wanted: Object) -> str:
    """Have evsd make an image, and wait until it is there; returns its id."""
    name = wanted["name"]
    outcome = f"evsd goes on making it: evsctl image show {name}"
    with noted(outcome), progress_bar(f"making {name}") as progress:
        started = api.request("POST", path, wanted)
        return str(api.job(started["job_id"], progress)["entities"]["image_id"])


def _show(session: Session, name: str) -> None:
    answer = session.api.image(name)
    session.show(answer, lambda: _card(answer, KeyWords(session)))


def _row(found: Object, keys: KeyWords) -> dict[str, str]:
    size = found.get("virtual_size")
    return {
        "name": found["name"],
        "size": "-" if size is None else size_text(-(-size // GIB)),
        "format": found.get("disk_format") or "-",
        "status": found["status"],
        "key": keys[found[CMK_ID]],
        "id": found["id"],
    }


def _card(found: Object, keys: KeyWords) -> str:
    row = _row(found, keys)
    return card(
        {
            **{name: row[name] for name in ("name", "id", "status", "size", "format")},
            "key": f"{row['key']} ({found[CMK_ID]})",
            "made of": found["__data_origin"].replace(",", " "),
            "least volume": size_text(found["min_disk"]) if found["min_disk"] else "-",
            "protected": "yes" if found["protected"] else "no",
            "tags": ", ".join(found["tags"]) or "-",
            "description": found[DESCRIPTION] or "-",
            "created": f"{found['created_at'][:19].replace('T', ' ')} UTC",
        }
    )
