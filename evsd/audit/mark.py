"""How far the audit log had come, as the database remembers it.

The log and its head can both be put back to an earlier state, and fit each other. The mark is
written with every change of records by evsd-keys, which itself wrote the change's record before,
and once a minute: what was recorded until then is found missing.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from evsd.audit.chain import START, Head
from evsd.audit.log import AuditLog
from evsd.audit.tables import AuditMark
from evsd.store.database import Database


def read_mark(database: Database) -> Head:
    """The mark; a log that begins is at `START`."""
    with database.reading() as session:
        mark = session.get(AuditMark, 1)
        return START if mark is None else Head(mark.sequence, mark.hash)


def keep_mark(database: Database, log: AuditLog) -> None:
    """Write the mark with every transaction from now on; it never leads the log."""

    def write(session: Session) -> None:
        head = log.synced_head
        session.merge(AuditMark(id=1, sequence=head.sequence, hash=head.hash))

    database.before_commit(write)
