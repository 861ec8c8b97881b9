"""`X-Client-Token`: a request that is repeated, because its answer was lost, makes nothing twice.

A token is remembered in the transaction that makes what was asked for, and answered with the job
of that. Where that job has failed nothing is left of it, and the request is carried out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from evsd.jobs.service import FAIL
from evsd.jobs.tables import Job
from evsd.services.evs.errors import ClientTokenExpired, ClientTokenReused
from evsd.services.evs.tables import ClientToken
from evsd.store.database import utcnow

GOOD_FOR = timedelta(hours=8)  # as published; after that it is refused, and not taken for new
REMEMBERED_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class RequestToken:
    """A token, and the digest of all that was asked with it."""

    value: str
    digest: str


def find_job(session: Session, project_id: str, token: RequestToken | None) -> Job | None:
    """The job that the first request with this token began.

    Raises `ClientTokenReused` if that was another request, `ClientTokenExpired`.
    """
    if token is None:
        return None
    record = session.get(ClientToken, (project_id, token.value))
    if record is None:
        return None
    if record.digest != token.digest:
        raise ClientTokenReused(token=token.value)
    job = session.get(Job, record.job_id)
    if job is None or job.status == FAIL:
        return None
    if utcnow() - record.created_at > GOOD_FOR:
        raise ClientTokenExpired(token=token.value)
    return job


def remember(session: Session, project_id: str, token: RequestToken | None, job: Job) -> None:
    """Note which job the token's request has begun; old tokens are forgotten by the way."""
    if token is None:
        return
    now = utcnow()
    session.execute(delete(ClientToken).where(ClientToken.created_at < now - REMEMBERED_FOR))
    session.merge(
        ClientToken(
            project_id=project_id,
            token=token.value,
            digest=token.digest,
            job_id=job.id,
            created_at=now,
        )
    )
