"""evsctl export: a volume into a file that needs no evsd, or to standard output."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evsd import images
from evsd.cli.client import Api
from evsd.cli.copying import GIB, STREAM, attached_for_copy, failures_refused
from evsd.cli.errors import UsageProblem
from evsd.cli.interrupts import no_more_interrupts, noted
from evsd.cli.output import Session, output_option, pass_session
from evsd.cli.progress import progress_bar
from evsd.cli.secrets import key_file_option, passphrase, passphrase_option
from evsd.cli.volumes import show_volume


@click.command()
@click.argument("name", metavar="VOLUME")
@click.argument("file", type=click.Path())
@click.option(
    "--format",
    "file_format",
    type=click.Choice(images.EXPORT_FORMATS),
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
    with (
        failures_refused(),
        noted("no file was written"),
        images.new_file(path, replace=force, committing=no_more_interrupts) as partial,
    ):
        volume = api.volume(name)["volume"]
        secret = b""
        if file_format == "luks2":
            secret = passphrase(f"Passphrase for {file}", passphrase_file, key_file, twice=True)
        with (
            attached_for_copy(api, volume, read_only=True) as uri,
            progress_bar(f"exporting {volume['name']}") as progress,
        ):
            images.export_file(
                uri, volume["size"] * GIB, partial, file_format, progress, passphrase=secret
            )
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
    with failures_refused(), noted("standard output has a part of the volume only"):
        volume = api.volume(name)["volume"]
        with (
            attached_for_copy(api, volume, read_only=True) as uri,
            progress_bar(f"exporting {volume['name']}") as progress,
        ):
            images.export_stream(
                uri,
                volume["size"] * GIB,
                sys.stdout.fileno(),
                progress,
                name=f"volume {volume['name']}",
            )


COMMANDS = (export,)
