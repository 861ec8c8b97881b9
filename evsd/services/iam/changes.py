"""Changes of who may do what.

Each is one function `(session, domain_id, *, ...)` of the module of its records. evsd-keys calls
it, for only there the change and its audit record can be one (`key_process.identity_changes`);
the audit record holds its keyword arguments and what it returns: new ids, and names behind the ids.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

Facts = dict[str, str]
Named = str | int | bool | list[str] | None  # an argument's value, as it goes to evsd-keys
Change = Callable[..., Facts]
F = TypeVar("F", bound=Change)


def change(function: F) -> F:
    """Mark a function as a change, which evsd may ask for by its name."""
    function.is_change = True  # type: ignore[attr-defined]
    return function


def changes_of(*modules: ModuleType) -> dict[str, Change]:
    """The changes of these modules, by name."""
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        if getattr(function, "is_change", False)
    }
