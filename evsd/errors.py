"""Every error a caller can meet: its published code, HTTP status, message and remedy.

This is the one table. A layer raises the class; `evsd.api.errors` draws it in the body its
service publishes; the key process sends it over its socket with `as_wire` / `from_wire`.
Codes: KMS, EVS, IAM and API-gateway error tables of the published API.
"""

from __future__ import annotations

from typing import ClassVar


class PublishedError(Exception):
    """An error with a published code.

    `template` and `remedy_template` are filled from the keyword arguments of the constructor, so
    that a message always names the thing and its state.
    """

    code: ClassVar[str] = "EVS.2002"
    status: ClassVar[int] = 500
    template: ClassVar[str] = "internal error"
    remedy_template: ClassVar[str] = ""

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


def from_wire(wire: dict[str, str]) -> PublishedError:
    """Rebuild the error another process raised."""
    named = {cls.__name__: cls for cls in _all_errors(PublishedError)}
    cls = named[wire["class"]]
    error = cls.__new__(cls)
    error.message, error.remedy = wire["message"], wire["remedy"]
    Exception.__init__(error, error.text)
    return error


def _all_errors(base: type[PublishedError]) -> list[type[PublishedError]]:
    return [c for sub in base.__subclasses__() for c in (sub, *_all_errors(sub))]


# --- any service -----------------------------------------------------------------------------


class Internal(PublishedError):
    code, status = "EVS.2002", 500
    template = "internal error, logged as request {request_id}"
    remedy_template = "look for this id in evsd's log"


class NotSigned(PublishedError):
    code, status = "APIGW.0301", 401
    template = "Incorrect IAM authentication information: {reason}"
    remedy_template = (
        "use the unix socket as a user evsd knows, or sign with a pair that "
        "evsctl access-key create has printed"
    )


class BodyTooLong(PublishedError):
    code, status = "APIGW.0201", 413
    template = "the request body is longer than {limit} bytes"


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


class IamConflict(PublishedError):
    code, status = "IAM.0005", 409
    template = "{what} {name} exists already"


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
    template = "bad sequence {value!r}: a message id of 36 characters"


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


class KeyUnusable(KmsError):
    """Base of the two states in which a key exists but may not be used."""


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


class BadLimit(KmsError):
    code, status = "KMS.1601", 400
    template = "bad limit {value!r}: a number from 1 to 1000, as text"


class BadMarker(KmsError):
    code, status = "KMS.1602", 400
    template = "bad marker {value!r}"


class DatakeyLengthRange(KmsError):
    code, status = "KMS.1901", 400
    template = "datakey_length {value!r} is not from 8 to 8192 bits"


class DatakeySpec(KmsError):
    code, status = "KMS.1902", 400
    template = "bad key_spec {value!r} for a data key"


class DatakeyLengthMultiple(KmsError):
    code, status = "KMS.1903", 400
    template = "datakey_length {value!r} is not a multiple of 8 bits"


class BadCiphertext(KmsError):
    code, status = "KMS.2201", 400
    template = "cipher_text can't be decrypted: {reason}"


class DatakeyCipherLength(KmsError):
    code, status = "KMS.2204", 400
    template = "datakey_cipher_length {value!r} is not the length of this data key"


class KmsUnavailable(KmsError):
    code, status = "KMS.0104", 503
    template = "the key service can't be reached: {reason}"
    remedy_template = "attached volumes go on; look at evsd's log and at the HSM"


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


class VolumeNotDeletable(EvsError):
    code, status = "EVS.1046", 400
    template = "volume {name} is {status}, only an available one or one in error can be deleted"
    remedy_template = "if it is attached, detach it first: evsctl detach {name}"


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


class AttachFailed(VolumeNotAttachable):
    template = "the server of volume {name} did not start: {reason}"
    remedy_template = "nothing was written to the volume; evsd's log has the rest"


class DetachFailed(EvsError):
    code, status = "EVS.5500", 500
    template = "attachment {name} can't be ended: {reason}"
    remedy_template = "look at the host and the pool, then detach again"


class PoolFailed(EvsError):
    code, status = "EVS.5500", 500
    template = "the pool fails volume {name}: {reason}"
    remedy_template = "look at the pool's filesystem, then try again"


class JobNotFound(EvsError):
    code, status = "Common.0011", 400
    template = "job {job_id} does not exist"
