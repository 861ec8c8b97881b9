"""Each Python that has this folder in PYTHONPATH marks what it runs of evsd, see `__main__`."""

from __future__ import annotations

import builtins
import contextlib
import marshal
import mmap
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / ".cache" / "coverage"
MARKS = PREPARED / "marks"
NAME = "__marks__"  # of the map, for all modules, the one that is run as a program too


class Prepared(SourceFileLoader):
    """Loads what was prepared of a module."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = marshal.loads((PREPARED / fullname).read_bytes())  # noqa: S302 - ours
        return code


class Finder(MetaPathFinder):
    """Finds the modules that were prepared."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "evsd" or not (PREPARED / fullname).exists():
            return None
        path = ROOT.joinpath(*fullname.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        return spec_from_file_location(fullname, file, loader=Prepared(fullname, str(file)))


def begin() -> None:
    """Mark what this process runs from now on."""
    with MARKS.open("r+b") as file:
        setattr(builtins, NAME, mmap.mmap(file.fileno(), 0))
    sys.meta_path.insert(0, Finder())


if __name__ == "sitecustomize":
    with contextlib.suppress(OSError):  # nothing is prepared, or not for this user
        begin()
