"""libnbd's Python module, which Debian installs for the system's interpreter only.

The virtual environment is made from that interpreter, so its module loads here as well.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_DIRECTORY = Path("/usr/lib/python3/dist-packages")


def load() -> Any:
    """Import `nbd` without putting all of the system's packages on the path."""
    if "nbd" not in sys.modules:
        (extension,) = _DIRECTORY.glob("libnbdmod.cpython-*.so")
        _import("libnbdmod", extension)
        _import("nbd", _DIRECTORY / "nbd.py")
    return sys.modules["nbd"]


def _import(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be loaded; is python3-libnbd installed?")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
