"""Every error a caller can meet: its published code, HTTP status, message and remedy.

This is the one table. A layer raises the class; `evsd.api.errors` draws it in the body its
service publishes; the key process sends it over its socket with `as_wire` / `from_wire`.
Codes: KMS, EVS, IAM and API-gateway error tables of the published API.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar, TypeVar


class PublishedError(Exception):
    """An error with a published code.

    `template` and `remedy_template` are filled from the keyword arguments of the constructor, so
    that a message always names the thing and its state.
    """

    code: ClassVar[str] = "EVS.2002"
    status: ClassVar[int] = 500
    template: ClassVar[str] = "internal error"
    remedy_template: ClassVar[str] = ""
    recorded = False  # in the audit log, by evsd-keys, which was asked and has refused

    def __init__(self, **facts: object) -> None:
        self.message = self.template.format(**facts)
        self.remedy = self.remedy_template.format(**facts)
        super().__init__(self.text)

    @property
    def text(self) -> str:
        """Message and remedy in one line, as API bodies carry it."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def as_wire(self) -> dict[str, str]:
        """The error as the key process sends it; `from_wire` is the way back."""
        return {"class": type(self).__name__, "message": self.message, "remedy": self.remedy}


P = TypeVar("P", bound="PublishedError")


def retold(error: PublishedError, cls: type[P]) -> P:
    """The same message and remedy as an error of another service."""
    return _made(cls, error.message, error.remedy)


def _made(cls: type[P], message: str, remedy: str) -> P:
    error = cls.__new__(cls)
    error.message, error.remedy = message, remedy
    Exception.__init__(error, error.text)
    return error


def from_wire(wire: dict[str, str]) -> PublishedError:
    """Rebuild the error another process raised."""
    named = {cls.__name__: cls for cls in _all_errors(PublishedError)}
    error = _made(named[wire["class"]], wire["message"], wire["remedy"])
    error.recorded = True
    return error


def _all_errors(base: type[PublishedError]) -> list[type[PublishedError]]:
    return [c for sub in base.__subclasses__() for c in (sub, *_all_errors(sub))]


# --- any service -----------------------------------------------------------------------------


class Internal(PublishedError):
    code, status = "EVS.2002", 500
    template = "internal error, logged as request {request_id}"
    remedy_template = "look for this id in evsd's log"


class StorageError(PublishedError):
    """Base of what a filesystem refuses that takes no more; `storage_error` makes them.

    A service that publishes another code for it tells it anew, see `retold`.
    """


class StorageFull(StorageError):
    code, status = "EVS.5500", 507
    template = "{what} {path} is full: {reason}"
    remedy_template = (
        "nothing was changed; free space first: delete volumes or files that nobody needs, or make "
        "the filesystem larger, then try again"
    )


class StorageReadOnly(StorageError):
    code, status = "EVS.5500", 507
    template = "{what} {path} is on a filesystem that is read-only: {reason}"
    remedy_template = (
        "nothing was changed; the kernel's log may say why it is; mount it for writing, then try "
        "again"
    )


def storage_error(what: str, path: Path, error: OSError) -> StorageError:
    """What is to be said of `error`, which `evsd.space.REFUSALS` has."""
    cls = StorageReadOnly if error.errno == errno.EROFS else StorageFull
    return cls(what=what, path=path, reason=error.strerror)


class NotSigned(PublishedError):
    code, status = "APIGW.0301", 401
    template = "Incorrect IAM authentication information: {reason}"
    remedy_template = (
        "use the unix socket as a user evsd knows, or sign with a pair that "
        "evsctl access-key create has printed"
    )


class TooSlow(PublishedError):
    code, status = "APIGW.0201", 408
    template = "the request body did not arrive within {seconds} s"


class BodyTooLong(PublishedError):
    code, status = "APIGW.0201", 413
    template = "the request body is longer than {limit} bytes"


class TooManyConnections(PublishedError):
    code, status = "APIGW.0308", 429
    template = "{source} has {limit} connections to evsd already, or all sources together too many"
    remedy_template = "use fewer at a time, or wait until some have ended"


class NoSuchApi(PublishedError):
    code, status = "APIGW.0101", 404
    template = "The API {method} {path} does not exist"


# --- identity --------------------------------------------------------------------------------


class IamForbidden(PublishedError):
    code, status = "IAM.0002", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class TicketRefused(PublishedError):
    """Of a server that asks for its key; which part of it was wrong is not told."""

    code, status = "IAM.0002", 403
    template = "this ticket gives no right to the key"
    remedy_template = "detach the volume and attach it again"


class IamBadRequest(PublishedError):
    code, status = "IAM.0011", 400
    template = "bad request: {field}: {reason}"


