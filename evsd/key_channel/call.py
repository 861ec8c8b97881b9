"""Who asks the key process for what: travels with each request and into its audit record."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"  # the principal of who has not said yet, or failed to prove, who it is


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
