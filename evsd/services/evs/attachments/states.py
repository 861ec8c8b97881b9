"""The life of an attachment: one table, in Cinder's words. A detached one has no record."""

from __future__ import annotations

from enum import StrEnum

from evsd.state_machine import StateMachine


class AttachmentStatus(StrEnum):
    """Cinder's attachment states, with `detaching` for the time its server takes to end."""

    RESERVED = "reserved"
    STARTING = "starting"
    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"


class AttachmentEvent(StrEnum):
    """What can happen to an attachment."""

    SERVE = "serve"
    SERVED = "served"
    COMPLETE = "complete"
    DETACH = "detach"


_S, _E = AttachmentStatus, AttachmentEvent

ATTACHMENT_STATES = StateMachine(
    {
        (_S.RESERVED, _E.SERVE): _S.STARTING,
        (_S.STARTING, _E.SERVED): _S.ATTACHING,
        (_S.ATTACHING, _E.COMPLETE): _S.ATTACHED,
        (_S.RESERVED, _E.DETACH): _S.DETACHING,
        (_S.STARTING, _E.DETACH): _S.DETACHING,
        (_S.ATTACHING, _E.DETACH): _S.DETACHING,
        (_S.ATTACHED, _E.DETACH): _S.DETACHING,
        (_S.DETACHING, _E.DETACH): _S.DETACHING,  # again, where the last try got stuck
    }
)

# States in which a server process serves the volume, and is started again if it dies.
SERVING = frozenset({AttachmentStatus.ATTACHING, AttachmentStatus.ATTACHED})
