"""The services of evsd, a folder each; `evsd.service` says what is in one."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

SERVICES: tuple[str, ...] = ("iam", "kms", "evs", "ims", "audit", "versions")


def load_records() -> None:
    """Load the tables of all services, which refer to each other, and the roles that they know."""
    modules("tables")
    modules("permissions")


def modules(name: str) -> list[ModuleType]:
    """The modules of this name, of those services that have one."""
    found = (f"{__name__}.{service}.{name}" for service in SERVICES)
    return [import_module(module) for module in found if find_spec(module)]
