"""Every error of the KMS: its published code, status, message and remedy."""

from __future__ import annotations

from evsd.errors import PublishedError


class TicketRefused(PublishedError):
    """Of a server that asks for its key; which part of it was wrong is not told."""

    code, status = "IAM.0002", 403
    template = "this ticket gives no right to the key"
    remedy_template = "detach the volume and attach it again"


class KmsError(PublishedError):
    """Base of what the KMS can answer."""


class KmsBodyInvalid(KmsError):
    code, status = "KMS.0202", 400
    template = "the request body is not JSON: {reason}"


class KmsFieldMissing(KmsError):
    code, status = "KMS.0204", 400
    template = "the parameter {field} is missing"


class SequenceInvalid(KmsError):
    code, status = "KMS.0206", 400
    template = "bad sequence {value!r}: a message id of at most 36 characters"


class KeyIdInvalid(KmsError):
    code, status = "KMS.0205", 400
    template = "{value!r} is not a key id"
    remedy_template = "a key id is 36 characters, as `evsctl key list` shows it"


class KeyNotFound(KmsError):
    code, status = "KMS.0207", 404
    template = "key {key_id} does not exist"
    remedy_template = (
        "`evsctl key list` shows the keys of this project; data whose key is gone can't be read"
    )


class EncryptionContextInvalid(KmsError):
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


class KmsFieldInvalid(KmsError):
    code, status = "KMS.0308", 400
    template = "bad parameter {field}: {reason}"


class KmsForbidden(KmsError):
    code, status = "KMS.0330", 403
    template = "{user} may not do {permission}"
    remedy_template = "ask a user with one of these roles: {roles}"


class KeyNotExternal(KmsError):
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


class KeyNotRotatable(KmsError):
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


class TagValueInvalid(KmsError):
    code, status = "KMS.0405", 400
    template = "bad tag value: {reason}"


class TagKeyInvalid(KmsError):
    code, status = "KMS.0406", 400
    template = "bad tag key: {reason}"


class TagQuotaExceeded(KmsError):
    code, status = "KMS.0409", 400
    template = "key {name} would have more than {quota} tags"


class TagNotFound(KmsError):
    code, status = "KMS.0416", 404
    template = "key {name} has no tag {tag}"


class KmsOffsetInvalid(KmsError):
    code, status = "KMS.0417", 400
    template = "bad offset {value!r}: 0 or more"


class KmsProjectMismatch(KmsError):
    code, status = "KMS.0305", 403
    template = "project {project_id} is not one of yours"


class AliasInvalid(KmsError):
    code, status = "KMS.1101", 400
    template = "bad key alias {value!r}: {reason}"


class KeyDescriptionInvalid(KmsError):
    code, status = "KMS.1103", 400
    template = "bad key description: {reason}"


class AliasExists(KmsError):
    code, status = "KMS.1104", 400
    template = "key alias {alias} exists already in this project"


class KeyQuotaExceeded(KmsError):
    code, status = "KMS.1105", 400
    template = "the project has its {quota} keys already"


class KeyNotDisabled(KmsError):
    code, status = "KMS.1201", 400
    template = "key {name} is {state}, only a disabled key can be enabled"


class KeyNotEnabled(KmsError):
    code, status = "KMS.1301", 400
    template = "key {name} is {state}, only an enabled key can be disabled"


class PendingDaysInvalid(KmsError):
    code, status = "KMS.1401", 400
    template = "bad pending_days {value!r}: from 7 to 1096 days, as text"


class KeyNotDeletable(KmsError):
    code, status = "KMS.1402", 400
    template = "key {name} is {state}, its deletion can't be scheduled"


class KeyNotPendingDeletion(KmsError):
    code, status = "KMS.1501", 400
    template = "key {name} is {state}, there is no deletion to cancel"


class KmsLimitInvalid(KmsError):
    code, status = "KMS.1601", 400
    template = "bad limit {value!r}: a number from 1 to 1000, as text"


