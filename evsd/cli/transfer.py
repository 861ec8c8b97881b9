"""evsctl import and export: disk images into volumes, and back.

A volume that is imported has another name until it is whole, a file that is exported too. So
whatever interrupts them, nothing half-made is ever taken for the whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from evsd import connector
from evsd.cli import images, luks, tools
from evsd.cli.attachments import attached, socket_of
from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.interrupts import no_more_interrupts, noted, uninterrupted
from evsd.cli.output import Session, output_option, pass_session
from evsd.cli.problems import warn
from evsd.cli.progress import progress_bar
from evsd.cli.secrets import hidden, passphrase
from evsd.cli.tools import Progress
from evsd.cli.volumes import create_volume, show_volume, thick_option
from evsd.connector.writing import write_data
from evsd.durable import sync

GIB = 1024**3
MAX_NAME = 255
STREAM = "-"
PIECE = 1 << 20
# Why an attach is refused that asks for the key: its state, no delegation, no key service.
KEY_UNUSABLE = ("EVS.2040", "EVS.2055", "KMS.0104")
FAILURES = (tools.ToolFailed, connector.ConnectorError, OSError)

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    help="A LUKS passphrase: the first line of this file. Else it is asked for.",
)
key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="A LUKS key: all of this file, as cryptsetup's --key-file.",
)


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
    with _told(), noted("nothing was imported"), images.opened(Path(file)) as image:
        kind = image_format or images.recognised(image)
        with contextlib.ExitStack() as stack:
            secret = None
            if kind == "luks":
                images.refuse_own_volume(image)
                given = passphrase(
                    f"Passphrase of {file}", passphrase_file, key_file, twice=False
                )  # fmt: skip
                secret = stack.enter_context(hidden(given))
            with progress_bar(f"checking {file}") as progress:
                source = images.inspected(
                    image, kind, progress, secret=secret, guessed=image_format is None
                )
            _refuse_damage(image, source, force=force_damaged)
            _refuse_bad_name(session.api, name)
            passing = f"{_passing(name)}{secrets.token_hex(4)}"
            with _deleted_on_failure(session.api, passing):
                volume = create_volume(
                    session.api,
                    passing,
                    -(-source.size // GIB),
                    key_reference,
                    thick,
                    f"imported from {image.path.name}"[:255],
                )
                _copy(session.api, source, volume, name, salvage=force_damaged)
                image.refuse_changed()
                no_more_interrupts()
                _rename(session.api, volume["id"], name)
    show_volume(session, volume["id"])


def _refuse_damage(image: images.Image, source: images.Source, *, force: bool) -> None:
    """Whole or not at all; with `force` only told."""
    for damage in source.damage:
        if not force:
            remedy = f"{damage.remedy}; --force-damaged imports what is left of it"
            raise Refused("", f"{image.path} {damage.what}", remedy)
        warn(f"{image.path} {damage.what}")


def _passing(name: str) -> str:
    """What a volume is called until it is whole, but for 8 random digits."""
    return f"{name[: MAX_NAME - 22]}.importing-"


def _copy(api: Api, source: images.Source, volume: Object, name: str, *, salvage: bool) -> None:
    with (
        _in_use(api, volume, read_only=False) as uri,
        progress_bar(f"importing {name}") as progress,
    ):
        missing = source.copy_to(uri, progress, salvage=salvage)
        flush(uri)
    for what in missing:
        warn(what)


@contextmanager
def _in_use(api: Api, volume: Object, *, read_only: bool) -> Iterator[str]:
    """The volume's URI, for the block.

    A key that may not be used any more ends the volume's server, and the tool that copies hears
    of a lost connection. So then evsd is asked whether the volume can be attached: it names the
    key, its state and the remedy.
    """
    try:
        with attached(api, volume, read_only=read_only) as uri:
            yield uri
    except FAILURES as failure:
        try:
            with attached(api, volume, read_only=True):
                pass
        except Refused as error:
            if error.code in KEY_UNUSABLE:
                raise error from failure
        raise


def _refuse_bad_name(api: Api, name: str) -> None:
    """Before anything is copied: the volume gets its name last.

    What evsd has against the name itself it says before it looks for the volume.
    """
    try:
        _rename(api, str(uuid.uuid4()), name)
    except Refused as error:
        if error.code != "EVS.5404":
            raise
    volumes = api.volumes()["volumes"]
    if any(volume["name"] == name for volume in volumes):
        raise Refused(
            "EVS.1003",
            f"a volume named {name} exists already in this project",
            "choose another name, or delete that volume",
        )
    for volume in volumes:
        if volume["name"].startswith(_passing(name)):
            _tell_of_leftover(volume)


def _tell_of_leftover(volume: Object) -> None:
    detach = f"evsctl detach {volume['id']}; " if volume["attachments"] else ""
    warn(
        f"volume {volume['name']} ({volume['status']}) is of another import, which still runs or "
        "was killed",
        f"if it was killed: {detach}evsctl delete {volume['id']}",
    )


def flush(uri: str) -> None:
    """Make sure that the copy is on disk; raises OSError.

    qemu-img drops the result of its own last flush, but a server of ours keeps a failure.
    """
    write_data(socket_of(uri), [])


def _rename(api: Api, volume_id: str, name: str) -> None:
    api.request("PUT", f"/v2/{{project}}/cloudvolumes/{volume_id}", {"volume": {"name": name}})


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


@click.command()
@click.argument("name", metavar="VOLUME")
@click.argument("file", type=click.Path())
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["raw", "qcow2", "luks2"]),
    default="raw",
    show_default=True,
    help="luks2: encrypted under a new key, for a passphrase; stock cryptsetup opens it. "
    "raw and qcow2 are not encrypted.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@passphrase_option
@key_file_option
@output_option
@pass_session
def export(
    session: Session,
    name: str,
    file: str,
    file_format: str,
    force: bool,
    passphrase_file: Path | None,
    key_file: Path | None,
) -> None:
    """Copy a volume to a file that needs no evsd.

    The volume must be available; it is attached meanwhile, for reading only. FILE is readable by
    its owner alone. What is unused on a thin volume stays a hole in a raw file. A FILE called -
    is standard output.
    """
    if file == STREAM:
        _export_stream(session.api, name, file_format)
        return
    api, path = session.api, Path(file)
    with _told(), noted("no file was written"), _new_file(path, force=force) as partial:
        volume = api.volume(name)["volume"]
        secret = b""
        if file_format == "luks2":
            secret = passphrase(f"Passphrase for {file}", passphrase_file, key_file, twice=True)
        with (
            _in_use(api, volume, read_only=True) as uri,
            progress_bar(f"exporting {volume['name']}") as progress,
        ):
            if file_format == "luks2":
                luks.encrypt(uri, volume["size"] * GIB, partial, secret, progress)
            else:
                _convert(uri, partial, file_format, progress)
    show_volume(session, volume["id"])


def _export_stream(api: Api, name: str, file_format: str) -> None:
    """Write a volume to standard output, and nothing else."""
    if file_format != "raw":
        raise UsageProblem(
            f"{file_format} can't be written to a stream, its beginning is written last: "
            "export it to a file, or say --format raw"
        )
    if sys.stdout.isatty():
        raise UsageProblem("standard output is a terminal: redirect it, or name a file")
    with _told(), noted("standard output has a part of the volume only"):
        volume = api.volume(name)["volume"]
        size = volume["size"] * GIB
        with (
            _in_use(api, volume, read_only=True) as uri,
            progress_bar(f"exporting {volume['name']}") as progress,
        ):
            written = 0
            # By way of us: on a file nbdcopy would write anywhere at once, not one after the other.
            for piece in tools.stream(["nbdcopy", uri, "-"], PIECE):
                _write(sys.stdout.fileno(), piece)
                written += len(piece)
                progress(100 * written // size)
            if written != size:
                raise Refused("", f"volume {volume['name']} was not read to its end", "")


def _write(descriptor: int, data: bytes) -> None:
    while data:  # unbuffered: what can't be written is not tried again at the very end
        data = data[os.write(descriptor, data) :]


def _convert(uri: str, file: Path, file_format: str, progress: Progress) -> None:
    words = ["qemu-img", "convert", "-p", "-t", "writeback", "-f", "raw", "-O", file_format]
    tools.copy([*words, uri, str(file.absolute())], progress)


@contextmanager
def _new_file(target: Path, *, force: bool) -> Iterator[Path]:
    """A file beside `target` that takes its place at the end of the block, or is removed."""
    _refuse_existing(target, force=force)
    try:
        descriptor, name = tempfile.mkstemp(".partial", f".{target.name[:200]}.", target.parent)
    except OSError as error:
        raise Refused("", f"{target}: {error.strerror}", "") from error
    partial = Path(name)
    try:
        yield partial
        # Of this descriptor: one opened now would not hear of a failure that a tool's own flush
        # has consumed, and not told.
        os.fsync(descriptor)
        _refuse_existing(target, force=force)  # one that came meanwhile
        no_more_interrupts()
        partial.replace(target)
        sync(target.parent)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _refuse_existing(target: Path, *, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_file():  # nor a link to one
        remedy = "standard output is called -" if target == Path("/dev/stdout") else ""
        raise Refused("", f"{target} is not a regular file", remedy)
    if not force:
        raise Refused("", f"{target} exists", "--force replaces it")


@contextmanager
def _told() -> Iterator[None]:
    """What a tool or the filesystem could not do, as evsctl says it."""
    try:
        yield
    except (tools.ToolFailed, connector.ConnectorError) as error:
        raise Refused("", str(error), "nothing half-made was left") from error
    except OSError as error:
        what = error.filename or "the copy failed"
        raise Refused("", f"{what}: {error.strerror or error}", "") from error


COMMANDS = (import_volume, export)
