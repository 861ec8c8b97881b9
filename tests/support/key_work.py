"""What evsd-keys does for an operation, counted instead of timed.

In a process of its own: a PKCS#11 module is loaded once per process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from evsd.daemon.key_process import main as process
from evsd.daemon.settings import StateDirectory
from evsd.key_channel.call import Call
from evsd.key_channel.operation import Operation
from evsd.key_process.token import softhsm
from evsd.services.kms.operations import CreateDatakey, DescribeKey, ListKeys
from evsd.store.database import Database
from tests.support.daemon import Evsd

PROGRAM = "tests.support.key_work"
Queries = list[tuple[str, Any]]


@dataclass(frozen=True)
class Work:
    """Of one operation."""

    functions: int
    """Calls of functions, Python's and those of C that Python calls."""
    searches: int
    """Searches of the token."""
    plan: list[str]
    """How SQLite finds the rows of each query."""


def work_of(evsd: Evsd, project: str, module: Path, keys: list[str]) -> dict[str, Work]:
    """The least work of each operation under any of the keys, their first use; evsd is stopped.

    `module` is what `tests.support.hsm.build_proxy` made.
    """
    calls = module.with_suffix(".calls")
    calls.touch()
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, evsd.state, project, module, *keys],
        env={**os.environ, "EVSD_TEST_PKCS11_CALLS": str(calls)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {name: Work(**work) for name, work in json.loads(done.stdout).items()}


class Counter:
    """Counts what is done while it runs something."""

    def __init__(self, database_url: str, calls: Path) -> None:
        self._url, self._calls = database_url, calls
        self._functions, self._queries = 0, Queries()
        event.listen(Engine, "before_cursor_execute", self._note)

    def work(self, operation: Callable[[], object]) -> Work:
        """Of one run."""
        self._functions, searches = 0, self._searches()
        self._queries = Queries()
        sys.setprofile(self._count)
        operation()
        sys.setprofile(None)
        functions, queries = self._functions, self._queries
        return Work(functions, self._searches() - searches, self._plan(queries))

    def _count(self, _frame: Any, kind: str, _argument: Any) -> None:
        self._functions += kind in {"call", "c_call"}

    def _note(self, _connection: Any, _cursor: Any, query: str, values: Any, *_: Any) -> None:
        if query.startswith("SELECT"):
            self._queries.append((query, values))

    def _searches(self) -> int:
        return self._calls.read_text().count("C_FindObjectsInit\n")

    def _plan(self, queries: Queries) -> list[str]:
        with Database(self._url).engine.connect() as connection:
            explained = [
                connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)
                for query, values in queries
            ]
            return [row.detail for rows in explained for row in rows]


def main() -> None:
    """Print the work of each operation as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=lambda path: StateDirectory(Path(path)))
    parser.add_argument("project")
    parser.add_argument("module", type=Path)
    parser.add_argument("keys", nargs="+")
    given = parser.parse_args()
    softhsm.MODULE = given.module
    gc.disable()  # what it calls is nobody's work
    with ExitStack() as stack:
        url = f"sqlite:///{given.state.database}"
        operations = _operations(given.state, url, stack)
        call = Call("tests", "domain", given.project, "uid:0", "request")
        counter = Counter(url, Path(os.environ["EVSD_TEST_PKCS11_CALLS"]))
        work = {
            name: min((counter.work(run(key)) for key in given.keys), key=lambda w: w.functions)
            for name, run in _runs(operations, call).items()
        }
    print(json.dumps({name: asdict(found) for name, found in work.items()}))


def _operations(state: StateDirectory, url: str, stack: ExitStack) -> dict[str, Operation]:
    options = argparse.Namespace(
        database=url,
        token_dir=state.token,
        module=None,
        audit_log=state.audit_log,
        audit_segment=2**30,
    )
    return process._build(options, stack).operations


def _runs(
    operations: dict[str, Operation], call: Call
) -> dict[str, Callable[[str], Callable[[], object]]]:
    return {
        "list": lambda _: lambda: operations["list-keys"].handler(call, ListKeys(None, 10, 0)),
        "describe": lambda key: lambda: operations["describe-key"].handler(call, DescribeKey(key)),
        "create data key": lambda key: (
            lambda: operations["create-datakey"].handler(call, CreateDatakey(key, 512, "", True))
        ),
    }


if __name__ == "__main__":
    main()
