"""Finding attachments; in this project's they are, or they are not there."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.services.evs.errors import AttachmentNotFound
from evsd.services.evs.tables import Attachment


def find(session: Session, project_id: str, attachment_id: str) -> Attachment:
    """The attachment's record in this session; a foreign one looks like a missing one."""
    attachment = session.get(Attachment, attachment_id)
    if attachment is None or attachment.project_id != project_id:
        raise AttachmentNotFound(name=attachment_id)
    return attachment


def find_all(session: Session, project_id: str, volume_id: str | None = None) -> list[Attachment]:
    """A project's attachments, oldest first; those of one volume if asked."""
    query = select(Attachment).where(Attachment.project_id == project_id)
    if volume_id is not None:
        query = query.where(Attachment.volume_id == volume_id)
    return list(session.scalars(query.order_by(Attachment.created_at)))
