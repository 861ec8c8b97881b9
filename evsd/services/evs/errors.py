"""Every error of EVS: its published code, status, message and remedy."""

from __future__ import annotations

from evsd.errors import PublishedError
from evsd.services.evs.limits import BATCH_LIMIT, MAX_SIZE_GIB, TAG_LIMIT


class EvsError(PublishedError):
    """Base of what the volume service can answer."""


class VolumeIdInvalid(EvsError):
    code, status = "EVS.1002", 400
    template = "{value!r} is not a volume id"


class VolumeNameInvalid(EvsError):
    code, status = "EVS.1003", 400
    template = "bad volume name {value!r}: {reason}"


class VolumeNameTaken(VolumeNameInvalid):
    template = "a volume named {name} exists already in this project"
    remedy_template = "choose another name, or delete that volume"


class EvsRequestInvalid(EvsError):
    code, status = "EVS.1009", 400
    template = "bad request: {reason}"


class EvsFieldInvalid(EvsRequestInvalid):
    template = "bad {field} {value!r}: {reason}"


class EvsFieldMissing(EvsRequestInvalid):
    template = "{field} is missing"


class VolumeDescriptionInvalid(EvsError):
    code, status = "EVS.1004", 400
    template = "bad volume description: {reason}"


class EvsBodyInvalid(EvsError):
    code, status = "EVS.5400", 400
    template = "the request body can't be read: {reason}"


class VolumeSizeInvalid(EvsError):
    code, status = "EVS.1010", 400
    template = f"bad volume size {{value!r}}: whole GiB from 1 to {MAX_SIZE_GIB}"


class VolumeTypeUnknown(EvsError):
    code, status = "EVS.2070", 400
    template = "volume type {value!r} does not exist"


class VolumeZoneUnknown(EvsError):
    code, status = "EVS.1036", 400
    template = "availability zone {zone!r} does not exist"
    remedy_template = "there is one here: {known}; evsd's setting availability_zone names it"


class VolumeCountInvalid(EvsError):
    code, status = "EVS.1021", 400
    template = f"bad count {{value!r}}: a whole number from 1 to {BATCH_LIMIT}"


class VolumesNotCreated(EvsError):
    code, status = "EVS.5500", 500
    template = "{failed} of {whole} volumes were not created, the first because: {reason}"
    remedy_template = "its job has a part for each volume; of those that failed nothing is left"


class VolumePassthroughInvalid(EvsError):
    code, status = "EVS.1057", 400
    template = "bad hw:passthrough {value!r}: volumes here are no SCSI devices"
    remedy_template = "leave it out, or say false"


class ClientTokenInvalid(EvsError):
    code, status = "EVS.2218", 400
    template = "bad X-Client-Token {value!r}: it is not a UUID"


class ClientTokenReused(EvsError):
    code, status = "EVS.2219", 400
    template = "X-Client-Token {token} was used for another request"
    remedy_template = "make a new token for each request, and repeat that one unchanged"


class ClientTokenExpired(EvsError):
    code, status = "EVS.2220", 400
    template = "X-Client-Token {token} was first used more than 8 hours ago"
    remedy_template = "look what that request has made; for a new one make a new token"


class VolumeTypeNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "volume type {value!r} does not exist"


class VolumeNotRetyped(EvsError):
    code, status = "EVS.2087", 400
    template = "volume {name} of type {old} can't become {new}: {reason}"


class VolumeNotTransferable(EvsError):
    code, status = "EVS.5400", 400
    template = "volume {name} can't be transferred: it is encrypted, as every volume here is"
    remedy_template = "copy its data: evsctl export, then evsctl --project OTHER import"


class TransferNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "transfer {name} does not exist"
    remedy_template = "volumes here are encrypted, and encrypted ones are never transferred"


class VolumeTagInvalid(EvsError):
    code, status = "EVS.1062", 400
    template = "bad tag: {reason}"
    remedy_template = "keys have 1 to 36 characters, values up to 43"


class VolumeTagQuotaExceeded(EvsError):
    code, status = "EVS.1061", 400
    template = "volume {name} would have more than {limit} tags"
    remedy_template = f"a volume has at most {TAG_LIMIT}: remove one first"


class VolumeTagNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "volume {name} has no tag {tag}"


class VolumeMetadataFixed(EvsError):
    code, status = "EVS.2047", 400
    template = "metadata {key} of a volume can't be changed"
    remedy_template = "its key and how it is stored are fixed when it is made"


class VolumeMetadataTooLong(EvsError):
    code, status = "EVS.1005", 400
    template = "the metadata of volume {name} would have more than {limit} characters"


class VolumeMetadataNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "volume {name} has no metadata {key}"


class EvsLimitInvalid(EvsError):
    code, status = "EVS.1023", 400
    template = "bad limit or offset {value!r}: limit is 1 to 1000, offset 0 or more"


class EvsSortKeyInvalid(EvsError):
    code, status = "EVS.1039", 400
    template = "bad sort_key {value!r}: {reason}"


class EvsSortDirectionInvalid(EvsError):
    code, status = "EVS.1040", 400
    template = "bad sort_dir {value!r}: {reason}"


class VolumeFilterInvalid(EvsError):
    code, status = "EVS.1058", 400
    template = (
        'bad filter for metadata {value!r}: it is no object of texts like {{"name": "value"}}'
    )


class VolumeMarkerUnknown(EvsError):
    code, status = "EVS.1024", 400
    template = "there is no volume {value!r}, after which the list would go on"
    remedy_template = "list from the beginning: the volume was deleted meanwhile"


class VolumeNotDeletable(EvsError):
    code, status = "EVS.1046", 400
    template = "volume {name} is {status}, only an available one or one in error can be deleted"
    remedy_template = "if it is attached, detach it first: evsctl detach {name}"


class VolumeHasSnapshots(VolumeNotDeletable):
    template = "volume {name} has {count} snapshots, which would go with it"
    remedy_template = "say so (cascade=true), or delete them first"


class VolumeNotExtendable(EvsError):
    code, status = "EVS.1064", 400
    template = "volume {name} is {status}, only an available or attached one can be extended"
    remedy_template = "evsctl show {name} tells what it is like"


class AttachedVolumeNotExtendable(EvsError):
    code, status = "EVS.1048", 400
    template = "volume {name} is thick and in-use, only an available one can be extended"
    remedy_template = "what is added would have to be filled: evsctl detach {name} first"


class VolumeNotExtended(EvsError):
    code, status = "EVS.5500", 500
    template = "volume {name} was not extended, its file is as it was: {reason}"
    remedy_template = "{remedy}"


class VolumeNotLarger(EvsError):
    code, status = "EVS.1015", 400
    template = "volume {name} has {size} GiB, {value} GiB is not larger"
    remedy_template = "volumes can't be made smaller"


class VolumeNotDeleted(EvsError):
    code, status = "EVS.5500", 500
    template = "volume {name} was not deleted, its file is as it was: {reason}"
    remedy_template = "if it is to go, delete it again: evsctl delete {name}"


class VolumeQuotaExceeded(EvsError):
    code, status = "EVS.1034", 400
    template = "project {project} has {used} of its {limit} volumes, {wanted} more is too many"
    remedy_template = (
        "delete one that nobody needs, or ask evsd's operator for more: evsctl quota set"
    )


class GigabyteQuotaExceeded(EvsError):
    code, status = "EVS.1042", 400
    template = (
        "the volumes of project {project} have {used} of its {limit} GiB, {wanted} more is too many"
    )
    remedy_template = VolumeQuotaExceeded.remedy_template


class SnapshotQuotaExceeded(EvsError):
    code, status = "EVS.5413", 413
    template = "project {project} has {used} of its {limit} snapshots, {wanted} more is too many"
    remedy_template = (
        "delete one that nobody needs, or ask evsd's operator for more: evsctl quota set"
    )


class SnapshotIdInvalid(EvsError):
    code, status = "EVS.2045", 400
    template = "{value!r} is not a snapshot id"


class SnapshotNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "snapshot {name} does not exist"
    remedy_template = "`evsctl snapshot list` shows the snapshots of this project"


class SnapshotGroupNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "snapshot group {name} does not exist"


class SnapshotNameInvalid(EvsError):
    code, status = "EVS.1003", 400
    template = "bad snapshot name {value!r}: {reason}"


class SnapshotMetadataNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "snapshot {name} has no metadata {key}"


class SnapshotMetadataTooLong(EvsError):
    code, status = "EVS.1005", 400
    template = "the metadata of snapshot {name} would have more than {limit} characters"


class SnapshotMarkerUnknown(EvsError):
    code, status = "EVS.1024", 400
    template = "there is no snapshot {value!r}, after which the list would go on"
    remedy_template = "list from the beginning: the snapshot was deleted meanwhile"


class SnapshotUpdateEmpty(EvsError):
    code, status = "EVS.1007", 400
    template = "neither a name nor a description is given"


class VolumeNotSnapshotted(EvsError):
    code, status = "EVS.2043", 400
    template = "volume {name} is {status}: a snapshot can't be taken of it now"
    remedy_template = (
        "one is taken of an available volume, or of an attached one where the request says force"
    )


class SnapshotUnderWay(EvsError):
    code, status = "EVS.2409", 409
    template = "snapshot {name} of volume {volume} is {status}"
    remedy_template = "try again when that has ended: evsctl snapshot show {name}"


class SnapshotNotUsable(EvsError):
    code, status = "EVS.2043", 400
    template = "snapshot {name} is {status}, only an available one can be used"
    remedy_template = "evsctl snapshot show {name} tells what it is like"


class VolumeSmallerThanSnapshot(EvsError):
    code, status = "EVS.1010", 400
    template = "a volume of snapshot {name} has {size} GiB at least, not {value}"


class VolumeTypeDiffers(EvsError):
    code, status = "EVS.2096", 400
    template = "a volume of snapshot {name} has its type {type}, not {value}"


class SnapshotNotDeletable(EvsError):
    code, status = "EVS.1047", 400
    template = "snapshot {name} is {status}, only an available one or one in error can be deleted"
    remedy_template = "evsctl snapshot show {name} tells what it is like"


class SnapshotSourceInvalid(EvsError):
    code, status = "EVS.1009", 400
    template = "snapshot {name} is of volume {volume}, and no other can be rolled back to it"


class VolumeNotRolledBack(EvsError):
    code, status = "EVS.2043", 400
    template = "volume {name} is {status}, only an available one can be rolled back"
    remedy_template = "if it is attached, detach it first: evsctl detach {name}"


class SnapshotChainTooLong(EvsError):
    code, status = "EVS.5413", 413
    template = "snapshot {name} can't be taken: {reason}"
    remedy_template = (
        "a volume has 15 snapshots at most, those counted whose data others need yet: delete some"
    )


class SnapshotWorkFailed(EvsError):
    code, status = "EVS.5500", 500
    template = "the layers of snapshot {name} can't be changed: {reason}"
    remedy_template = "look at the pool's filesystem and evsd's log, then try again"


class VolumeUpdateEmpty(EvsError):
    code, status = "EVS.1007", 400
    template = "neither a name nor a description is given"


class VolumeCancelled(EvsError):
    code, status = "EVS.5500", 500
    template = "volume {name} was deleted while it was being created"


class VolumeFileNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "there is no file {name} in the pool that could be registered"
    remedy_template = (
        "a file of no registered volume, of the pool's own directory and owner, named "
        "VOLUME-ID.luks as `cryptsetup luksDump` shows the id (UUID)"
    )


class VolumeFileInvalid(EvsError):
    code, status = "EVS.1009", 400
    template = "the file {name} can't be registered: {reason}"


class VolumeHeaderUnreadable(EvsError):
    code, status = "EVS.5500", 500
    template = "the header of volume {name} can't be backed up: {reason}"
    remedy_template = "if it is damaged, restore it: evsctl header restore {name} FILE"


class VolumeHeaderBusy(EvsError):
    code, status = "EVS.1048", 400
    template = "the header of volume {name} can't be restored: {reason}"
    remedy_template = "only an available volume's can; if it is attached: evsctl detach {name}"


class VolumeHeaderInvalid(EvsError):
    code, status = "EVS.1009", 400
    template = "this is no backup of the header of volume {name}: {reason}"
    remedy_template = "the volume's header is as it was"