class IamNotFound(PublishedError):
    code, status = "IAM.0004", 404
    template = "{what} {name} does not exist"


class IamProjectNotFound(IamNotFound):
    template = "project {project_id} does not exist"


class IamConflict(PublishedError):
    code, status = "IAM.0005", 409
    template = "{what} {name} exists already"


class UserOfSettings(PublishedError):
    code, status = "IAM.0002", 403
    template = "user {name} is a Unix user of the settings, which alone can change it"
    remedy_template = "change [unix_users] in evsd's settings and restart it"


class TemporaryCredentials(PublishedError):
    code, status = "IAM.0002", 403
    template = "{user} is signed in with temporary credentials, which make no others"
    remedy_template = "sign with a permanent access key"


# --- KMS -------------------------------------------------------------------------------------


class KmsError(PublishedError):
    """Base of what the KMS can answer."""


class KmsBadJson(KmsError):
    code, status = "KMS.0202", 400
    template = "the request body is not JSON: {reason}"


class KmsMissing(KmsError):
    code, status = "KMS.0204", 400
    template = "the parameter {field} is missing"


class KmsBadSequence(KmsError):
    code, status = "KMS.0206", 400
    template = "bad sequence {value!r}: a message id of at most 36 characters"


class KmsBadKeyId(KmsError):
    code, status = "KMS.0205", 400
    template = "{value!r} is not a key id"
    remedy_template = "a key id is 36 characters, as `evsctl key list` shows it"


class KeyNotFound(KmsError):
    code, status = "KMS.0207", 404
    template = "key {key_id} does not exist"
    remedy_template = (
        "`evsctl key list` shows the keys of this project; data whose key is gone can't be read"
    )


class BadEncryptionContext(KmsError):
    code, status = "KMS.0208", 400
    template = "bad encryption context: {reason}"


class KeyDestroyed(KeyNotFound):
    template = "key {name} ({key_id}) was destroyed on {date}"
    remedy_template = "nothing brings it back, and nothing that was encrypted under it"


class KeyUnusable(KmsError):
    """Base of the states in which a key exists but may not be used."""


class KeyDisabled(KeyUnusable):
    code, status = "KMS.0209", 400
    template = "key {name} is disabled"
    remedy_template = "enable it: evsctl key enable {name}"


class KeyPendingDeletion(KeyUnusable):
    code, status = "KMS.0210", 400
    template = "key {name} is scheduled for deletion"
    remedy_template = (
        "cancel the deletion and enable it: evsctl key cancel-deletion {name}, "
        "then evsctl key enable {name}"
    )


class KeyWithoutMaterial(KeyUnusable):
    code, status = "KMS.0209", 400
    template = "key {name} waits for its material to be imported"
    remedy_template = "import the same material again: evsctl key import {name} FILE"


class DefaultKeyFixed(KmsError):
    code, status = "KMS.0211", 400
    template = "default key {name} can't be changed by anybody"
    remedy_template = "create a key of your own: evsctl key create ALIAS"


class KmsBadParameter(KmsError):
    code, status = "KMS.0308", 400
    template = "bad parameter {field}: {reason}"


class KmsForbidden(KmsError):
    code, status = "KMS.0330", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class NotExternal(KmsError):
    code, status = "KMS.0309", 400
    template = "key {name} was made by the KMS, only an external key's material can be imported"
    remedy_template = "create one: evsctl key import ALIAS FILE"


class KeyNotPendingImport(KmsError):
    code, status = "KMS.0310", 400
    template = "key {name} is {state}, it does not wait for material"


class MaterialUnwrapFailed(KmsError):
    code, status = "KMS.0311", 400
    template = "the key material can't be decrypted"
    remedy_template = "encrypt it with RSA-OAEP under the public key that came with this token"


class ExternalKeyCannotRotate(KmsError):
    code, status = "KMS.0312", 400
    template = "key {name} has imported material, which the KMS can't make anew"
    remedy_template = "create a new key for new data"


class RotationNotEnabled(KmsError):
    code, status = "KMS.0313", 400
    template = "key {name} does not rotate itself"
    remedy_template = "enable it: evsctl key rotation {name} --every 365"


class TagActionUnknown(KmsError):
    code, status = "KMS.0404", 400
    template = "bad action {value!r}: {reason}"


class BadTagValue(KmsError):
    code, status = "KMS.0405", 400
    template = "bad tag value: {reason}"


class BadTagKey(KmsError):
    code, status = "KMS.0406", 400
    template = "bad tag key: {reason}"


class TooManyTags(KmsError):
    code, status = "KMS.0409", 400
    template = "key {name} would have more than {quota} tags"


