"""What other services tell the KMS: who may have a data key, and what hangs on which CMK.

A consumer calls these in the very transaction that changes its own record, so that neither is ever
there without the other, whenever evsd ends. evsd-keys only reads what is registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from evsd.key_channel.key_use import KeyUse
from evsd.key_channel.tickets import ticket_digest
from evsd.processes import Process
from evsd.services.kms.tables import KeyDependent, KeyRelease


def register_release(
    session: Session,
    release_id: str,
    use: KeyUse,
    process: Process,
    ticket: str,
) -> None:
    """Let this process have a data key on this ticket, for this use.

    No other can have it from now on, whoever was registered under `release_id` before.
    """
    release = KeyRelease(
        id=release_id,
        **asdict(use),
        ticket_sha256=ticket_digest(ticket),
        pid=process.pid,
        start=process.started,
        boot=process.boot,
    )
    session.merge(release)


def withdraw_release(session: Session, release_id: str) -> None:
    """Give the key to nobody any more, nor others on the same ticket.

    Nothing happens where nobody is registered.
    """
    ticket = ticket_sha256(session, release_id)
    session.execute(delete(KeyRelease).where(KeyRelease.ticket_sha256 == ticket))


def ticket_sha256(session: Session, release_id: str) -> str:
    """The digest of the ticket of the process that is registered; "" where none is."""
    release = session.get(KeyRelease, release_id)
    return "" if release is None else release.ticket_sha256


def add_dependent(
    session: Session,
    kind: str,
    dependent_id: str,
    name: str,
    project_id: str,
    key_id: str,
    since: datetime,
) -> None:
    """Enter a thing that can't be read any more once the CMK is destroyed."""
    dependent = KeyDependent(
        kind=kind, id=dependent_id, name=name, project_id=project_id, key_id=key_id, since=since
    )
    session.merge(dependent)


def rename_dependent(session: Session, kind: str, dependent_id: str, name: str) -> None:
    """It is called otherwise now."""
    this = (KeyDependent.kind == kind, KeyDependent.id == dependent_id)
    session.execute(update(KeyDependent).where(*this).values(name=name))


def remove_dependent(session: Session, kind: str, dependent_id: str) -> None:
    """It is gone; nothing happens where it never was."""
    this = (KeyDependent.kind == kind, KeyDependent.id == dependent_id)
    session.execute(delete(KeyDependent).where(*this))


def dependents_of(session: Session, key_id: str) -> Sequence[KeyDependent]:
    """What hangs on a CMK, newest first."""
    query = select(KeyDependent).where(KeyDependent.key_id == key_id)
    newest_first = query.order_by(KeyDependent.since.desc(), KeyDependent.id)
    return session.scalars(newest_first).all()
