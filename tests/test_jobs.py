"""Jobs of any kind: run, interrupted, resumed, undone, cancelled, on a real database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import Cancelled, JobKind, Work
from evsd.jobs.service import FAIL, RUNNING, SUCCESS, Jobs, finish
from evsd.jobs.tables import Job
from evsd.services import load_records
from evsd.services.iam.tables import Domain, Project
from evsd.store.database import Database

HERE, ELSEWHERE = "host-a", "host-b"


class NotCounted(PublishedError):
    code, status = "Toy.0001", 500
    template = "not counted: {reason}"


class Counting(JobKind):
    """Counts in a file, up to what its record says; the project is named by what it did."""

    name = "count"
    failures: ClassVar = (*JobKind.failures, ZeroDivisionError)

    def __init__(self, database: Database, file: Path, fails: Exception | None = None) -> None:
        self._database, self._file, self.fails = database, file, fails
        self.half, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.resumed: list[str] = []

    def lasts(self, job: Job, *, resumed: bool) -> bool:
        return bool(job.arguments["lasts"]) and not resumed

    def run(self, job: Job, work: Work) -> None:
        count = int(job.arguments["to"])
        for number in range(self.counted, count):
            work.progress(number, count)
            if number == count // 2:
                self.half.set()
                assert self.go_on.wait(60)
                if self.fails is not None:
                    raise self.fails
            with self._file.open("a") as file:
                file.write("x")

    def resume(self, job: Job, work: Work) -> None:
        self.resumed.append(job.id)
        self.run(job, work)

    def done(self, session: Session, job: Job) -> None:
        session.get_one(Project, job.project_id).name = f"counted to {self.counted}"

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:  # noqa: ARG002
        self._file.unlink()
        failure = NotCounted(reason="cancelled" if isinstance(error, Cancelled) else error)
        with self._database.transaction() as session:
            session.get_one(Project, job.project_id).name = "not counted"
            finish(session, job.id, failure)
        return failure

    @property
    def counted(self) -> int:
        return len(self._file.read_text()) if self._file.exists() else 0


class Toy:
    """A database with a project, and the file in which is counted."""

    def __init__(self, database: Database, file: Path) -> None:
        self.database, self.file = database, file

    def kind(self, fails: Exception | None = None) -> Counting:
        return Counting(self.database, self.file, fails)

    @contextmanager
    def evsd(self, kind: Counting, host_id: str = HERE) -> Iterator[Jobs]:
        """One run of evsd, which stops at the end of the block."""
        with Jobs(self.database, host_id) as jobs:
            jobs.add(kind)
            yield jobs

    def begin(self, jobs: Jobs, *, lasts: bool = False) -> Job:
        with self.database.transaction() as session:
            return jobs.begin(session, "count", "p", {"name": "toy"}, to=4, lasts=lasts)

    def state(self, job: Job) -> tuple[str, str]:
        with self.database.reading() as session:
            return session.get_one(Job, job.id).status, session.get_one(Project, "p").name

    @contextmanager
    def half_done(self, kind: Counting, jobs: Jobs) -> Iterator[Job]:
        """A job in the background that stays where it is until the block ends."""
        kind.go_on.clear()
        job = jobs.start(self.begin(jobs, lasts=True))
        try:
            assert kind.half.wait(60)
            yield job
        finally:
            kind.go_on.set()


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    load_records()
    with closing(Database(f"sqlite:///{tmp_path}/evsd.db")) as database:
        database.migrate()
        with database.transaction() as session:
            session.add(Domain(id="d", name="d"))
            session.flush()
            session.add(Project(id="p", domain_id="d", name="p", region="local"))
        yield Toy(database, tmp_path / "count")


def test_what_a_job_is_about_changes_as_its_success_is_noted(toy: Toy) -> None:
    kind = toy.kind()
    with toy.evsd(kind) as jobs:
        job = jobs.start(toy.begin(jobs))
        assert jobs.percent(job) == 100
    assert toy.state(job) == (SUCCESS, "counted to 4")
    assert (job.host_id, bool(job.boot), job.end_at is not None) == (HERE, True, True)
    assert job.arguments == {}  # which may hold what is to be destroyed with a volume


def test_one_that_fails_is_undone_and_tells_why(toy: Toy) -> None:
    with toy.evsd(toy.kind(fails=ZeroDivisionError("by nothing"))) as jobs:
        job = toy.begin(jobs)
        with pytest.raises(NotCounted, match="by nothing"):
            jobs.start(job)
    assert toy.state(job) == (FAIL, "not counted")
    assert not toy.file.exists()
    with toy.database.reading() as session:
        ended = session.get_one(Job, job.id)
    assert (ended.error_code, ended.fail_reason) == ("Toy.0001", "not counted: by nothing")


def test_one_that_lasts_tells_how_far_it_is(toy: Toy) -> None:
    kind = toy.kind()
    with toy.evsd(kind) as jobs:
        with toy.half_done(kind, jobs) as job:
            assert (jobs.percent(job), toy.state(job)) == (50, (RUNNING, "p"))
        for thread in list(jobs._threads.values()):
            thread.join()
    assert toy.state(job) == (SUCCESS, "counted to 4")


def test_one_that_is_cancelled_is_undone_before_that_returns(toy: Toy) -> None:
    kind = toy.kind()
    with toy.evsd(kind) as jobs:
        with toy.half_done(kind, jobs) as job:
            cancelling = threading.Thread(target=jobs.cancel, args=(job.id,))
            cancelling.start()
            assert jobs._works[job.id]._cancelled.wait(60)
        cancelling.join()
        status = toy.state(job)
        jobs.cancel(job.id)  # which has ended
    assert status == (FAIL, "not counted")


def test_one_that_evsds_end_interrupts_is_resumed_and_goes_on_where_it_was(toy: Toy) -> None:
    kind = toy.kind()
    with toy.evsd(kind) as jobs, toy.half_done(kind, jobs) as job:
        jobs._stopping.set()
    assert toy.state(job) == (RUNNING, "p")
    counted = kind.counted
    assert 2 <= counted < 4
    with toy.evsd(kind) as jobs:
        jobs.resume(kind)
        assert kind.resumed == [job.id]
        jobs.resume(kind)
    assert kind.resumed == [job.id]
    assert toy.state(job) == (SUCCESS, "counted to 4")


def test_one_that_a_crash_kept_from_beginning_is_resumed(toy: Toy) -> None:
    with toy.evsd(toy.kind()) as jobs:
        job = toy.begin(jobs, lasts=True)
    with toy.evsd(kind := toy.kind()) as jobs:
        jobs.resume(kind)
    assert toy.state(job) == (SUCCESS, "counted to 4")


def test_one_that_can_not_be_resumed_is_undone_and_keeps_no_other_from_it(toy: Toy) -> None:
    with toy.evsd(toy.kind()) as jobs:
        first, second = toy.begin(jobs), toy.begin(jobs)
    kind = toy.kind(fails=ZeroDivisionError("still"))
    with toy.evsd(kind) as jobs:
        jobs.resume(kind)
    assert kind.resumed == [first.id, second.id]
    assert {toy.state(job) for job in (first, second)} == {(FAIL, "not counted")}


def test_what_fails_by_a_mistake_of_ours_stays_in_the_journal(toy: Toy) -> None:
    kind = toy.kind(fails=AssertionError())
    with toy.evsd(kind) as jobs:
        job = toy.begin(jobs)
        with pytest.raises(AssertionError):
            jobs.start(job)
        jobs.resume(kind)
    assert toy.state(job) == (RUNNING, "p")


def test_another_hosts_is_left_alone_and_one_of_before_hosts_were_told_apart_is_not(
    toy: Toy,
) -> None:
    with toy.evsd(toy.kind(), ELSEWHERE) as jobs:
        job = toy.begin(jobs)
    with toy.evsd(kind := toy.kind()) as jobs:
        jobs.resume(kind)
        assert (toy.state(job), kind.resumed) == ((RUNNING, "p"), [])
        with toy.database.transaction() as session:
            session.get_one(Job, job.id).host_id = None
        jobs.resume(kind)
    assert toy.state(job) == (SUCCESS, "counted to 4")
