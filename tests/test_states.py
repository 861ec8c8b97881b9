"""Each state machine over the full product of states and events."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from evsd.services.evs.attachments.states import (
    ATTACHMENT_STATES,
    AttachmentEvent,
    AttachmentStatus,
)
from evsd.services.evs.snapshots.states import SNAPSHOT_STATES, SnapshotEvent, SnapshotStatus
from evsd.services.evs.volumes.states import VOLUME_STATES, VolumeEvent, VolumeStatus
from evsd.services.ims.states import IMAGE_STATES, ImageEvent, ImageStatus
from evsd.services.kms.states import KEY_STATES, KeyEvent, KeyState
from evsd.serving.states import SERVER_STATES, ServerEvent, ServerStatus
from evsd.state_machine import StateMachine

# What the published API says, written down once more and by hand: (state, event, state after).
KEYS = """
enabled disable disabled
disabled enable enabled
enabled schedule-deletion pending-deletion
disabled schedule-deletion pending-deletion
pending-import schedule-deletion pending-deletion
pending-deletion cancel-deletion disabled
pending-import import enabled
enabled lose-material pending-import
disabled lose-material pending-import
pending-deletion destroy destroyed
"""
VOLUMES = """
creating created available
creating create-failed error
available reserve reserved
reserved attach attaching
attaching attached in-use
reserved detach detaching
attaching detach detaching
in-use detach detaching
detaching detach detaching
detaching detached available
available extend extending
in-use extend extending
extending extension-ended-attached in-use
extending extension-ended-detaching detaching
extending extended available
extending extension-undone available
extending extension-failed error-extending
error-extending extend extending
error-extending delete deleting
available roll-back rollbacking
error-rollbacking roll-back rollbacking
rollbacking rolled-back available
rollbacking rollback-undone available
rollbacking rollback-failed error-rollbacking
error-rollbacking delete deleting
available upload uploading
uploading uploaded available
available delete deleting
error delete deleting
error-deleting delete deleting
deleting deletion-undone available
deleting delete-failed error-deleting
"""
SNAPSHOTS = """
creating created available
creating create-failed error
available roll-back rollbacking
rollbacking rollback-ended available
available delete deleting
error delete deleting
error-deleting delete deleting
deleting delete-failed error-deleting
"""
ATTACHMENTS = """
reserved serve starting
starting served attaching
attaching complete attached
reserved detach detaching
starting detach detaching
attaching detach detaching
attached detach detaching
detaching detach detaching
"""
IMAGES = """
queued upload saving
saving upload-undone queued
saving saved active
saving save-failed killed
queued delete pending-delete
active delete pending-delete
killed delete pending-delete
pending-delete deletion-undone active
pending-delete delete-failed killed
"""
SERVERS = """
wanted keep kept
wanted end ending
kept end ending
ending end ending
"""


def name(state: StrEnum) -> str:
    return state.name.lower().replace("_", "-")


@pytest.mark.parametrize(
    ("machine", "states", "events", "allowed"),
    [
        (KEY_STATES, KeyState, KeyEvent, KEYS),
        (VOLUME_STATES, VolumeStatus, VolumeEvent, VOLUMES),
        (SNAPSHOT_STATES, SnapshotStatus, SnapshotEvent, SNAPSHOTS),
        (ATTACHMENT_STATES, AttachmentStatus, AttachmentEvent, ATTACHMENTS),
        (IMAGE_STATES, ImageStatus, ImageEvent, IMAGES),
        (SERVER_STATES, ServerStatus, ServerEvent, SERVERS),
    ],
    ids=["key", "volume", "snapshot", "attachment", "image", "server"],
)
def test_the_table_allows_exactly_the_published_changes(
    machine: StateMachine[Any, Any], states: type[StrEnum], events: type[StrEnum], allowed: str
) -> None:
    expected = {tuple(line.split()) for line in allowed.split("\n") if line}
    found = {
        (name(state), str(event), name(after))
        for state in states
        for event in events
        if (after := machine.after(state, event)) is not None
    }
    assert found == expected
