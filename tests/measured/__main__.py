"""Which statements of evsd the tests run, in whichever process.

    python -m tests.measured prepare      before: compile evsd with a mark before each statement
    python -m tests.measured report 80    after: what was marked; fails below 80 %

With this folder in PYTHONPATH a Python loads what was prepared. A mark is one byte of a file that
all processes map: what a process has marked counts also where a test kills it, nothing is written
at its end, and only evsd's own code is slower, hardly so. evsd hands PYTHONPATH to evsd-keys, and
tests hand it to evsctl. Servers of volumes and guests have paths of their own: not measured.
"""

from __future__ import annotations

import ast
import json
import marshal
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.measured.sitecustomize import MARKS, NAME, PREPARED, ROOT

INDEX, REPORT = PREPARED / "index", PREPARED / "report"


# --- before the tests ----------------------------------------------------------------------------


class Marking(ast.NodeTransformer):
    """Puts a mark before each statement that does something."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.lines: list[int] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [each for stmt in block for each in self._marked(stmt)])
        return node

    def _marked(self, statement: ast.stmt) -> Iterator[ast.stmt]:
        if not _does_nothing(statement):
            mark = ast.parse(f"{NAME}[{self.first + len(self.lines)}] = 1").body[0]
            self.lines.append(statement.lineno)
            for node in ast.walk(mark):
                ast.copy_location(node, statement)
            yield mark
        yield statement


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def prepare() -> None:
    """Compile all of evsd but its migrations, which alembic loads by itself."""
    shutil.rmtree(PREPARED, ignore_errors=True)
    PREPARED.mkdir(parents=True)
    index: dict[str, tuple[str, list[int]]] = {}
    marks = 0
    for path in sorted((ROOT / "evsd").rglob("*.py")):
        if "migrations" not in path.parts:
            marking = Marking(marks)
            tree = marking.visit(ast.parse(path.read_bytes()))
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            code = compile(tree, str(path), "exec", dont_inherit=True)
            (PREPARED / name).write_bytes(marshal.dumps(code))
            index[name] = (str(path), marking.lines)
            marks += len(marking.lines)
    INDEX.write_text(json.dumps(index))
    MARKS.write_bytes(bytes(marks))
    MARKS.chmod(0o666)  # tests run programs as several users


# --- after the tests -----------------------------------------------------------------------------


def report(floor: int) -> int:
    """Print what was run of each module, and write which lines were not; 1 below the floor."""
    index: dict[str, tuple[str, list[int]]] = json.loads(INDEX.read_text())
    marks = iter(MARKS.read_bytes())
    run = 0
    missed: dict[str, list[int]] = {}
    for path, lines in index.values():
        missed[path] = [line for line in lines if not next(marks)]
        run += len(lines) - len(missed[path])
    with REPORT.open("w") as file:
        for path, lines in sorted(missed.items(), key=lambda each: -len(each[1])):
            if lines:
                print(Path(path).relative_to(ROOT), *sorted(set(lines)), file=file)
    total = sum(len(lines) for _, lines in index.values())
    percent = 100 * run / total
    print(f"{percent:.1f} % of evsd's {total} statements were run, {floor} % must be; the others")
    print(f"are in {REPORT.relative_to(ROOT)}, the module with most of them first")
    return int(percent < floor)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare()
    else:
        sys.exit(report(int(sys.argv[2])))
