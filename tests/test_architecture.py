"""Imports go one way, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the lowest to the highest; a package imports only what stands on lines above its own.
LAYERS = [
    {"errors", "machine", "processes", "logs", "durable", "resource", "connector", "space"},
    {"images"},
    {"store"},
    {"audit", "iam", "pools"},
    {"kms"},
    {"volumes"},
    {"attach"},
    {"api"},
    {"cli", "daemon"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted((ROOT / "evsd").rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "evsd" and len(parts) > 1 and parts[1] in RANK else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_layers(path: Path) -> None:
    own = path.relative_to(ROOT / "evsd").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    higher = {
        module
        for module in imported(path)
        if (other := package(module)) is not None and other != own and RANK[other] >= RANK[own]
    }
    assert not higher


@pytest.mark.parametrize("path", sorted((ROOT / "nbd_plugin").glob("*.py*")), ids=lambda p: p.name)
def test_the_plugin_imports_nothing_of_evsd(path: Path) -> None:
    assert not re.search(r"^\s*c?(import|from) evsd", path.read_text(), re.MULTILINE)


def test_every_package_has_its_place() -> None:
    packages = {path.name for path in (ROOT / "evsd").iterdir() if (path / "__init__.py").exists()}
    assert packages <= set(RANK)
