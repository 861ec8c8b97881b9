"""evsctl attach and detach: the API's attachment, and this host's device on top of it."""

from __future__ import annotations

import os
import platform
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

import click

from evsd import connector
from evsd.cli.client import Api
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.output import Session, output_option, pass_session


@click.command()
@click.argument("name")
@click.option(
    "--transport",
    type=click.Choice(["auto", "kernel", "fuse", "uri"]),
    default="auto",
    show_default=True,
    help="kernel: /dev/nbdN; fuse: /dev/loopN without the nbd module; uri: no device; "
    "auto: the first of these that this host can do.",
)
@click.option("--read-only", is_flag=True, help="Refuse every write.")
@output_option
@pass_session
def attach(session: Session, name: str, transport: str, read_only: bool) -> None:
    """Attach a volume to this host.

    Prints its device, or its NBD URI.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    if transport == "auto":
        transport = connector.best_transport() or "uri"
    host = _this_host(transport, "")
    mode = "ro" if read_only else "rw"
    wanted = {"volume_uuid": volume["id"], "connector": host, "mode": mode}
    try:
        attachment = api.attachment("POST", body={"attachment": wanted})["attachment"]
        device = _connect(transport, attachment, read_only=read_only)
        update = {"attachment": {"connector": {**host, "mountpoint": device}}}
        api.attachment("PUT", attachment["id"], update)
        api.attachment("POST", f"{attachment['id']}/action", {"os-complete": None})
        answer = api.attachment("GET", attachment["id"])
        _no_more_interrupts()  # done: what is left is to say so
    except BaseException:  # Ctrl-C too, at any moment: no half-made attachment is left behind
        _take_back(api, volume["name"], host["initiator"])
        raise
    uri = answer["attachment"]["connection_info"]["data"]["uri"]
    session.show(answer, lambda: device or str(uri))


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also when another host has the device.")
@output_option
@pass_session
def detach(session: Session, name: str, force: bool) -> None:
    """Detach a volume.

    Refused while its device is mounted or open.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    attachments = volume["attachments"]
    if not attachments:
        raise Refused("", f"volume {volume['name']} is {volume['status']}, not attached", "")
    attachment = attachments[0]
    elsewhere = attachment["device"] and attachment["host_name"] != socket.gethostname()
    if elsewhere and not force:
        raise UsageProblem(
            f"host {attachment['host_name']} has it as {attachment['device']}: detach it there, "
            "or say --force if that host is gone"
        )
    lost = _disconnect(attachment["attachment_id"])
    answer = api.attachment("DELETE", attachment["attachment_id"])
    session.show(answer, lambda: f"volume {volume['name']} is detached")
    if lost:
        raise Refused(
            "", f"{lost}; what was written last may be lost", "check the filesystem before use"
        )


COMMANDS = (attach, detach)


def _no_more_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _take_back(api: Api, name: str, initiator: str) -> None:
    """Undo an attach, also one whose answer never came: it is known by its initiator."""
    _no_more_interrupts()
    try:
        for attachment in api.attachment("GET")["attachments"]:
            if attachment["connector"].get("initiator") == initiator:
                _disconnect(attachment["id"])
                api.attachment("DELETE", attachment["id"])
    except Refused as error:
        click.echo(f"Warning: the attach could not be undone: {error.message}", err=True)
        click.echo(f"  when evsd answers again: evsctl detach {name}", err=True)


def _this_host(transport: str, device: str) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "platform": platform.machine(),
        "os_type": "linux",
        "multipath": False,
        "initiator": f"evsctl-{uuid.uuid4()}",
        "transport": transport,
        "mountpoint": device,
    }


def _identifier(attachment_id: str) -> str:
    """How the device of an attachment is recognised on this host."""
    return f"evsd-{attachment_id}"


def _connect(transport: str, attachment: dict[str, Any], *, read_only: bool) -> str:
    if transport == "uri":
        return ""
    path = Path(attachment["connection_info"]["data"]["socket"])
    try:
        device = connector.connect(
            "kernel" if transport == "kernel" else "fuse",
            path,
            _identifier(attachment["id"]),
            read_only=read_only,
        )
    except connector.ConnectorError as error:
        raise _refused(error) from error
    return str(device.path)


def _disconnect(attachment_id: str) -> str | None:
    """Take this host's device away, if it has one; returns why data may be lost."""
    identifier = _identifier(attachment_id)
    try:
        # Who may make no devices has none; root also clears what is left of half a device.
        if os.geteuid() != 0 and connector.find(identifier) is None:
            return None
        return connector.disconnect(identifier)
    except connector.ConnectorError as error:
        raise _refused(error) from error


def _refused(error: connector.ConnectorError) -> Refused:
    return Refused("", error.message, error.remedy)
