"""evsd and evsd-keys, loaded once and forked for each start, see `preloaded`.

    python -m tests.support.preloaded_evsd --state-dir ...

is evsd itself, whose evsd-keys need not load anything: in an emulated guest that takes Python half
a minute.
"""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from types import SimpleNamespace

from evsd.daemon import main
from evsd.daemon.key_process import main as key_main
from evsd.key_client import process
from evsd.services import load_records, modules
from tests.support.preloaded import Preloaded, serve

_LOADED_LATE = (
    "evsd.daemon.assembly",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.exc",
    "uvicorn.loops.uvloop",
)


def load() -> None:
    """All that either of them loads later on."""
    for module in _LOADED_LATE:
        importlib.import_module(module)
    load_records()
    for part in ("consumer", "key_process", "service", "routes"):
        modules(part)


class ForkedKeys(process.KeyProcess):
    """Forks evsd-keys from evsd as it is before it has threads: as the user it has become."""

    def __init__(self, paths: process.KeyProcessPaths) -> None:
        super().__init__(paths)
        popen = Preloaded.fork(run_keys).popen
        vars(process)["subprocess"] = SimpleNamespace(**{**vars(subprocess), "Popen": popen})


def run_evsd() -> None:
    vars(main)["KeyProcess"] = ForkedKeys
    main.main()


def run_keys() -> None:
    del sys.argv[: sys.argv.index("-m") + 1]  # Python's own options
    key_main.main()


if __name__ == "__main__":
    load()
    if not sys.argv[1].isdecimal():
        run_evsd()
    serve(socket.socket(fileno=int(sys.argv[1])), run_evsd)
