"""evsctl attach and detach: the API's attachment, and this host's device on top of it."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from evsd import connector
from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.hypervisors import HYPERVISORS, described
from evsd.cli.interrupts import no_more_interrupts, noted, uninterrupted
from evsd.cli.output import Session, output_option, pass_session
from evsd.cli.problems import warn
from evsd.cli.volumes import pool_trouble
from evsd.host import host_name

DEVICES = get_args(connector.Transport)


@click.command()
@click.argument("name", metavar="VOLUME")
@click.option(
    "--transport",
    type=click.Choice(["auto", *DEVICES, "uri", *HYPERVISORS]),
    default="auto",
    show_default=True,
    help="kernel: /dev/nbdN; fuse: /dev/loopN without the nbd module; uri: no device; "
    "auto: the first of these that this host can do; qemu, libvirt: no device, and what to tell "
    "that program.",
)
@click.option("--read-only", is_flag=True, help="Refuse every write.")
@output_option
@pass_session
def attach(session: Session, name: str, transport: str, read_only: bool) -> None:
    """Attach a volume to this host.

    Prints its device, its NBD URI, or the options or the XML that a hypervisor takes.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    if transport == "auto":
        transport = connector.best_transport() or "uri"
    if transport in DEVICES and os.geteuid() != 0:
        raise Refused(
            "",
            "only root can make a block device",
            f"run it as root, or without a device: evsctl attach {name} --transport uri gives an "
            "NBD URI, for qemu and others",
        )
    if (trouble := pool_trouble(volume)) and not read_only:
        warn(trouble, "a filesystem that replays its journal now loses files")
    host = _this_host(transport, "")
    with _undone_on_failure(api, volume, host):
        answer = _attach(api, volume, host, read_only=read_only)
        no_more_interrupts()
    session.show(answer, lambda: _place(transport, answer["attachment"], read_only=read_only))


def _place(transport: str, attachment: Object, *, read_only: bool) -> str:
    """Where a volume is now to be found."""
    if transport in HYPERVISORS:
        return described(transport, attachment, read_only=read_only)
    found = attachment["connector"]["mountpoint"] or attachment["connection_info"]["data"]["uri"]
    return str(found)


@contextmanager
def attached(api: Api, volume: Object, *, read_only: bool) -> Iterator[str]:
    """Attach a volume without a device, for the block; gives its NBD URI."""
    host = _this_host("uri", "")
    with _undone_on_failure(api, volume, host):
        answer = _attach(api, volume, host, read_only=read_only)["attachment"]
        yield answer["connection_info"]["data"]["uri"]
        with uninterrupted():
            # By force: it is nobody else's, and of our own tools only connections may be left.
            api.end_attachment(answer["id"], force=True)


def _attach(api: Api, volume: Object, host: Object, *, read_only: bool) -> Object:
    mode = "ro" if read_only else "rw"
    wanted = {"volume_uuid": volume["id"], "connector": host, "mode": mode}
    attachment = api.attachment("POST", body={"attachment": wanted})["attachment"]
    device = _connect(host["transport"], attachment, read_only=read_only)
    update = {"attachment": {"connector": {**host, "mountpoint": device}}}
    api.attachment("PUT", attachment["id"], update)
    api.attachment("POST", f"{attachment['id']}/action", {"os-complete": None})
    return api.attachment("GET", attachment["id"])


@contextmanager
def _undone_on_failure(api: Api, volume: Object, host: Object) -> Iterator[None]:
    """No half-made attachment is left behind, by Ctrl-C at any moment neither."""
    try:
        with noted(f"volume {volume['name']} is not attached"):
            yield
    except BaseException:
        with uninterrupted():
            _take_back(api, volume["name"], host["initiator"])
        raise


@click.command()
@click.argument("name", metavar="VOLUME")
@click.option(
    "--force",
    is_flag=True,
    help="Also when somebody is connected, who loses the disk; when another host has the device; "
    "or when what was written last can't be flushed: it is lost then.",
)
@output_option
@pass_session
def detach(session: Session, name: str, force: bool) -> None:
    """Detach a volume.

    Refused while its device is mounted or open, or can't be flushed, and while anybody is connected
    to its NBD socket.
    """
    api = session.api
    volume = api.volume(name)["volume"]
    attachments = volume["attachments"]
    if not attachments:
        raise Refused("", f"volume {volume['name']} is {volume['status']}, not attached", "")
    attachment = attachments[0]
    elsewhere = attachment["device"] and attachment["host_name"] != host_name()
    if elsewhere and not force:
        raise UsageProblem(
            f"host {attachment['host_name']} has it as {attachment['device']}: detach it there, "
            "or say --force if that host is gone"
        )
    if not force:
        _refuse_beside_device(api, volume, attachment["attachment_id"])
    _require_writable(api, attachment)
    with noted(f"if `evsctl show {volume['name']}` still has it attached, detach it again"):
        lost = _disconnect_from(volume, attachment["attachment_id"], force=force)
        answer = api.end_attachment(attachment["attachment_id"], force=force)
    session.show(answer, lambda: f"volume {volume['name']} is detached")
    for client in answer["disconnected"]:
        warn(f"{_words(client)} has lost its disk")
    if lost:
        warn(
            f"{lost}; what was written after the last sync is lost",
            "check the filesystem before use",
        )