class VolumeProjectMismatch(EvsError):
    code, status = "EVS.1009", 400
    template = "the file {name} belongs to project {project}"
    remedy_template = "evsctl --project {project} recover {name}"


class VolumeKeyNotEnabled(EvsError):
    code, status = "EVS.2040", 400
    template = "{reason}"


class VolumeEncryptionInvalid(EvsError):
    code, status = "EVS.2041", 400
    template = "bad encryption fields: {reason}"
    remedy_template = (
        "every volume here is encrypted; leave the fields out to use the project's default key"
    )


class VolumeKeyInherited(EvsError):
    code, status = "EVS.1043", 400
    template = "a volume made of {source} has the key of that: {fields} can't be given"
    remedy_template = (
        "leave them out; an image under another key: evsctl image copy IMAGE NEW --key KEY"
    )


class ImageTooLarge(EvsError):
    code, status = "EVS.2042", 400
    template = "a volume of image {name} has {needed} GiB at least, not {value}"


class VolumeSourcesSeveral(EvsError):
    code, status = "EVS.1016", 400
    template = "a volume is made of one thing, not of {sources}"


class DelegationMissing(EvsError):
    code, status = "EVS.2055", 400
    template = "the volume service may not use keys in project {project}"
    remedy_template = (
        "ask a security administrator of domain {domain} to run: evsctl delegation create"
    )


class MicroversionInvalid(EvsError):
    code, status = "EVS.1009", 400
    template = "OpenStack-API-Version {value!r} is no version; write it as volume 3.54"


class MicroversionUnknown(EvsError):
    code, status = "EVS.1009", 406
    template = "version {version} of the volume API is not here: {oldest} to {newest} are"
    remedy_template = "ask for one of those, as clients do that read GET /v3/ first"


class EvsForbidden(EvsError):
    code, status = "EVS.5403", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class EvsProjectMismatch(EvsError):
    code, status = "EVS.0003", 403
    template = "project {project_id} is not one of yours"


class VolumeNotFound(EvsError):
    code, status = "EVS.5404", 404
    template = "volume {name} does not exist"
    remedy_template = "`evsctl list` shows the volumes of this project"


class AttachmentNotFound(VolumeNotFound):
    template = "attachment {name} does not exist"
    remedy_template = "`evsctl show` shows the attachment of a volume"


class VolumeNotAttachable(EvsError):
    code, status = "EVS.2134", 400
    template = "volume {name} is {status}, only an available one can be attached"
    remedy_template = "evsctl show {name} tells who has it; if nobody does: evsctl detach {name}"


class VolumeHalfExtended(VolumeNotAttachable):
    template = "volume {name} is {status}: an extension of it neither ended nor could be undone"
    remedy_template = (
        "its data is whole; the job or evsd's log says what failed, mend that and extend it again: "
        "evsctl extend {name} --size SIZE"
    )


class VolumeHalfRolledBack(VolumeNotAttachable):
    template = "volume {name} is {status}: nobody could tell how far a roll back came"
    remedy_template = (
        "evsd's log says what failed, mend that and roll it back again: evsctl snapshot rollback "
        "SNAPSHOT; evsctl snapshot list {name} shows them"
    )


class AttachFailed(VolumeNotAttachable):
    template = "the server of volume {name} did not start: {reason}"
    remedy_template = "nothing was written to the volume; evsd's log has the rest"


class VolumeInUse(EvsError):
    code, status = "EVS.2068", 400
    template = "volume {name} is in use by {clients}"
    remedy_template = (
        "stop that first; if it can't be stopped, evsctl detach {name} --force takes its disk away"
    )


class DetachFailed(EvsError):
    code, status = "EVS.5500", 500
    template = "attachment {name} can't be ended: {reason}"
    remedy_template = "look at the host and the pool; evsd ends it as soon as that can be done"


class PoolFailed(EvsError):
    code, status = "EVS.5500", 500
    template = "the pool fails volume {name}: {reason}"
    remedy_template = "look at the pool's filesystem, then try again"


class PoolUnknown(EvsError):
    code, status = "EVS.5500", 500
    template = "the pool's filesystem can't be asked for its space"
    remedy_template = "evsd's log says why"


class JobNotFound(EvsError):
    code, status = "Common.0011", 400
    template = "job {job_id} does not exist"
