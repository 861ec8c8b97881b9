"""Snapshots by the cloud's own SDK, as a script of a user's has them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import huaweicloudsdkevs.v2 as evs

from nbd_plugin import luks2
from tests.support.daemon import Evsd, until


def creation(volume_id: str, **fields: Any) -> evs.CreateSnapshotRequest:
    """A request to take a snapshot."""
    wanted = evs.CreateSnapshotOption(volume_id=volume_id, **fields)
    return evs.CreateSnapshotRequest(body=evs.CreateSnapshotRequestBody(snapshot=wanted))


def take(sdk: Any, volume_id: str, **fields: Any) -> str:
    """Take a snapshot, and wait until it is available; returns its id."""
    snapshot_id = str(sdk.create_snapshot(creation(volume_id, **fields)).snapshot.id)
    until(lambda: show(sdk, snapshot_id).status != "creating")
    assert show(sdk, snapshot_id).status == "available"
    return snapshot_id


def show(sdk: Any, snapshot_id: str) -> Any:
    return sdk.show_snapshot(evs.ShowSnapshotRequest(snapshot_id=snapshot_id)).snapshot


def remove(sdk: Any, snapshot_id: str) -> None:
    """Delete a snapshot, and wait until it is gone."""
    sdk.delete_snapshot(evs.DeleteSnapshotRequest(snapshot_id=snapshot_id))
    until(lambda: is_gone(sdk, snapshot_id))


def is_gone(sdk: Any, snapshot_id: str) -> bool:
    listed = sdk.list_snapshots(evs.ListSnapshotsRequest(id=snapshot_id))
    assert {snapshot.status for snapshot in listed.snapshots} <= {"deleting"}
    return not listed.snapshots


def rollback(snapshot_id: str, volume_id: str, name: str | None = None) -> Any:
    """A request to roll a volume back."""
    wanted = evs.RollbackSnapshotOption(volume_id=volume_id, name=name)
    body = evs.RollbackSnapshotRequestBody(rollback=wanted)
    return evs.RollbackSnapshotRequest(snapshot_id=snapshot_id, body=body)


def changes(snapshot_id: str, **fields: Any) -> evs.UpdateSnapshotRequest:
    """A request to change name or description."""
    body = evs.UpdateSnapshotRequestBody(snapshot=evs.UpdateSnapshotOption(**fields))
    return evs.UpdateSnapshotRequest(snapshot_id=snapshot_id, body=body)


def files_of(evsd: Evsd, volume_id: str) -> list[str]:
    """The names of the pool's files that say they are this volume's."""
    found = []
    for path in sorted(evsd.pool.iterdir()):
        with suppress(FileNotFoundError, luks2.HeaderError), path.open("rb") as file:
            if luks2.read(file.fileno()).uuid == volume_id:
                found.append(path.name)
    return found
