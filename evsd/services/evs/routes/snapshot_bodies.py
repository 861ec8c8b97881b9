"""What requests about snapshots ask for, in all versions of the API."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from evsd.api.routes import Model
from evsd.services.evs.routes.fields import (
    Description,
    MetadataKey,
    MetadataValue,
    SnapshotName,
    VolumeName,
)
from evsd.services.evs.snapshots.service import NewSnapshot

# As v5 has them; v2 and Cinder take longer ones. An empty name is none.
ShortName = Annotated[SnapshotName, Field(max_length=64)]
ShortDescription = Annotated[Description, Field(max_length=85)]
VolumeReference = Annotated[str, Field(min_length=1, max_length=64)]


class WantedSnapshot(Model):
    """What create asks for; of an attached volume only with `force`, as published."""

    volume_id: VolumeReference
    name: SnapshotName | None = None
    description: Description | None = None
    force: bool | None = None
    metadata: dict[MetadataKey, MetadataValue] | None = None

    @property
    def new_snapshot(self) -> NewSnapshot:
        """The same for the service."""
        return NewSnapshot(
            volume_id=self.volume_id,
            name=self.name or None,
            description=self.description or "",
            attached=bool(self.force),
            metadata=self.metadata or {},
        )


class CreateSnapshotBody(Model):
    """Create."""

    snapshot: WantedSnapshot


class SnapshotChanges(Model):
    """What update can change."""

    name: VolumeName | None = None
    description: Description | None = None


class UpdateSnapshotBody(Model):
    """Update."""

    snapshot: SnapshotChanges


class WantedRollback(Model):
    """Where to: the snapshot's own volume, by its id; its name tells nothing more."""

    volume_id: VolumeReference
    name: Annotated[str | None, Field(max_length=255)] = None


class RollbackBody(Model):
    """Roll back."""

    rollback: WantedRollback


class RolledBack(Model):
    """Which volume is rolled back."""

    volume_id: str


class RollbackResponse(Model):
    """Of roll back, but in v5."""

    rollback: RolledBack
