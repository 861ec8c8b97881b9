"""The URL of a database, and what of it evsd can use. To load this loads no SQLAlchemy."""

from __future__ import annotations

from pathlib import Path

EXAMPLE = "sqlite:////srv/evsd/evsd.db"


class DatabaseUnsupported(Exception):
    """A URL of a database that evsd can't use; the message says why, and no password."""


def file_of(url: str) -> Path:
    """The file that an SQLite URL names; raises `DatabaseUnsupported` for what is none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUnsupported(f"it is no URL of a database, as {EXAMPLE} is") from None
    if parsed.drivername != "sqlite":
        raise DatabaseUnsupported(f"{parsed.drivername} is not supported yet, only SQLite is")
    if parsed.query or not parsed.database or not parsed.database.startswith("/"):
        raise DatabaseUnsupported(f"it must name a file by its absolute path, as {EXAMPLE} does")
    return Path(parsed.database)


def url_of(file: Path) -> str:
    """The URL of a file."""
    return f"sqlite:///{file}"
