"""Who may do what in IMS."""

from __future__ import annotations

from evsd.policy import (
    READERS,
    TENANT_ADMINISTRATOR,
    USER,
    Permission,
    Role,
    Roles,
    declare,
)

IMS_ADMINISTRATOR = Role("IMS Administrator", "ims_adm")
IMAGE_USERS = frozenset({IMS_ADMINISTRATOR, TENANT_ADMINISTRATOR, USER})


class ImsPermission(Permission):
    """What a route needs."""

    IMAGE_CREATE = "ims:images:create"
    IMAGE_UPLOAD = "ims:images:upload"
    IMAGE_LIST = "ims:images:list"
    IMAGE_SHOW = "ims:images:get"
    IMAGE_UPDATE = "ims:images:update"
    IMAGE_DELETE = "ims:images:delete"
    IMAGE_COPY = "ims:images:copyInRegion"
    IMAGE_EXPORT = "ims:images:export"
    IMAGE_SHARE = "ims:images:share"
    IMAGE_QUOTA_SHOW = "ims:quotas:get"
    IMAGE_JOB_SHOW = "ims:serverImages:getJob"
    SCHEMA_SHOW = "ims:schemas:get"


POLICY: dict[Permission, Roles] = {
    ImsPermission.IMAGE_CREATE: IMAGE_USERS,
    ImsPermission.IMAGE_UPLOAD: IMAGE_USERS,
    ImsPermission.IMAGE_LIST: READERS,
    ImsPermission.IMAGE_SHOW: READERS,
    ImsPermission.IMAGE_UPDATE: IMAGE_USERS,
    ImsPermission.IMAGE_DELETE: IMAGE_USERS,
    ImsPermission.IMAGE_COPY: IMAGE_USERS,
    ImsPermission.IMAGE_EXPORT: IMAGE_USERS,
    ImsPermission.IMAGE_SHARE: IMAGE_USERS,
    ImsPermission.IMAGE_QUOTA_SHOW: READERS,
    ImsPermission.IMAGE_JOB_SHOW: READERS,
    ImsPermission.SCHEMA_SHOW: READERS,
}

declare(POLICY, roles=[IMS_ADMINISTRATOR])
