"""evsctl import: a disk image into a volume.

A volume that is imported has another name until it is whole. So whatever interrupts it, nothing
half-made is ever taken for the whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from evsd import images
from evsd.cli.client import Api, Object
from evsd.cli.copying import GIB, STREAM, attached_for_copy, failures_refused
from evsd.cli.create import check_volume, create_volume, thick_option, wanted_volume
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.interrupts import no_more_interrupts, noted, uninterrupted
from evsd.cli.output import Session, output_option, pass_session
from evsd.cli.problems import note, warn
from evsd.cli.progress import progress_bar
from evsd.cli.secrets import key_file_option, passphrase, passphrase_option
from evsd.cli.volumes import show_volume

MAX_NAME = 255


@click.command("import")
@click.argument("file", type=click.Path())
@click.argument("name")
@click.option("--key", "key_reference", metavar="KEY", help="Key id or alias; else evs/default.")
@thick_option
@click.option(
    "--format",
    "image_format",
    type=click.Choice(images.FORMATS),
    help="What FILE is; else its own marks tell. luks: LUKS1 or LUKS2; gzip, xz, bzip2 and zstd: "
    "a raw image that is compressed.",
)
@click.option(
    "--force-damaged",
    is_flag=True,
    help="Import what is left of an image that is cut or damaged; what is missing reads as zeros.",
)
@passphrase_option
@key_file_option
@output_option
@pass_session
def import_volume(
    session: Session,
    file: str,
    name: str,
    key_reference: str | None,
    thick: bool,
    image_format: str | None,
    force_damaged: bool,
    passphrase_file: Path | None,
    key_file: Path | None,
) -> None:
    """Make a volume of a disk image: raw, qcow2, qed, vmdk, vhd, vhdx, vdi or LUKS.

    Its size is that of the disk in FILE, rounded up to whole GiB; what is a hole in FILE stays
    one, unless --thick. An image that needs other files, or of which a part is missing, is
    refused.
    """
    if file == STREAM:
        raise UsageProblem("an image is read more than once: give a file, not a stream")
    ask = partial(passphrase, f"Passphrase of {file}", passphrase_file, key_file, twice=False)
    with (
        failures_refused(),
        noted("nothing was imported"),
        images.open_image(Path(file)) as image,
    ):
        kind = image_format or images.detect_format(image)
        with progress_bar(f"checking {file}") as progress:
            source = images.inspect(
                image, kind, progress, passphrase=ask, guessed=image_format is None
            )
        _tell(image, source, force=force_damaged)
        size, description = -(-source.size // GIB), f"imported from {image.path.name}"[:255]
        wanted = wanted_volume(session.api, name, size, key_reference, thick, description)
        volume_id = _volume_of(session.api, image, source, wanted, salvage=force_damaged)
    show_volume(session, volume_id)


def _tell(image: images.ImageFile, source: images.Source, *, force: bool) -> None:
    """What is known of an image; one that is damaged is refused, or with `force` only warned of."""
    for text in source.findings.notes:
        note(text)
    for damage in source.findings.damage:
        if not force:
            remedy = f"{damage.remedy}; --force-damaged imports what is left of it"
            raise Refused("", f"{image.path} {damage.what}", remedy)
        warn(f"{image.path} {damage.what}")


def _volume_of(
    api: Api, image: images.ImageFile, source: images.Source, wanted: Object, *, salvage: bool
) -> str:
    """Make the volume that is wanted of an image; returns its id."""
    name = wanted["name"]
    check_volume(api, wanted)  # before anything is copied: it gets its name last
    _tell_of_leftovers(api, name)
    unfinished = f"{_unfinished(name)}{secrets.token_hex(4)}"
    with _deleted_on_failure(api, unfinished):
        volume = create_volume(api, {**wanted, "name": unfinished})
        _copy(api, source, volume, name, salvage=salvage)
        image.refuse_changed()
        no_more_interrupts()
        path = f"/v2/{{project}}/cloudvolumes/{volume['id']}"
        api.request("PUT", path, {"volume": {"name": name}})
    return str(volume["id"])


def _unfinished(name: str) -> str:
    """What a volume is called until it is whole, but for 8 random digits."""
    return f"{name[: MAX_NAME - 22]}.importing-"


def _copy(api: Api, source: images.Source, volume: Object, name: str, *, salvage: bool) -> None:
    with (
        attached_for_copy(api, volume, read_only=False) as uri,
        progress_bar(f"importing {name}") as progress,
    ):
        missing = source.copy_to(uri, progress, salvage=salvage)
    for what in missing:
        warn(what)


def _tell_of_leftovers(api: Api, name: str) -> None:
    """Volumes of other imports of the same name."""
    for volume in api.volumes()["volumes"]:
        if not volume["name"].startswith(_unfinished(name)):
            continue
        detach = f"evsctl detach {volume['id']}; " if volume["attachments"] else ""
        warn(
            f"volume {volume['name']} ({volume['status']}) is of another import, which still runs "
            "or was killed",
            f"if it was killed: {detach}evsctl delete {volume['id']}",
        )


@contextmanager
def _deleted_on_failure(api: Api, name: str) -> Iterator[None]:
    """The volume that the block makes under a name which no other has."""
    try:
        yield
    except BaseException:  # Ctrl-C too
        with uninterrupted():
            try:
                for volume in api.volumes(name=name)["volumes"]:
                    api.delete_volume(volume["id"])
            except Refused as error:
                warn(
                    f"volume {name} may be left: {error.problem.message}",
                    f"when that is mended: evsctl delete {name}",
                )
        raise