class KmsMarkerInvalid(KmsError):
    code, status = "KMS.1602", 400
    template = "bad marker {value!r}"


class RandomLengthInvalid(KmsError):
    code, status = "KMS.1801", 400
    template = "random_data_length {value!r} is not a multiple of 8 from 8 to 8192 bits"


class DatakeyLengthOutOfRange(KmsError):
    code, status = "KMS.1901", 400
    template = "datakey_length {value!r} is not from 8 to 8192 bits"


class DatakeySpecInvalid(KmsError):
    code, status = "KMS.1902", 400
    template = "bad key_spec {value!r} for a data key"


class DatakeyLengthNotWhole(KmsError):
    code, status = "KMS.1903", 400
    template = "datakey_length {value!r} is not a multiple of 8 bits"


class PlaintextInvalid(KmsError):
    code, status = "KMS.2101", 400
    template = "bad plain_text: {reason}"


class DatakeyPlainLengthInvalid(KmsError):
    code, status = "KMS.2102", 400
    template = "bad datakey_plain_length {value!r}: from 1 to 1024 bytes, as text"


class DatakeyHashMismatch(KmsError):
    code, status = "KMS.2103", 400
    template = "plain_text must end with the SHA-256 of the data key, and does not"


class DatakeyLengthMismatch(KmsError):
    code, status = "KMS.2104", 400
    template = "plain_text is not a data key of {length} bytes and its SHA-256, in hex"


class CiphertextInvalid(KmsError):
    code, status = "KMS.2201", 400
    template = "cipher_text can't be decrypted: {reason}"


class DatakeyCipherLengthInvalid(KmsError):
    code, status = "KMS.2204", 400
    template = "datakey_cipher_length {value!r} is not the length of this data key"


class GrantIncomplete(KmsError):
    code, status = "KMS.2401", 400
    template = "create-grant alone can't be granted"
    remedy_template = "grant it together with what may be passed on"


class GranteeInvalid(KmsError):
    code, status = "KMS.2402", 400
    template = "bad principal {value!r}: {reason}"


class GrantInvalid(KmsError):
    code, status = "KMS.2403", 400
    template = "bad grant: {field}: {reason}"


class GrantQuotaExceeded(KmsError):
    code, status = "KMS.2404", 400
    template = "key {name} has its {quota} grants already"


class GrantIdInvalid(KmsError):
    code, status = "KMS.2501", 400
    template = "{value!r} is not the id of a grant"


class GrantKeyMismatch(KmsError):
    code, status = "KMS.2502", 400
    template = "key {name} has no grant {grant_id}"


class ImportTokenExpired(KmsError):
    code, status = "KMS.2601", 400
    template = "the import token has expired"
    remedy_template = "get new parameters for import"


class MaterialExpiryPast(KmsError):
    code, status = "KMS.2602", 400
    template = "bad expiration_time {value!r}: seconds since 1970, in the future"


class ImportTokenKeyMismatch(KmsError):
    code, status = "KMS.2603", 400
    template = "the import token was made for another key than {name}"


class MaterialLengthInvalid(KmsError):
    code, status = "KMS.2604", 400
    template = "the key material has {length} bytes, not 32"


class ImportTokenInvalid(KmsError):
    code, status = "KMS.2605", 400
    template = "the import token is not valid: {reason}"
    remedy_template = "get new parameters for import; each is good for one import"


class MaterialMismatch(KmsError):
    code, status = "KMS.2606", 400
    template = "key {name} had other material before, and only the same can be imported again"


class MaterialNotDeletable(KmsError):
    code, status = "KMS.2701", 400
    template = "key {name} is {state}, there is no material that could be deleted"


class RotationEnabledAlready(KmsError):
    code, status = "KMS.2901", 400
    template = "key {name} rotates itself already"


class RotationIntervalInvalid(KmsError):
    code, status = "KMS.3001", 400
    template = "bad rotation_interval {value!r}: from 30 to 365 days"
