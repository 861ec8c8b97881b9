"""What `make test` says of the statements that were run is so."""

from __future__ import annotations

import ast

from tests.measured.__main__ import Marking
from tests.measured.sitecustomize import NAME

SOURCE = '''"""What a module is."""
from __future__ import annotations
import json

def halved(number):
    """A docstring is no statement."""
    if number % 2:
        raise ValueError(number)
    elif number:
        half = number // 2
    else:
        half = 0
    return half

class Empty:
    kind: int = 1

try:
    halved(3)
except ValueError:
    halved(4)
finally:
    Empty()
'''


def test_each_statement_that_is_run_is_marked_and_no_other() -> None:
    first = 7
    marking = Marking(first)
    tree = marking.visit(ast.parse(SOURCE))
    marks = bytearray(first + len(marking.lines))
    exec(compile(tree, "source", "exec"), {NAME: marks, "__name__": "source"})  # noqa: S102
    assert marks[:first] == bytes(first)
    run = {line for line, mark in zip(marking.lines, marks[first:], strict=True) if mark}
    missed = set(marking.lines) - run
    assert (sorted(run), sorted(missed)) == (
        [3, 5, 7, 8, 9, 10, 13, 15, 16, 18, 19, 21, 23],
        [12],
    )


def test_lines_of_what_goes_wrong_are_those_of_the_source() -> None:
    tree = Marking(0).visit(ast.parse(SOURCE))
    found = {
        node.lineno: type(node).__name__
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise | ast.Return)
    }
    assert found == {8: "Raise", 13: "Return"}
