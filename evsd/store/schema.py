"""Bringing a database to the schema that this program knows.

A new one is made as `schema.sql` says, in a hundredth of the time that all migrations take. That
file is what they lead to, made by `make docs`: one that is behind is no fault, the migrations that
it does not have yet are done after it.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"
FRESH = Path(__file__).parent / "schema.sql"
END = ";\n"  # of a statement, in `FRESH`


def bring_up(connection: Connection) -> None:
    """Make the tables, or change those of an earlier program, if that is needed."""
    if not _has_tables(connection):
        for statement in FRESH.read_text().removesuffix(END).split(END):
            connection.exec_driver_sql(statement)
    reached = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if reached != newest():
        migrate(connection)


def newest() -> str:
    """The migration that none comes after; Alembic finds it too, and takes 0.1 s to load."""
    sources = [path.read_text() for path in (MIGRATIONS / "versions").glob("*.py")]
    made = {name for source in sources for name in re.findall(r'^revision = "(.*)"', source, re.M)}
    followed = re.findall(r'^down_revision = "(.*)"', "\n".join(sources), re.M)
    (last,) = made - {*followed}
    return str(last)


def migrate(connection: Connection) -> None:
    """Do all migrations that have not been done."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _has_tables(connection: Connection) -> bool:
    count = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    return bool(count)
