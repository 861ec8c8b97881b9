"""Beginning to make volumes: what is refused, the data keys, and the records of all in one step.

How a volume is made then is in `creation`.
"""

from __future__ import annotations

import uuid
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.jobs.service import Jobs
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.key_client.process import KeyProcess
from evsd.services.evs.consumer import CONSUMER
from evsd.services.evs.errors import (
    VolumeEncryptionInvalid,
    VolumeKeyNotEnabled,
    VolumeNameTaken,
    VolumeZoneUnknown,
)
from evsd.services.evs.key_context import encryption_context
from evsd.services.evs.snapshots.sources import of_snapshot
from evsd.services.evs.tables import Volume
from evsd.services.evs.volumes import client_tokens, job_types, quotas
from evsd.services.evs.volumes.batches import names_of
from evsd.services.evs.volumes.client_tokens import RequestToken
from evsd.services.evs.volumes.creation import NewVolume, arguments_of, new_record
from evsd.services.evs.volumes.images import OfferedImages
from evsd.services.evs.volumes.records import add_record
from evsd.services.evs.volumes.tags import require_few
from evsd.services.kms.errors import KeyNotFound, KeyUnusable
from evsd.services.kms.operations import CreateServiceKey, ServiceKey
from evsd.store.database import Database


class NewVolumes:
    """Volumes that are asked for, of all projects."""

    def __init__(
        self,
        database: Database,
        keys: KeyProcess,
        jobs: Jobs,
        zone: str,
        images: OfferedImages,
    ) -> None:
        self._database, self._keys, self._jobs, self._zone = database, keys, jobs, zone
        self._images = images

    def check(self, project_id: str, wanted: NewVolume, count: int = 1) -> None:
        """Refuse what can't be made: `create` has the last word.

        Raises `VolumeNameInvalid`, `VolumeNameTaken`, `VolumeZoneUnknown`,
        `VolumeTagQuotaExceeded`, and what a quota refuses.
        """
        with self._database.reading() as session:
            self._of_source(session, project_id, wanted)
            _check(session, project_id, self._each(wanted, count))

    def create(
        self, call: Call, wanted: NewVolume, count: int = 1, token: RequestToken | None = None
    ) -> Job:
        """Make volumes with a data key each; returns the job.

        It is running for a thick volume, and for several; its parts are then jobs too. A token
        that was used before is answered with the job that it began. Raises as `check` does, and
        `DelegationMissing`, `VolumeKeyNotEnabled`, `VolumeEncryptionInvalid`, `PoolFailed`, what a
        full pool refuses, `ClientTokenReused`, `ClientTokenExpired`; nothing is left then.
        """
        with self._database.reading() as session:
            begun = client_tokens.find_job(session, call.project_id, token)
            if begun is not None:
                return begun
            wanted = self._of_source(session, call.project_id, wanted)
            each = self._each(wanted, count)
            # Before data keys are made for nothing, and in the same look at the records: a request
            # that is repeated meanwhile would find the name taken by itself.
            _check(session, call.project_id, each)
        keys = [self._new_key(call, new.cmk_id, volume_id) for volume_id, new in each.items()]
        with self._database.transaction() as session:
            begun = client_tokens.find_job(session, call.project_id, token)
            if begun is not None:  # by one that came at the same time
                return begun
            self._of_source(session, call.project_id, wanted)  # it may have gone meanwhile
            job = self._enter(session, call, each, keys)
            client_tokens.remember(session, call.project_id, token, job)
        return self._jobs.start(job)

    def _enter(
        self, session: Session, call: Call, each: dict[str, NewVolume], keys: list[ServiceKey]
    ) -> Job:
        """The records of the volumes, and of the jobs that make them; returns the one to start."""
        _require_quota(session, call.project_id, list(each.values()))
        parts = [
            self._begin(session, call, volume_id, new, key)
            for (volume_id, new), key in zip(each.items(), keys, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        about_all = {job_types.PARTS: [part.id for part in parts]}
        return self._jobs.begin(session, job_types.BATCH_CREATE, call.project_id, about_all)

    def _begin(
        self, session: Session, call: Call, volume_id: str, new: NewVolume, key: ServiceKey
    ) -> Job:
        volume = new_record(call, new, volume_id, key)
        about, arguments = job_types.about(volume), arguments_of(new, key)
        job = self._jobs.begin(session, job_types.CREATE, call.project_id, about, **arguments)
        add_record(session, volume)
        return job

    def _of_source(self, session: Session, project_id: str, wanted: NewVolume) -> NewVolume:
        """With what it has of the snapshot or image that it is made of."""
        return self._of_image(session, project_id, of_snapshot(session, project_id, wanted))

    def _of_image(self, session: Session, project_id: str, wanted: NewVolume) -> NewVolume:
        """With the key of the image, if it is of one; raises what that can't be used for."""
        if wanted.image_id is None:
            return wanted
        images, size = self._images.known, wanted.size_gib
        cmk_id = images.require(session, project_id, wanted.image_id, size)
        return replace(wanted, cmk_id=cmk_id)

    def _each(self, wanted: NewVolume, count: int) -> dict[str, NewVolume]:
        """Each of the volumes as it is to be, by its id."""
        zone, name = wanted.availability_zone or self._zone, wanted.name
        if zone != self._zone:
            raise VolumeZoneUnknown(zone=zone, known=self._zone)
        ids = [str(uuid.uuid4()) for _ in range(count)]
        names = names_of(name or f"volume-{ids[0][:8]}", count)
        return {
            volume_id: replace(wanted, name=each, availability_zone=zone)
            for volume_id, each in zip(ids, names, strict=True)
        }

    def _new_key(self, call: Call, cmk_id: str | None, volume_id: str) -> ServiceKey:
        context = encryption_context(call.project_id, volume_id)
        try:
            return self._keys.call(call, CreateServiceKey(CONSUMER.service, cmk_id, context))
        except KeyUnusable as error:
            raise VolumeKeyNotEnabled(reason=error.text) from error
        except KeyNotFound as error:
            raise VolumeEncryptionInvalid(reason=error.message) from error


def _check(session: Session, project_id: str, each: dict[str, NewVolume]) -> None:
    names = [new.name for new in each.values()]
    for new in each.values():
        require_few(str(new.name), new.tags)
    taken = select(Volume.name).where(Volume.project_id == project_id, Volume.name.in_(names))
    found = session.scalars(taken.order_by(Volume.name)).first()
    if found is not None:
        raise VolumeNameTaken(name=found, reason="")
    _require_quota(session, project_id, list(each.values()))


def _require_quota(session: Session, project_id: str, wanted: list[NewVolume]) -> None:
    gigabytes = sum(new.size_gib for new in wanted)
    quotas.require(session, project_id, volumes=len(wanted), gigabytes=gigabytes)
