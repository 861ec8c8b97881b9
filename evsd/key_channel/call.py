"""Who asks the key process for what: travels with each request and into its audit record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Result = dict[str, Any]
Operation = Callable[..., Result]
UNKNOWN = "unknown"  # the principal of who has not said yet, or failed to prove, who it is
F = TypeVar("F", bound=Operation)


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's request, already authorised by the API.

    `by_grant` means that no role of the caller's allows it: only a grant on the very key can.
    """

    principal: str  # a user's name, or "service:evs" acting for one
    domain_id: str
    project_id: str
    source: str  # "uid:0", "10.0.0.7", "pid:4711"
    request_id: str
    user_id: str = ""
    permission: str = ""
    by_grant: bool = False

    @property
    def unix_user(self) -> int | None:
        """The uid of a caller on the unix socket."""
        kind, _, number = self.source.partition("uid:")
        return int(number) if not kind and number else None

    def as_wire(self) -> dict[str, str | bool]:
        """The fields as JSON carries them."""
        return {name: getattr(self, name) for name in self.__slots__}


def operation(method: F) -> F:
    """Mark a method as one evsd may ask for over the control channel, by its name."""
    method.is_operation = True  # type: ignore[attr-defined]
    return method


def operations_of(*services: object) -> dict[str, Operation]:
    """The operations of these services, by name."""
    found: dict[str, Operation] = {}
    for service in services:
        for name in dir(type(service)):
            if getattr(getattr(type(service), name), "is_operation", False):
                assert name not in found, f"two operations {name}"  # noqa: S101
                found[name] = getattr(service, name)
    return found


Ask = Callable[[str, Call, dict[str, Any]], dict[str, Any]]
