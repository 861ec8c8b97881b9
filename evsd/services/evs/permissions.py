"""Who may do what in EVS."""

from __future__ import annotations

from evsd.policy import (
    EVERY_CALLER,
    ONLY_OPERATOR,
    READERS,
    TENANT_ADMINISTRATOR,
    USER,
    Permission,
    Role,
    Roles,
    declare,
)

EVS_ADMINISTRATOR = Role("EVS Administrator", "evs_adm")
# The domain that a tenant trusts when it lets the volume service use its keys.
VOLUME_SERVICE = "op_svc_evs"
VOLUME_USERS = frozenset({EVS_ADMINISTRATOR, TENANT_ADMINISTRATOR, USER})


class EvsPermission(Permission):
    """What a route needs."""

    VOLUME_CREATE = "evs:volumes:create"
    VOLUME_LIST = "evs:volumes:list"
    VOLUME_SHOW = "evs:volumes:get"
    VOLUME_UPDATE = "evs:volumes:update"
    VOLUME_EXTEND = "evs:volumes:extend"
    VOLUME_RETYPE = "evs:volumes:retype"
    VOLUME_MANAGE = "evs:volumes:manage"
    VOLUME_DELETE = "evs:volumes:delete"
    VOLUME_TAG_SHOW = "evs:volumeTags:getById"
    VOLUME_TAG_LIST = "evs:volumeTags:list"
    VOLUME_TAG_CREATE = "evs:volumeTags:create"
    VOLUME_TAG_UPDATE = "evs:volumeTags:update"
    VOLUMES_BY_TAG = "evs:volumeTags:get"
    SNAPSHOT_CREATE = "evs:snapshots:create"
    SNAPSHOT_LIST = "evs:snapshots:list"
    SNAPSHOT_SHOW = "evs:snapshots:get"
    SNAPSHOT_UPDATE = "evs:snapshots:update"
    SNAPSHOT_DELETE = "evs:snapshots:delete"
    SNAPSHOT_ROLL_BACK = "evs:snapshots:rollback"
    TYPE_SHOW = "evs:types:get"
    TRANSFER_CREATE = "evs:transfers:create"
    TRANSFER_LIST = "evs:transfers:list"
    TRANSFER_SHOW = "evs:transfers:get"
    TRANSFER_ACCEPT = "evs:transfers:accept"
    TRANSFER_DELETE = "evs:transfers:delete"
    HEADER_BACKUP = "evs:volumes:backupHeader"
    HEADER_RESTORE = "evs:volumes:restoreHeader"
    VOLUME_ATTACH = "evs:volumes:attach"
    VOLUME_DETACH = "evs:volumes:detach"
    ATTACHMENT_SHOW = "evs:attachments:get"
    JOB_SHOW = "evs:jobs:get"
    VOLUME_QUOTA_SHOW = "evs:quotas:get"
    VOLUME_QUOTA_UPDATE = "evs:quotas:update"
    POOL_SHOW = "evs:pools:get"
    STATUS_SHOW = "evs:status:get"


POLICY: dict[Permission, Roles] = {
    EvsPermission.VOLUME_CREATE: VOLUME_USERS,
    EvsPermission.VOLUME_LIST: READERS,
    EvsPermission.VOLUME_SHOW: READERS,
    EvsPermission.VOLUME_UPDATE: VOLUME_USERS,
    EvsPermission.VOLUME_EXTEND: VOLUME_USERS,
    EvsPermission.VOLUME_RETYPE: VOLUME_USERS,
    EvsPermission.VOLUME_MANAGE: ONLY_OPERATOR,
    EvsPermission.VOLUME_DELETE: VOLUME_USERS,
    EvsPermission.VOLUME_TAG_SHOW: READERS,
    EvsPermission.VOLUME_TAG_LIST: READERS,
    EvsPermission.VOLUME_TAG_CREATE: VOLUME_USERS,
    EvsPermission.VOLUME_TAG_UPDATE: VOLUME_USERS,
    EvsPermission.VOLUMES_BY_TAG: READERS,
    EvsPermission.SNAPSHOT_CREATE: VOLUME_USERS,
    EvsPermission.SNAPSHOT_LIST: READERS,
    EvsPermission.SNAPSHOT_SHOW: READERS,
    EvsPermission.SNAPSHOT_UPDATE: VOLUME_USERS,
    EvsPermission.SNAPSHOT_DELETE: VOLUME_USERS,
    EvsPermission.SNAPSHOT_ROLL_BACK: VOLUME_USERS,
    EvsPermission.TYPE_SHOW: READERS,
    EvsPermission.TRANSFER_CREATE: VOLUME_USERS,
    EvsPermission.TRANSFER_LIST: READERS,
    EvsPermission.TRANSFER_SHOW: READERS,
    EvsPermission.TRANSFER_ACCEPT: VOLUME_USERS,
    EvsPermission.TRANSFER_DELETE: VOLUME_USERS,
    # With a keyslot that an administrator added, a backup is as good as the right to attach.
    EvsPermission.HEADER_BACKUP: VOLUME_USERS,
    EvsPermission.HEADER_RESTORE: VOLUME_USERS,
    EvsPermission.VOLUME_ATTACH: VOLUME_USERS,
    EvsPermission.VOLUME_DETACH: VOLUME_USERS,
    EvsPermission.ATTACHMENT_SHOW: READERS,
    EvsPermission.JOB_SHOW: READERS,
    EvsPermission.VOLUME_QUOTA_SHOW: READERS,
    # How much of the host's disks tenants get is the operator's business, and so are the disks.
    EvsPermission.VOLUME_QUOTA_UPDATE: ONLY_OPERATOR,
    EvsPermission.POOL_SHOW: ONLY_OPERATOR,
    EvsPermission.STATUS_SHOW: EVERY_CALLER,
}

declare(
    POLICY,
    roles=[EVS_ADMINISTRATOR],
    audited=[EvsPermission.VOLUME_QUOTA_UPDATE],
    domain=VOLUME_SERVICE,
)
