"""Who may read and verify the audit log."""

from __future__ import annotations

from evsd.policy import ONLY_OPERATOR, SECURITY, Permission, Roles, declare


class AuditPermission(Permission):
    """What a route needs."""

    AUDIT_LIST = "audit:records:list"
    AUDIT_VERIFY = "audit:records:verify"


POLICY: dict[Permission, Roles] = {
    AuditPermission.AUDIT_LIST: SECURITY,
    AuditPermission.AUDIT_VERIFY: ONLY_OPERATOR,
}

declare(POLICY)
