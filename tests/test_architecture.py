"""Imports go one way, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from evsd.services import SERVICES

ROOT = Path(__file__).parent.parent
# From the lowest to the highest; a package imports only what stands on lines above its own.
LAYERS = [
    {"errors", "state_machine", "processes", "logs", "durable", "resource", "space", "policy"},
    {"connector", "host", "principal", "signature"},
    {"images"},
    {"store"},
    {"audit", "pools", "jobs"},
    {"layers"},
    {"key_channel"},
    {"key_client", "key_process", "serving"},
    {"service"},
    {"api"},
    {"services"},
    {"cli", "daemon"},
]
# evsctl is a client: of what evsd itself is made of it asks over HTTP. (`evsctl hsm check`, which
# needs no evsd, starts a program of evsd-keys, in a process of its own: it imports none of it.)
CLIENT_USES = {"cli", "images", "connector", "errors", "processes", "durable", "resource", "space"}
CLIENT_USES |= {"host", "signature", "policy"}
# Written down once for both ends; they need nothing else of evsd themselves.
OF_BOTH_ENDS = {
    "evsd.services.evs.permissions": "the name of the volume service's domain",
    "evsd.services.kms.permissions": "names of the operations to grant, and of a role",
}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted((ROOT / "evsd").rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if _is_module(inner) else str(node.module)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def package(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "evsd" and len(parts) > 1 and parts[1] in RANK else None


def of_evsd(path: Path) -> set[str]:
    """The modules it imports that a client has no use for."""
    return {module for module in imported(path) if package(module) not in {None, *CLIENT_USES}}


each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "evsd"))
)


@each_module
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


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_only_from_services_listed_before_it(service: str) -> None:
    later = SERVICES[SERVICES.index(service) + 1 :]
    found = {
        (str(path), module)
        for path in (ROOT / "evsd" / "services" / service).rglob("*.py")
        for module in imported(path)
        if module.startswith(tuple(f"evsd.services.{name}" for name in later))
    }
    assert not found


@each_module
def test_what_runs_in_evsd_keys_is_imported_there_alone(path: Path) -> None:
    if "key_process" not in path.parts:
        assert not {module for module in imported(path) if "key_process" in module.split(".")}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "evsd" / "cli").rglob("*.py")), ids=lambda p: p.name
)
def test_evsctl_imports_nothing_that_evsd_is_made_of(path: Path) -> None:
    assert not {m for m in of_evsd(path) if not m.startswith((*OF_BOTH_ENDS,))}


@pytest.mark.parametrize("module", OF_BOTH_ENDS)
def test_what_both_ends_use_brings_nothing_else_of_evsd(module: str) -> None:
    assert of_evsd(ROOT.joinpath(*module.split(".")).with_suffix(".py")) == set()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "evsd" / "images").glob("*.py")), ids=lambda p: p.name
)
def test_image_work_neither_prints_nor_asks_nor_calls_the_api(path: Path) -> None:
    assert {module.split(".")[0] for module in imported(path)}.isdisjoint({"click", "httpx"})
    assert not re.search(r"\b(print|input)\(|sys\.(std|exit)", path.read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "nbd_plugin").glob("*.py*")), ids=lambda p: p.name)
def test_the_plugin_imports_nothing_of_evsd(path: Path) -> None:
    assert not re.search(r"^\s*c?(import|from) evsd", path.read_text(), re.MULTILINE)


def test_every_package_has_its_place() -> None:
    packages = {path.name for path in (ROOT / "evsd").iterdir() if (path / "__init__.py").exists()}
    assert packages <= set(RANK)
