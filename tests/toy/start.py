"""evsd with one service more: what a service of evsd's own has, its folder and its line in a list.

Its table has no migration, so that the tables of a release are only those of its migrations.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evsd import services
from evsd.daemon.main import main
from evsd.store.database import Database
from evsd.store.tables import Base

services.__path__.append(str(Path(__file__).parent))
services.SERVICES = (*services.SERVICES, "toy")
migrate = Database.migrate


def migrate_and_add(self: Database) -> None:
    migrate(self)
    Base.metadata.tables["toys"].create(self.engine, checkfirst=True)


Database.migrate = migrate_and_add  # type: ignore[method-assign]
sys.argv[:2] = ["evsd"]
main()
