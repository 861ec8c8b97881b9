"""Makes what is documented from what is programmed: man pages, shell completion, OpenAPI.

Run by `make docs`; a test compares the committed files with a fresh run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from click.shell_completion import get_completion_class
from click_man.core import write_man_pages

import evsd
from evsd.api.app import build_app
from evsd.cli.main import main as evsctl
from evsd.daemon.main import main as daemon

DOCS = Path(__file__).parent.parent / "docs"
SHELLS = ("bash", "zsh", "fish")


def generate(target: Path) -> None:
    """Write all generated documents below `target`."""
    man, completion = target / "man", target / "completion"
    for directory in (man, completion):
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
    _man_pages("evsctl", evsctl, man)
    _man_pages("evsd", daemon, man)
    for shell in SHELLS:
        (completion / f"evsctl.{shell}").write_text(_completion(shell))
    (target / "openapi.json").write_text(json.dumps(build_app().openapi(), indent=1) + "\n")


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
