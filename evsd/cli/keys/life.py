"""evsctl key create, list, show, update, enable, disable, schedule-deletion, cancel-deletion."""

from __future__ import annotations

import time
from typing import Any

import click

from evsd.cli.client import ALIAS_PREFIX, Api
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.interrupts import answered
from evsd.cli.keys.words import STATES, day_and_time, rotation_fields, state
from evsd.cli.output import Session, card, changes, output_option, pass_session, table, yes_option
from evsd.cli.problems import warn

WAIT_POLL_S = 1.0


@click.command()
@click.argument("alias")
@click.option("--description", default="", help="Up to 255 characters.")
@output_option
@pass_session
def create(session: Session, alias: str, description: str) -> None:
    """Create a key in the HSM."""
    made = session.api.kms("create-key", key_alias=new_alias(alias), key_description=description)
    show_key(session, made["key_info"]["key_id"])


@click.command("list")
@click.option(
    "--state",
    "wanted_state",
    type=click.Choice(list(STATES.values())),
    help="Only keys in this state.",
)
@output_option
@pass_session
def list_keys(session: Session, wanted_state: str | None) -> None:
    """List the keys of the project."""
    codes = {word: code for code, word in STATES.items()}
    wanted = {"key_state": codes[wanted_state]} if wanted_state else {}
    answer = session.api.list_keys_response(**wanted)
    rows = map(_row, answer["key_details"])
    columns, empty = ["alias", "state", "kind", "id"], "no keys; evsctl key create makes one"
    session.show(answer, lambda: table(rows, columns, empty))


@click.command()
@click.argument("reference", metavar="KEY")
@click.option(
    "--wait",
    type=click.Choice([*STATES.values(), "destroyed"]),
    help="Wait until the key is in this state.",
)
@output_option
@pass_session
def show(session: Session, reference: str, wait: str | None) -> None:
    """Show one key."""
    key_id = session.api.key_id(reference)
    if wait is not None and not _await(session.api, key_id, wait):
        session.show({"key_id": key_id}, lambda: f"key {reference} is destroyed")
        return
    show_key(session, key_id)


@click.command()
@click.argument("reference", metavar="KEY")
@click.option("--alias", help="A new alias.")
@click.option("--description", help="A new description, up to 255 characters.")
@output_option
@pass_session
def update(session: Session, reference: str, alias: str | None, description: str | None) -> None:
    """Rename a key, or describe it anew."""
    wanted = changes(alias=alias, description=description)
    if alias is not None:
        new_alias(alias)
    key_id = session.api.key_id(reference)
    with answered():
        for field, value in wanted.items():
            session.api.kms(f"update-key-{field}", key_id=key_id, **{f"key_{field}": value})
    show_key(session, key_id)


@click.command()
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def enable(session: Session, reference: str) -> None:
    """Let a disabled key be used again."""
    answer = session.api.kms("enable-key", key_id=session.api.key_id(reference))
    session.show(answer, lambda: f"key {reference} is enabled")


@click.command()
@click.argument("reference", metavar="KEY")
@yes_option
@output_option
@pass_session
def disable(session: Session, reference: str) -> None:
    """Stop all use of a key, until it is enabled.

    Volumes under it that are attached go on; once detached they can't be attached again.
    """
    key_id = session.api.key_id(reference)
    if _tell_affected(session, reference, key_id):
        session.confirm("They can't be attached while the key is disabled. Disable it?")
    answer = session.api.kms("disable-key", key_id=key_id)
    session.show(answer, lambda: f"key {reference} is disabled")


@click.command("schedule-deletion")
@click.argument("reference", metavar="KEY")
@click.option("--days", type=int, default=30, show_default=True, help="Waiting period, 7 to 1096.")
@yes_option
@output_option
@pass_session
def schedule_deletion(session: Session, reference: str, days: int) -> None:
    """Destroy a key when a waiting period ends, and with it all that it encrypted.

    From now on it can't be used; volumes under it that are attached go on until they are detached.
    """
    key_id = session.api.key_id(reference)
    _tell_affected(session, reference, key_id)
    session.confirm(
        f"In {days} days key {reference} is destroyed, and nothing that was encrypted under it "
        "can be read ever again. Schedule its deletion?"
    )
    answer = session.api.kms("schedule-key-deletion", key_id=key_id, pending_days=str(days))
    undo = f"evsctl key cancel-deletion {reference}"
    session.show(answer, lambda: f"key {reference} will be destroyed in {days} days; undo: {undo}")


