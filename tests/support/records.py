"""Records as evsd has them, for tests of what works on records alone."""

from __future__ import annotations

from evsd.services.evs.tables import Volume
from evsd.services.iam.tables import Domain, Project
from evsd.services.kms.tables import Cmk
from evsd.store.database import Database, utcnow


def add_volume(database: Database, status: str = "available") -> None:
    """A volume `v` of project `p` in domain `d`, under the key `k`."""
    with database.transaction() as session:
        session.add(Domain(id="d", name="d"))
        session.flush()
        session.add(Project(id="p", domain_id="d", name="p", region="local"))
        session.flush()
        session.add(
            Cmk(id="k", domain_id="d", project_id="p", alias="k", status="2", created_at=utcnow())
        )
        session.flush()
        session.add(
            Volume(
                id="v",
                project_id="p",
                name="v",
                size_gib=1,
                volume_type="SSD",
                availability_zone="local",
                status=status,
                cmk_id="k",
                wrapped_dek=b"",
                user_name="root",
                created_at=utcnow(),
                updated_at=utcnow(),
            )
        )
