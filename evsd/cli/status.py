"""evsctl status: whether evsd runs, and whether it is well."""

from __future__ import annotations

import click

from evsd.cli.client import Object
from evsd.cli.errors import Unreachable
from evsd.cli.output import Session, card, output_option, pass_session
from evsd.cli.volumes import WHAT_NEXT
from evsd.space import in_words

NOT_THERE = (
    "attached volumes go on without it; start it: systemctl start evsd, or evsd --state-dir DIR; "
    "its log says why it has ended"
)


@click.command()
@output_option
@pass_session
def status(session: Session) -> None:
    """Show whether evsd runs, keys can be used, and there is space.

    Exit status: 0 evsd runs, 1 it doesn't, or can't be reached.
    """
    try:
        answer = session.api.request("GET", "/v1/status")
    except Unreachable as error:
        raise Unreachable(error.problem.message, NOT_THERE) from error
    session.show(answer, lambda: _card(answer))


def _card(answer: Object) -> str:
    rows = {"evsd": f"runs, version {answer['version']}, region {answer['region']}"}
    usable = answer["keys"] == "usable"
    rows["keys"] = "usable" if usable else f"can't be used: {answer['keys']}"
    rows["database"] = answer["database"]
    todo = []
    for filesystem in answer["filesystems"]:
        rows[filesystem["holds"]] = _space(filesystem)
        where = filesystem.get("directory", "of evsd")
        if filesystem["holds"] == "pool" and filesystem["state"] in WHAT_NEXT:
            todo.append(WHAT_NEXT[filesystem["state"]].format(pool=where))
        elif filesystem["state"] != "ok":
            todo.append(f"the {filesystem['holds']} {where} is {filesystem['state']}: free space")
    if answer["database"] == "restored":
        todo.append("the database is from a backup: evsd's log says what to look at")
    return card({**rows, **({"next": "; ".join(todo)} if todo else {})})


def _space(filesystem: Object) -> str:
    if "free_bytes" not in filesystem:
        return str(filesystem["state"])
    if not filesystem["total_bytes"]:
        return f"{filesystem['state']}, {filesystem['directory']}"
    free, total = (in_words(filesystem[name]) for name in ("free_bytes", "total_bytes"))
    return f"{filesystem['state']}, {free} of {total} free, {filesystem['directory']}"
