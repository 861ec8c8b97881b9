"""Delegation: an agency by which a tenant lets the volume service use its keys in a project."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.iam.policy import KMS_ADMINISTRATOR, VOLUME_SERVICE
from evsd.store.tables import Agency, AgencyRole


def delegated(session: Session, project_id: str) -> bool:
    """Whether the volume service may use keys in this project."""
    query = (
        select(AgencyRole.agency_id)
        .join(Agency)
        .where(
            AgencyRole.project_id == project_id,
            AgencyRole.role_id == KMS_ADMINISTRATOR,
            Agency.trust_domain_name == VOLUME_SERVICE,
        )
    )
    return session.scalars(query).first() is not None
