from sqlalchemy.orm import Session

from evsd.errors import PublishedError
from evsd.jobs.kinds import JobKind, Work
from evsd.jobs.tables import Job
from evsd.key_channel.call import Call
from evsd.service import Service

from .errors import ToyTaken
from .tables import Toy


class Making(JobKind):
    name = "makeToy"

    def run(self, job: Job, work: Work) -> None:
        work.progress(1, 1)

    def done(self, session: Session, job: Job) -> None:
        session.get_one(Toy, job.entities["name"]).whole = True

    def undo(self, job: Job, error: Exception, work: Work) -> PublishedError:
        raise error


class ToyService(Service):
    def start(self) -> None:
        making = Making()
        self.host.jobs.add(making)
        self.host.jobs.resume(making)

    def make(self, call: Call, name: str) -> str:
        with self.host.database.transaction() as session:
            if session.get(Toy, name):
                raise ToyTaken
            session.add(Toy(name=name))
            job = self.host.jobs.begin(session, Making.name, call.project_id, {"name": name})
        return self.host.jobs.start(job).status


build = ToyService