@click.command("cancel-deletion")
@click.argument("reference", metavar="KEY")
@output_option
@pass_session
def cancel_deletion(session: Session, reference: str) -> None:
    """Keep a key that is scheduled for deletion; it is disabled then."""
    answer = session.api.kms("cancel-key-deletion", key_id=session.api.key_id(reference))
    word = STATES[answer["key_state"]]
    session.show(answer, lambda: f"key {reference} is kept; it is {word}")


@click.command()
@output_option
@pass_session
def quotas(session: Session) -> None:
    """Show how many keys and grants the project may have."""
    answer = session.api.request("GET", "/v1.0/{project}/kms/user-quotas")
    rows = [
        {"kind": kind["type"], "used": str(kind["used"]), "quota": str(kind["quota"])}
        for kind in answer["quotas"]["resources"]
    ]
    session.show(answer, lambda: table(rows, ["kind", "used", "quota"], ""))


COMMANDS = (
    create,
    list_keys,
    show,
    update,
    enable,
    disable,
    schedule_deletion,
    cancel_deletion,
    quotas,
)


def show_key(session: Session, key_id: str) -> None:
    """Show the API's details of a key."""
    answer = session.api.kms("describe-key", key_id=key_id)
    session.show(answer, lambda: card(_card(session.api, answer["key_info"])))


def new_alias(alias: str) -> str:
    """An alias to give; ``alias/`` is how a request marks an alias, and no part of it."""
    if alias.startswith(ALIAS_PREFIX):
        raise UsageProblem(f"{alias!r}: say {alias.removeprefix(ALIAS_PREFIX)!r}")
    return alias


def _tell_affected(session: Session, reference: str, key_id: str) -> bool:
    """List, on standard error, what hangs on the key; returns whether there is anything."""
    affected = session.api.kms("list-key-dependents", key_id=key_id)["dependents"]
    kinds = dict.fromkeys(thing["kind"] for thing in affected)
    volumes = session.api.volumes()["volumes"] if "volume" in kinds else []
    status = {volume["id"]: f" ({volume['status']})" for volume in volumes}
    for kind in kinds:
        things = [thing for thing in affected if thing["kind"] == kind]
        names = ", ".join(thing["name"] + status.get(thing["id"], "") for thing in things)
        warn(f"{kind}s under key {reference}: {names}")
    return bool(affected)


def _await(api: Api, key_id: str, wanted: str) -> bool:
    """Wait for a state; False for a key that is destroyed, as was wanted."""
    while True:
        try:
            details = api.kms("describe-key", key_id=key_id)["key_info"]
        except Refused as error:
            if wanted == "destroyed" and error.code == "KMS.0207":
                return False
            raise
        if STATES.get(details["key_state"]) == wanted:
            return True
        time.sleep(WAIT_POLL_S)


def _row(details: dict[str, Any]) -> dict[str, str]:
    return {
        "alias": details["key_alias"],
        "id": details["key_id"],
        "state": state(details),
        "kind": "default" if details["default_key_flag"] == "1" else "custom",
    }


def _card(api: Api, details: dict[str, Any]) -> dict[str, str]:
    try:
        status = api.kms("get-key-rotation-status", key_id=details["key_id"])
    except Refused:  # of a key that is only lent
        status = None
    return {
        **_row(details),
        "origin": "imported" if details["origin"] == "external" else "made in the HSM",
        **(rotation_fields(status) if status else {}),
        "description": details["key_description"] or "-",
        "created": day_and_time(details["creation_date"]),
        "destroyed on": day_and_time(details["scheduled_deletion_date"]),
        "material until": day_and_time(details["expiration_time"]),
    }