class TagNotFound(KmsError):
    code, status = "KMS.0416", 404
    template = "key {name} has no tag {tag}"


class BadOffset(KmsError):
    code, status = "KMS.0417", 400
    template = "bad offset {value!r}: 0 or more"


class KmsProjectMismatch(KmsError):
    code, status = "KMS.0305", 403
    template = "project {project_id} is not one of yours"


class BadAlias(KmsError):
    code, status = "KMS.1101", 400
    template = "bad key alias {value!r}: {reason}"


class BadDescription(KmsError):
    code, status = "KMS.1103", 400
    template = "bad key description: {reason}"


class AliasExists(KmsError):
    code, status = "KMS.1104", 400
    template = "key alias {alias} exists already in this project"


class TooManyKeys(KmsError):
    code, status = "KMS.1105", 400
    template = "the project has its {quota} keys already"


class KeyNotDisabled(KmsError):
    code, status = "KMS.1201", 400
    template = "key {name} is {state}, only a disabled key can be enabled"


class KeyNotEnabled(KmsError):
    code, status = "KMS.1301", 400
    template = "key {name} is {state}, only an enabled key can be disabled"


class PendingDaysBad(KmsError):
    code, status = "KMS.1401", 400
    template = "bad pending_days {value!r}: from 7 to 1096 days, as text"


class AlreadyPendingDeletion(KmsError):
    code, status = "KMS.1402", 400
    template = "key {name} is {state}, its deletion can't be scheduled"


class NotPendingDeletion(KmsError):
    code, status = "KMS.1501", 400
    template = "key {name} is {state}, there is no deletion to cancel"


class BadLimit(KmsError):
    code, status = "KMS.1601", 400
    template = "bad limit {value!r}: a number from 1 to 1000, as text"


class BadMarker(KmsError):
    code, status = "KMS.1602", 400
    template = "bad marker {value!r}"


class RandomLengthBad(KmsError):
    code, status = "KMS.1801", 400
    template = "random_data_length {value!r} is not a multiple of 8 from 8 to 8192 bits"


class DatakeyLengthRange(KmsError):
    code, status = "KMS.1901", 400
    template = "datakey_length {value!r} is not from 8 to 8192 bits"


class DatakeySpec(KmsError):
    code, status = "KMS.1902", 400
    template = "bad key_spec {value!r} for a data key"


class DatakeyLengthMultiple(KmsError):
    code, status = "KMS.1903", 400
    template = "datakey_length {value!r} is not a multiple of 8 bits"


class BadPlaintext(KmsError):
    code, status = "KMS.2101", 400
    template = "bad plain_text: {reason}"


class DatakeyPlainLength(KmsError):
    code, status = "KMS.2102", 400
    template = "bad datakey_plain_length {value!r}: from 1 to 1024 bytes, as text"


class DatakeyHashWrong(KmsError):
    code, status = "KMS.2103", 400
    template = "plain_text must end with the SHA-256 of the data key, and does not"


class DatakeyLengthMismatch(KmsError):
    code, status = "KMS.2104", 400
    template = "plain_text is not a data key of {length} bytes and its SHA-256, in hex"


class BadCiphertext(KmsError):
    code, status = "KMS.2201", 400
    template = "cipher_text can't be decrypted: {reason}"


class DatakeyCipherLength(KmsError):
    code, status = "KMS.2204", 400
    template = "datakey_cipher_length {value!r} is not the length of this data key"


class GrantNeedsMore(KmsError):
    code, status = "KMS.2401", 400
    template = "create-grant alone can't be granted"
    remedy_template = "grant it together with what may be passed on"


class GranteeBad(KmsError):
    code, status = "KMS.2402", 400
    template = "bad principal {value!r}: {reason}"


class GrantFailed(KmsError):
    code, status = "KMS.2403", 400
    template = "bad grant: {field}: {reason}"


class TooManyGrants(KmsError):
    code, status = "KMS.2404", 400
    template = "key {name} has its {quota} grants already"


class GrantIdBad(KmsError):
    code, status = "KMS.2501", 400
    template = "{value!r} is not the id of a grant"


class GrantOfAnotherKey(KmsError):
    code, status = "KMS.2502", 400
    template = "key {name} has no grant {grant_id}"


class ImportTokenExpired(KmsError):
    code, status = "KMS.2601", 400
    template = "the import token has expired"
    remedy_template = "get new parameters for import"


class MaterialExpiryPast(KmsError):
    code, status = "KMS.2602", 400
    template = "bad expiration_time {value!r}: seconds since 1970, in the future"


class ImportTokenOfAnotherKey(KmsError):
    code, status = "KMS.2603", 400
    template = "the import token was made for another key than {name}"


