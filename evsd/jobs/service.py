"""Doing jobs: now or in the background, to their end or until evsd ends.

The record is the journal. It is made before anything is done (`begin`, in the transaction that
says of what it is about that this is under way), and says how it ended in the transaction that
says what has become of that. One that is RUNNING when evsd starts was interrupted.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Stopped, Work
from evsd.jobs.tables import Job
from evsd.processes import boot_id
from evsd.resource import Resource
from evsd.store.database import Database, utcnow

RUNNING, SUCCESS, FAIL = "RUNNING", "SUCCESS", "FAIL"

log = structlog.get_logger()


class Jobs(Resource):
    """The jobs of one host, of all services."""

    def __init__(self, database: Database, host_id: str) -> None:
        self._database, self._host_id = database, host_id
        self._kinds: dict[str, JobKind] = {}
        self._lock = threading.Lock()
        self._works: dict[str, Work] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()

    def close(self) -> None:
        """Stop all work where it is; the next run of evsd resumes it."""
        self._stopping.set()
        for thread in list(self._threads.values()):
            thread.join()

    def add(self, *kinds: JobKind) -> None:
        """Know these kinds."""
        self._kinds |= {kind.name: kind for kind in kinds}

    def resume(self, *kinds: JobKind) -> None:
        """Go on with what the last run of evsd on this host left of these kinds."""
        names = [kind.name for kind in kinds]
        unfinished = select(Job).where(
            Job.status == RUNNING, Job.type.in_(names), Job.on(self._host_id)
        )
        with self._database.reading() as session:
            jobs = list(session.scalars(unfinished.order_by(Job.begin_at)))
        for job in jobs:
            log.warning("unfinished job", job=job.id, type=job.type, about=job.entities)
            try:
                self._start(job, resumed=True)
            except PublishedError as error:
                log.warning("undone", job=job.id, reason=error.message)
            except Exception:
                # One that is stuck must not keep evsd from all others.
                log.exception("not resumed", job=job.id)

    def begin(
        self,
        session: Session,
        kind: str,
        project_id: str,
        entities: dict[str, Any],
        **arguments: object,
    ) -> Job:
        """Note, in this session, that a job begins; `start` it when that is committed."""
        job = Job(
            id=uuid.uuid4().hex,
            project_id=project_id,
            type=kind,
            status=RUNNING,
            entities=entities,
            arguments=arguments,
            host_id=self._host_id,
            boot=boot_id(),
            begin_at=utcnow(),
        )
        session.add(job)
        return job

    def start(self, job: Job) -> Job:
        """Do it; returns it as it is then, still running where it lasts.

        Raises what it is refused with, when it was undone.
        """
        return self._start(job, resumed=False)

    def cancel(self, job_id: str) -> None:
        """Have it undone, and wait until it has ended; nothing happens where it has."""
        with self._lock:
            work = self._works.get(job_id)
        if work is not None:
            work.cancel()
            work.ended.wait()

    def do(self, job: Job) -> Job:
        """Do it in this thread, as a part of another job, also where it lasts; `start` otherwise.

        Raises what it is refused with, when it was undone; `Stopped`.
        """
        kind, work = self._kinds[job.type], Work(self._stopping)
        with self._known(job, work):
            return self._do(kind, job, work)

    def percent(self, job: Job) -> int:
        """How far it is."""
        if job.status != RUNNING:
            return 100
        work = self._works.get(job.id)
        return 0 if work is None else work.percent

    def _start(self, job: Job, *, resumed: bool) -> Job:
        kind, work = self._kinds[job.type], Work(self._stopping, resumed=resumed)
        if not kind.lasts(job, resumed=resumed):
            return self._do(kind, job, work)
        name = f"job-{job.id}"
        thread = threading.Thread(
            target=self._do_alone, args=(kind, job, work), name=name, daemon=True
        )
        with self._lock:
            self._works[job.id], self._threads[job.id] = work, thread
        thread.start()
        return job

    @contextmanager
    def _known(self, job: Job, work: Work) -> Iterator[None]:
        """Others can ask how far it is, cancel it, and wait for its end."""
        with self._lock:
            self._works[job.id] = work
        try:
            yield
        finally:
            with self._lock:
                del self._works[job.id]
            work.ended.set()

    def _do_alone(self, kind: JobKind, job: Job, work: Work) -> None:
        try:
            with self._known(job, work):
                self._do(kind, job, work)
        except Stopped:
            log.warning("it is resumed, or undone, at the next start", job=job.id, type=job.type)
        except PublishedError as error:
            log.warning("job failed", job=job.id, type=job.type, reason=error.message)
        except Exception:
            log.exception("job failed", job=job.id, type=job.type)
        finally:
            with self._lock:
                del self._threads[job.id]

    def _do(self, kind: JobKind, job: Job, work: Work) -> Job:
        step = kind.resume if work.resumed else kind.run
        try:
            step(job, work)
        except kind.failures as error:
            failure = kind.undo(job, error, work)
            raise failure from error
        with self._database.transaction() as session:
            kind.done(session, job)
            return finish(session, job.id)


def finish(session: Session, job_id: str, error: PublishedError | None = None) -> Job:
    """Note how a job ended."""
    job = session.get_one(Job, job_id)
    job.status = SUCCESS if error is None else FAIL
    job.end_at = utcnow()
    job.arguments = {}  # a wrapped key, for one, must not outlive what it is of
    if error is not None:
        job.error_code, job.fail_reason = error.code, error.text[:1024]
    return job
