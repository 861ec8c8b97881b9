"""evsctl key rotate, rotation."""

from __future__ import annotations

import click

from evsd.cli.client import Api, Object
from evsd.cli.interrupts import answered
from evsd.cli.keys.words import rotation_fields
from evsd.cli.output import Session, card, output_option, pass_session


@click.command()
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def rotate(session: Session, reference: str) -> None:
    """Rotate a key now: a new version encrypts, the old ones still decrypt."""
    api, key_id = session.api, session.api.key_id(reference)
    answer = api.kms("rotate-on-demand", key_id=key_id)
    session.show(answer, lambda: f"key {reference} is rotated\n{_shown(_status(api, key_id))}")


@click.command()
@click.argument("reference", metavar="KEY")
@click.option(
    "--every",
    metavar="DAYS",
    type=click.IntRange(30, 365),
    help="Rotate it by itself, every 30 to 365 days.",
)
@click.option("--off", is_flag=True, help="Rotate it no more.")
@output_option
@pass_session
def rotation(session: Session, reference: str, every: int | None, off: bool) -> None:
    """Show, or change, how often a key is rotated."""
    if every is not None and off:
        raise click.UsageError("--every and --off exclude each other")
    api, key_id = session.api, session.api.key_id(reference)
    with answered():
        if off:
            api.kms("disable-key-rotation", key_id=key_id)
        elif every is not None:
            if not _status(api, key_id)["key_rotation_enabled"]:
                api.kms("enable-key-rotation", key_id=key_id)
            api.kms("update-key-rotation-interval", key_id=key_id, rotation_interval=every)
    answer = _status(api, key_id)
    session.show(answer, lambda: _shown(answer))


COMMANDS = (rotate, rotation)


def _status(api: Api, key_id: str) -> Object:
    return api.kms("get-key-rotation-status", key_id=key_id)


def _shown(status: Object) -> str:
    return card(rotation_fields(status))
