"""Who asks the key process for what: travels with each request and into its audit record."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One caller's request, already authorised by the API."""

    principal: str  # a user's name, or "service:evs" acting for one
    domain_id: str
    project_id: str
    source: str  # "uid:0", "10.0.0.7", "pid:4711"
    request_id: str

    def as_wire(self) -> dict[str, str]:
        """The fields as JSON carries them."""
        return asdict(self)
