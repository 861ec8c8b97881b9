"""evsctl pool and quota: how much space there is, is promised, and is allowed."""

from __future__ import annotations

from typing import Any

import click

from evsd.cli.client import Api, Object
from evsd.cli.errors import Refused, UsageProblem
from evsd.cli.output import Session, card, output_option, pass_session, table
from evsd.cli.sizes import Size
from evsd.cli.volumes import WHAT_NEXT

UNLIMITED = -1
NO_LIMIT = "no limit"


@click.command()
@output_option
@pass_session
def pool(session: Session) -> None:
    """Show the pool: its capacity, what is used and free, and what is promised to volumes.

    For the operator: root, or the user that started evsd, on the unix socket.
    """
    path = "/v3/{project}/scheduler-stats/get_pools"
    answer = session.api.request("GET", path, query={"detail": "true"})
    session.show(answer, lambda: _pool_card(answer["pools"][0]["capabilities"]))


def _pool_card(pool: Object) -> str:
    total, state = pool["total_capacity_gb"], pool["space_state"]
    ratio = pool["overcommit_ratio"]
    advice = WHAT_NEXT.get(state, "").format(pool=pool["directory"])
    return card(
        {
            "directory": pool["directory"],
            "state": state,
            "capacity": _gib(total),
            "used": _gib(pool["used_capacity_gb"]),
            "free": _gib(pool["free_capacity_gb"]),
            "promised": f"{_gib(pool['provisioned_capacity_gb'])}, to all volumes together"
            + (f": {ratio:.2f} of the capacity" if ratio else ""),
            **({"next": advice} if advice else {}),
        }
    )


def _gib(number: float | str) -> str:
    return NO_LIMIT if isinstance(number, str) else f"{number:g}G"


@click.group()
def quota() -> None:
    """How many volumes and snapshots, of how many GiB in all, a project may have."""


@quota.command()
@click.argument("project", required=False)
@output_option
@pass_session
def show(session: Session, project: str | None) -> None:
    """Show what a project may have and has; without PROJECT, the one that is worked in."""
    path = _path(session.api, project)
    answer = session.api.request("GET", path, query={"usage": "True"})
    session.show(answer, lambda: _quota_table(answer["quota_set"]))


class _Limit(Size):
    """A number of its kind, or ``unlimited``."""

    name = "LIMIT"

    def __init__(self, *, sized: bool) -> None:
        self._sized = sized

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:  # fmt: skip
        """Text to what the API takes."""
        if value == "unlimited":
            return UNLIMITED
        if self._sized:
            limit = super().convert(value, param, ctx)
        else:
            limit = int(click.INT.convert(value, param, ctx))
        if limit < 0:
            self.fail(f"{value!r} is less than nothing; for no limit say unlimited", param, ctx)
        return limit


@quota.command("set")
@click.argument("project", required=False)
@click.option("--volumes", type=_Limit(sized=False), help="How many volumes, or unlimited.")
@click.option(
    "--gigabytes", type=_Limit(sized=True), help="Of all volumes together, like 500G; or unlimited."
)
@click.option("--snapshots", type=_Limit(sized=False), help="How many snapshots, or unlimited.")
@output_option
@pass_session
def set_quota(
    session: Session,
    project: str | None,
    volumes: int | None,
    gigabytes: int | None,
    snapshots: int | None,
) -> None:
    """Limit what a project may have; what it has already it keeps.

    For the operator: root, or the user that started evsd, on the unix socket. PROJECT is a name,
    or of another domain the id; without it, the one that is worked in.
    """
    wanted = {"volumes": volumes, "gigabytes": gigabytes, "snapshots": snapshots}
    limits = {name: limit for name, limit in wanted.items() if limit is not None}
    if not limits:
        raise UsageProblem("give --volumes, --gigabytes, --snapshots, or several of them")
    answer = session.api.request("PUT", _path(session.api, project), {"quota_set": limits})
    session.show(answer, lambda: _limits_card(answer["quota_set"]))


def _path(api: Api, project: str | None) -> str:
    target = api.project_id if project is None else _project_id(api, project)
    return f"/v3/{{project}}/os-quota-sets/{target}"


def _project_id(api: Api, project: str) -> str:
    try:
        return str(api.identity("projects", project)["id"])
    except Refused:
        # The operator may name one of another domain, which is in no list of the own.
        if len(project) == 32 and set(project) <= set("0123456789abcdef"):
            return project
        raise


def _limits_card(limits: Object) -> str:
    return card(
        {
            "volumes": _limit(limits["volumes"], ""),
            "gigabytes": _limit(limits["gigabytes"], "G"),
            "snapshots": _limit(limits["snapshots"], ""),
        }
    )


def _quota_table(quota_set: Object) -> str:
    rows = []
    for name, unit in (("volumes", ""), ("gigabytes", "G"), ("snapshots", "")):
        entry = quota_set[name]
        rows.append(
            {
                "of": name,
                "used": f"{entry['in_use'] + entry['reserved']}{unit}",
                "limit": _limit(entry["limit"], unit),
            }
        )
    return table(rows, ["of", "used", "limit"], "")


def _limit(limit: int, unit: str) -> str:
    return NO_LIMIT if limit == UNLIMITED else f"{limit}{unit}"


COMMANDS = (pool,)