class MaterialLengthBad(KmsError):
    code, status = "KMS.2604", 400
    template = "the key material has {length} bytes, not 32"


class ImportTokenInvalid(KmsError):
    code, status = "KMS.2605", 400
    template = "the import token is not valid: {reason}"
    remedy_template = "get new parameters for import; each is good for one import"


class MaterialDiffers(KmsError):
    code, status = "KMS.2606", 400
    template = "key {name} had other material before, and only the same can be imported again"


class MaterialNotDeletable(KmsError):
    code, status = "KMS.2701", 400
    template = "key {name} is {state}, there is no material that could be deleted"


class RotationEnabledAlready(KmsError):
    code, status = "KMS.2901", 400
    template = "key {name} rotates itself already"


class RotationIntervalBad(KmsError):
    code, status = "KMS.3001", 400
    template = "bad rotation_interval {value!r}: from 30 to 365 days"


class KmsUnavailable(KmsError):
    code, status = "KMS.0104", 503
    template = "the key service can't be reached: {reason}"
    remedy_template = "attached volumes go on; look at evsd's log and at the HSM"


class KmsStorage(KmsUnavailable):
    """A `StorageError` that keeps a key from being made, changed or used."""

    template = "{reason}"
    remedy_template = StorageFull.remedy_template


# --- EVS -------------------------------------------------------------------------------------


class EvsError(PublishedError):
    """Base of what the volume service can answer."""


class VolumeIdMalformed(EvsError):
    code, status = "EVS.1002", 400
    template = "{value!r} is not a volume id"


class VolumeNameBad(EvsError):
    code, status = "EVS.1003", 400
    template = "bad volume name {value!r}: {reason}"


class VolumeNameTaken(VolumeNameBad):
    template = "a volume named {name} exists already in this project"
    remedy_template = "choose another name, or delete that volume"


class EvsBadRequest(EvsError):
    code, status = "EVS.1009", 400
    template = "bad request: {reason}"


class EvsBadField(EvsBadRequest):
    template = "bad {field} {value!r}: {reason}"


class EvsMissing(EvsBadRequest):
    template = "{field} is missing"


class VolumeDescriptionBad(EvsError):
    code, status = "EVS.1004", 400
    template = "bad volume description: {reason}"


class EvsMalformed(EvsError):
    code, status = "EVS.5400", 400
    template = "the request body can't be read: {reason}"


class VolumeSizeBad(EvsError):
    code, status = "EVS.1010", 400
    template = "bad volume size {value!r}: whole GiB from 1 to 32768"


class VolumeTypeUnknown(EvsError):
    code, status = "EVS.2070", 400
    template = "volume type {value!r} does not exist"


class EvsBadLimit(EvsError):
    code, status = "EVS.1023", 400
    template = "bad limit or offset {value!r}: limit is 1 to 1000, offset 0 or more"


class VolumeMarkerUnknown(EvsError):
    code, status = "EVS.1024", 400
    template = "there is no volume {value!r}, after which the list would go on"
    remedy_template = "list from the beginning: the volume was deleted meanwhile"


class VolumeNotDeletable(EvsError):
    code, status = "EVS.1046", 400
    template = "volume {name} is {status}, only an available one or one in error can be deleted"
    remedy_template = "if it is attached, detach it first: evsctl detach {name}"


class VolumeNotExtendable(EvsError):
    code, status = "EVS.1048", 400
    template = "volume {name} is {status}, only an available one can be extended"
    remedy_template = (
        "its clients would not see the new size; if it is attached, detach it first: "
        "evsctl detach {name}"
    )


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


class VolumeFileBad(EvsError):
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


class VolumeHeaderBad(EvsError):
    code, status = "EVS.1009", 400
    template = "this is no backup of the header of volume {name}: {reason}"
    remedy_template = "the volume's header is as it was"


class VolumeOfAnotherProject(EvsError):
    code, status = "EVS.1009", 400
    template = "the file {name} belongs to project {project}"
    remedy_template = "evsctl --project {project} recover {name}"


class VolumeKeyNotEnabled(EvsError):
    code, status = "EVS.2040", 400
    template = "{reason}"


class VolumeEncryptionBad(EvsError):
    code, status = "EVS.2041", 400
    template = "bad encryption fields: {reason}"
    remedy_template = (
        "every volume here is encrypted; leave the fields out to use the project's default key"
    )


class NotDelegated(EvsError):
    code, status = "EVS.2055", 400
    template = "the volume service may not use keys in project {project}"
    remedy_template = (
        "ask a security administrator of domain {domain} to run: evsctl delegation create"
    )


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
