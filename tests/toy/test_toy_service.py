"""A new service is its folder and its line where services are listed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.daemon import Evsd, running_evsd
from tests.support.identity import Tenant

TOY = Path(__file__).parent / "toy"


@pytest.fixture(scope="module")
def evsd() -> Iterator[Evsd]:
    """With the toy service; root, who starts it, is its operator."""
    with running_evsd(
        "--http", "127.0.0.1:0", before=(sys.executable, "-m", "tests.toy.start")
    ) as evsd:
        yield evsd


def test_its_folder_has_error_permission_table_route_and_job_in_less_than_60_lines() -> None:
    lines = [line for file in TOY.glob("*.py") for line in file.read_text().splitlines() if line]
    assert len(lines) < 60


def test_its_route_makes_a_record_and_does_its_job(evsd: Evsd) -> None:
    with evsd.http() as http:
        made = http.post(f"/v1/{evsd.project_id()}/toys/bear")
    assert (made.status_code, made.json()) == (200, "SUCCESS")
    with closing(sqlite3.connect(evsd.state / "evsd.db")) as database:
        assert database.execute("SELECT name, whole FROM toys").fetchall() == [("bear", 1)]
        jobs = database.execute("SELECT type, status FROM jobs").fetchall()
    assert jobs == [("makeToy", "SUCCESS")]


def test_its_error_leaves_in_its_own_style(evsd: Evsd) -> None:
    with evsd.http() as http:
        path = f"/v1/{evsd.project_id()}/toys/doll"
        http.post(path)
        refused = http.post(path)
    expected = {"toy": "there is a toy of this name; choose another name"}
    assert (refused.status_code, refused.json()) == (409, expected)


def test_who_has_no_role_for_it_is_refused_by_its_permission(evsd: Evsd) -> None:
    child = Tenant(evsd, "children").user("child", "te_admin")
    refused = child.http.post(f"/v1/{child.project_id}/toys/forbidden")
    expected = {"toy": "child may not do toy:toys:create"}
    assert (refused.status_code, refused.json()) == (403, expected)
