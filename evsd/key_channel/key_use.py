"""By which key something is served, as its consumer and the KMS say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A data key that a process needs: of which service, for whom, under which CMK, bound to what.

    It stays the same however often the process is started again.
    """

    service: str
    principal: str
    domain_id: str
    project_id: str
    key_id: str
    context: dict[str, str]