COMMANDS = (attach, detach)


def _refuse_beside_device(api: Api, volume: Object, attachment_id: str) -> None:
    """Where more than the device is connected: evsd would refuse when that is gone already."""
    clients = api.attachment("GET", attachment_id)["attachment"]["clients"]
    others = [_words(client) for client in clients if not client["device"]]
    if others and len(others) < len(clients):
        raise Refused(
            "EVS.2068",
            f"volume {volume['name']} is in use, besides its device, by {', '.join(others)}",
            f"stop that first, or evsctl detach {volume['name']} --force",
        )


def _words(client: Object) -> str:
    """Who a client is."""
    if client["device"]:
        return "this host's device"
    name = client["program"] or "a process that can't be told"
    return f"{name} (process {client['pid']} of user {client['user']})" if client["pid"] else name


def _take_back(api: Api, name: str, initiator: str) -> None:
    """Undo an attach, also one whose answer never came: it is known by its initiator."""
    try:
        for attachment in api.attachment("GET")["attachments"]:
            if attachment["connector"].get("initiator") == initiator:
                _disconnect(attachment["id"], force=True)  # nobody was told of the device
                api.end_attachment(attachment["id"], force=True)
    except Refused as error:
        warn(
            f"the attach could not be undone: {error.problem.message}",
            f"when evsd answers again: evsctl detach {name}",
        )


def _this_host(transport: str, device: str) -> dict[str, Any]:
    return {
        "host": host_name(),
        "platform": platform.machine(),
        "os_type": "linux",
        "multipath": False,
        "initiator": f"evsctl-{uuid.uuid4()}",
        "transport": transport,
        "mountpoint": device,
    }


def _connect(transport: str, attachment: Object, *, read_only: bool) -> str:
    if transport not in DEVICES:
        return ""
    path = Path(attachment["connection_info"]["data"]["socket"])
    try:
        device = connector.connect(
            "kernel" if transport == "kernel" else "fuse",
            path,
            connector.identifier_of(attachment["id"]),
            read_only=read_only,
        )
    except connector.ConnectorError as error:
        raise _refused(error) from error
    return str(device.path)


def _disconnect(attachment_id: str, *, force: bool) -> str | None:
    """Take this host's device away, if it has one; returns why data is lost by `force`."""
    identifier = connector.identifier_of(attachment_id)
    try:
        # Who may make no devices has none; root also clears what is left of half a device.
        if os.geteuid() != 0 and connector.find(identifier) is None:
            return None
        return connector.disconnect(identifier, force=force)
    except connector.ConnectorError as error:
        raise _refused(error) from error


def _require_writable(api: Api, attachment: Object) -> None:
    """Have evsd note the device once more: where it can't write, the device must stay.

    Else it would be gone while the volume is still attached.
    """
    if not attachment["device"]:
        return
    known = api.attachment("GET", attachment["attachment_id"])["attachment"]
    if known["status"] == "attached":
        update = {"attachment": {"connector": known["connector"]}}
        api.attachment("PUT", attachment["attachment_id"], update)


def _disconnect_from(volume: Object, attachment_id: str, *, force: bool) -> str | None:
    """`_disconnect`; where the pool is what keeps a device from being flushed, that is said."""
    trouble = pool_trouble(volume)
    if trouble and force:
        warn(trouble)
    try:
        return _disconnect(attachment_id, force=force)
    except Refused as error:
        if trouble and isinstance(error.__cause__, connector.DeviceNotFlushed):
            forced = isinstance(error.__cause__, connector.WritesFailed)
            then = "with --force, attach again and check the filesystem" if forced else "again"
            remedy = f"{trouble}; then detach {then}"
            raise Refused(error.code, error.problem.message, remedy) from error
        raise


def _refused(error: connector.ConnectorError) -> Refused:
    return Refused("", error.message, error.remedy)
