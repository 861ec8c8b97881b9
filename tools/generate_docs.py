"""Makes what is documented from what is programmed: man pages, completion, OpenAPI, permissions.

And the schema of a new database, from the migrations.

Run by `make docs`; a test compares the committed files with a fresh run.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class
from click_man.core import write_man_pages
from sqlalchemy import create_engine

import evsd
from evsd.api.app import described
from evsd.cli.main import main as evsctl
from evsd.daemon.main import main as daemon
from evsd.policy import (
    COMMON,
    NO_ROLE,
    OPERATOR,
    Permission,
    Role,
    allowed,
    given_roles,
    is_grantable,
)
from evsd.policy import permissions as declared
from evsd.services import modules
from evsd.store.schema import FRESH, migrate

DOCS = Path(__file__).parent.parent / "docs"
SHELLS = ("bash", "zsh", "fish")
PERMISSIONS = """# Who may do what

Made by `make docs` from the policy tables (`permissions.py` of each service) and the routes; a test
asks a running evsd about every cell.

Groups hold roles, in a domain with all its projects or in one project; a user has the roles of its
groups. An empty cell is refused with 403. *grant* is refused too, unless a grant on the very key
allows it, to the user or to the domain. *own* is for what belongs to the caller alone, *all* for
every user of the domain. What belongs to another domain is answered like what does not exist.
The *operator* is root, or the user that started evsd, on the unix socket; both are Security and
Tenant Administrator of the domain `default` as well.

"""


def generate(target: Path) -> None:
    """Write all generated documents below `target`."""
    man, completion = target / "man", target / "completion"
    for directory in (man, completion):
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
    evsctl.load_all()
    _man_pages("evsctl", evsctl, man)
    _man_pages("evsd", daemon, man)
    for shell in SHELLS:
        (completion / f"evsctl.{shell}").write_text(_completion(shell))
    api = described(modules("routes"))
    (target / "openapi.json").write_text(json.dumps(api, indent=1) + "\n")
    (target / "permissions.md").write_text(permissions(api))


def schema() -> str:
    """What the migrations make of an empty database: a statement for each table, index and row."""
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        with create_engine(f"sqlite:///{file.name}").connect() as connection:
            migrate(connection)
            connection.commit()
        with closing(sqlite3.connect(file.name)) as database:
            _, *statements, _ = database.iterdump()  # BEGIN and COMMIT are the caller's
    return "\n".join(statements) + "\n"


def permissions(api: dict[str, Any]) -> str:
    """Every route and who may use it, as a table."""
    rows = [
        _row(f"`{method.upper()} {path}`", operation)
        for path, operations in sorted(api["paths"].items())
        for method, operation in operations.items()
    ]
    columns = ["route", "permission", *map(str, _roles())]
    lines = [columns, ["---", "---", *(":-:" for _ in columns[2:])], *rows]
    return PERMISSIONS + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _roles() -> list[Role]:
    of_services = set(given_roles().values()) - set(COMMON)  # in the order they were loaded in
    return [*COMMON, *sorted(of_services), OPERATOR, NO_ROLE]


def _row(route: str, operation: dict[str, Any]) -> list[str]:
    named: dict[str, Permission] = {str(each): each for each in declared()}
    permission = named[operation["x-permission"]]
    others = operation.get("x-permission-of-others")
    cells = []
    for role in _roles():
        roles = frozenset({role} - {NO_ROLE})
        refused = "grant" if is_grantable(permission) else ""
        cell = "yes" if allowed(permission, roles) else refused
        if others is not None:
            cell = "all" if allowed(named[others], roles) else "own"
        cells.append(cell)
    return [route, f"`{permission}`", *cells]


def _man_pages(name: str, command: click.Command, directory: Path) -> None:
    # A fixed date: the pages must be the same on every day.
    write_man_pages(name, command, version=evsd.__version__, target_dir=str(directory), date="2026")


def _completion(shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None, shell  # noqa: S101 - of Click's own shells
    if shell == "bash":
        # Click's source() asks for the version of a bash on this host; the text does not need it.
        kind._check_version = staticmethod(lambda: None)  # type: ignore[attr-defined]
    return kind(evsctl, {}, "evsctl", "_EVSCTL_COMPLETE").source()


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
    FRESH.write_text(schema())
