"""Who may ask which versions of the API there are."""

from __future__ import annotations

from evsd.policy import EVERY_CALLER, Permission, Roles, declare


class VersionsPermission(Permission):
    """What a route needs."""

    VERSION_SHOW = "kms:versions:list"


POLICY: dict[Permission, Roles] = {
    VersionsPermission.VERSION_SHOW: EVERY_CALLER,
}

declare(POLICY, audited=VersionsPermission)
