"""What a kind of job is: how it is done, gone on with, and undone."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import ClassVar

from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.tables import Job


class Stopped(Exception):
    """evsd is stopping: what was begun stays in the journal for its next start."""


class Cancelled(Exception):
    """Somebody wants this job undone."""


class Work:
    """One try at a job: how far it is, and whether it is to go on.

    `resumed` is whether an earlier try was interrupted.
    """

    def __init__(self, stopping: threading.Event, *, resumed: bool = False) -> None:
        self._stopping, self._cancelled = stopping, threading.Event()
        self.resumed, self.percent = resumed, 0
        self.ended = threading.Event()  # however it ended

    def progress(self, done: int, whole: int) -> None:
        """So much is done; raises `Stopped` or `Cancelled` where it is not to go on."""
        self.percent = 100 * done // whole
        if self._stopping.is_set():
            raise Stopped
        if self._cancelled.is_set():
            raise Cancelled

    @property
    def stopping(self) -> bool:
        """Whether evsd is: what fails now may have failed because of that."""
        return self._stopping.is_set()

    def cancel(self) -> None:
        """Have it raise `Cancelled`."""
        self._cancelled.set()


class JobKind(ABC):
    """One kind of job, of one service. What it needs is in the record, for any run of evsd."""

    name: ClassVar[str]
    # What `run` and `resume` may fail with; anything else is a mistake of ours, and the job stays
    # in the journal.
    failures: ClassVar[tuple[type[Exception], ...]] = (Cancelled, PublishedError)

    def lasts(self, job: Job, *, resumed: bool) -> bool:  # noqa: ARG002
        """Whether it takes so long that nobody waits for it."""
        return False

    @abstractmethod
    def run(self, job: Job, work: Work) -> None:
        """Do it."""

    def resume(self, job: Job, work: Work) -> None:
        """Go on with it where anything between nothing and all of it may be done."""
        self.run(job, work)

    @abstractmethod
    def done(self, session: Session, job: Job) -> None:
        """Change the records of what it is about, as its success is noted."""

    @abstractmethod
    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:
        """Take back what was done until it failed, or was cancelled.

        It notes with `finish` what this returns, the error that is published, in the transaction
        that changes what the job is about.
        """
