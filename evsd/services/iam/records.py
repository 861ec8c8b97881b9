"""Finding and writing identity records: another domain's looks like a missing one."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evsd.services.iam.errors import IamExists, IamNotFound
from evsd.services.iam.tables import AccessKey, Agency, Domain, Group, Project, User

R = TypeVar("R", Project, User, Group, Agency)


def find(session: Session, table: type[R], record_id: str, domain_id: str) -> R:
    """A record of the domain; raises `IamNotFound`, for another domain's too."""
    record = session.get(table, record_id)
    if record is None or record.domain_id != domain_id:
        raise IamNotFound(what=table.__name__.lower(), name=record_id)
    return record


def is_known(session: Session, kind: str, record_id: str) -> bool:
    """Whether there is such a `user` or `domain`, whosever it is."""
    return session.get({"user": User, "domain": Domain}[kind], record_id) is not None


def has_access_keys(session: Session) -> bool:
    """Whether there is any, of anybody."""
    return session.scalars(select(AccessKey.access).limit(1)).first() is not None


def flush(session: Session, what: str, name: str) -> None:
    """Write what was added or changed; raises `IamExists` if the name is taken."""
    try:
        session.flush()
    except IntegrityError as error:
        raise IamExists(what=what, name=name) from error
