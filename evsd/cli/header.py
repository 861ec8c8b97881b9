"""evsctl header: backing up a volume's LUKS2 header, and putting it back."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import click

from evsd.cli.errors import Refused
from evsd.cli.output import Session, output_option, pass_session, yes_option
from evsd.durable import sync

PATH = "/v3/{{project}}/volumes/{}/header"
LENGTH = 1024 * 1024  # of a backup


@click.group()
def header() -> None:
    """Back up a volume's header: without it nobody can read the volume.

    It holds the data key, wrapped under the CMK, and the keyslots that an administrator added; each
    copy of it has to be kept as safe as those. One backup is good for the volume's whole life, also
    after it was extended. Restored, it brings back keyslots that were removed since.
    """


@header.command()
@click.argument("name", metavar="VOLUME")
@click.argument("file", type=click.Path(path_type=Path))
@output_option
@pass_session
def backup(session: Session, name: str, file: Path) -> None:
    """Write the header of VOLUME to FILE, which must not exist yet.

    FILE is what `cryptsetup luksHeaderBackup` writes, readable by its owner alone.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    answer = api.request("GET", PATH.format(volume["id"]))
    _write_new(file, base64.b64decode(answer["header"]["data"]))
    session.show(answer, lambda: f"the header of volume {volume['name']} is in {file}")


def _write_new(file: Path, data: bytes) -> None:
    """Make a file, whole and on disk, or none."""
    if str(file) == "-":
        raise Refused("", "a backup is not written to standard output", "name a file")
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused(
            "", f"{file} exists", "a backup replaces no other: name a new file"
        ) from error
    except OSError as error:
        raise Refused("", f"{file}: {error.strerror}", "") from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        sync(file.absolute().parent)
    except BaseException as error:  # Ctrl-C too
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise Refused("", f"{file}: {error.strerror}", "nothing of it was left") from error
        raise


@header.command()
@click.argument("name", metavar="VOLUME")
@click.argument("file", type=click.Path(path_type=Path))
@yes_option
@output_option
@pass_session
def restore(session: Session, name: str, file: Path) -> None:
    """Put a backup of its header back onto VOLUME, which must be available.

    evsd makes sure that it is this volume's, by the data key in it; the volume keeps its size and
    its data. The key must be enabled.
    """
    data = _read(file)
    api = session.api
    volume = api.volume(name)["volume"]
    session.confirm(f"Replace the header of volume {volume['name']} by the one in {file}?")
    body = {"header": {"data": base64.b64encode(data).decode()}}
    answer = api.request("PUT", PATH.format(volume["id"]), body)
    session.show(answer, lambda: f"volume {volume['name']} has the header that was in {file}")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(LENGTH + 1)
    except OSError as error:
        raise Refused("", f"{file}: {error.strerror}", "") from error
    if len(data) != LENGTH:
        size = f"{len(data)} bytes" if len(data) < LENGTH else "more than 1 MiB"
        raise Refused("", f"{file} is no backup of a header: it has {size}, not 1 MiB", "")
    return data
